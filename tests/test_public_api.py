"""Every public name is there, is documented, and costs nothing until it is used."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import dynsurgeon as ds


@pytest.mark.parametrize("name", ds.__all__)
def test_every_name_can_be_imported_and_is_documented(name: str) -> None:
    thing = getattr(ds, name)
    assert inspect.isclass(thing) or inspect.isfunction(thing)
    assert thing.__name__ == name
    assert thing.__module__.startswith("dynsurgeon.")
    assert inspect.getdoc(thing)
    assert thing.__doc__, f"{name} inherits its documentation"


@pytest.mark.parametrize("name", [n for n in ds.__all__ if n.islower()])
def test_functions_are_annotated_and_say_what_they_raise(name: str) -> None:
    function = getattr(ds, name)
    hints = inspect.get_annotations(inspect.unwrap(function))
    assert set(inspect.signature(function).parameters) <= set(hints)
    assert "return" in hints
    assert "Raises:" in (inspect.getdoc(function) or "")


def test_the_names_of_the_contract() -> None:
    contract = {
        *("SurgeryConfig", "DynamicConvConfig", "DynamicReLUConfig", "SurgeryError"),
        *("plan", "convert", "check_parity", "save", "load", "export_onnx"),
        *("set_temperature", "restore", "verify_onnx", "MeasureConfig", "DynamicConv"),
    }
    assert contract <= set(ds.__all__)


def test_names_are_sorted_listed_and_nothing_else_is_public() -> None:
    assert ds.__all__ == sorted(ds.__all__)
    assert set(ds.__all__) <= set(dir(ds))
    assert set(ds._HOME) == set(ds.__all__)


def test_a_wrong_name_is_an_attribute_error() -> None:
    name = "conv"
    with pytest.raises(AttributeError, match="module 'dynsurgeon' has no attribute 'conv'"):
        getattr(ds, name)


@pytest.mark.parametrize("name", [n for n in ds.__all__ if n.endswith("Error")])
def test_every_error_is_a_surgery_error(name: str) -> None:
    error = getattr(ds, name)
    assert issubclass(error, ds.SurgeryError)
    assert 1 <= error.exit_code <= 8


def run(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def test_importing_dynsurgeon_imports_no_torch() -> None:
    heavy = "{'torch', 'numpy', 'onnx', 'onnxruntime', 'torchvision', 'safetensors', 'accelerate'}"
    shown = run(
        "import sys, dynsurgeon as ds\n"
        f"print(sorted({heavy} & set(sys.modules)))\n"
        "ds.SurgeryConfig(); ds.SurgeryError('x')\n"
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    assert shown == "[]\n[]\n"


def test_names_are_imported_from_a_star_too() -> None:
    assert (
        run("from dynsurgeon import *\nprint(convert.__name__, Plan.__name__)") == "convert Plan\n"
    )
