"""Networks of the user's own, by module and by file; each way to fail has its error."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from cli_helpers import NET
from torch import nn

from dynsurgeon.errors import ConfigError, ModelNotFoundError, WeightsError
from dynsurgeon.models.callables import call_spec


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "net.py").write_text(NET)
    package = tmp_path / "some_nets"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "small.py").write_text("from .parts import build\nclass Zoo:\n    make = build\n")
    (package / "parts.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] in {"net", "some_nets"}]:
        monkeypatch.delitem(sys.modules, name)
    return tmp_path


@pytest.mark.parametrize(
    "spec", ["net.py:build", "some_nets.small:build", "some_nets.small:Zoo.make", "net.py:finished"]
)
def test_a_network_comes_back(spec: str, here: Path) -> None:
    assert isinstance(call_spec(spec, {}), nn.Module)


def test_arguments_are_passed(here: Path) -> None:
    model = call_spec("net.py:build", {"classes": 9})
    assert isinstance(model, nn.Sequential)
    assert isinstance(model[-1], nn.Linear)
    assert model[-1].out_features == 9


def test_a_class_is_a_callable(here: Path) -> None:
    (here / "own.py").write_text("from torch import nn\nclass Net(nn.Module):\n    pass\n")
    assert type(call_spec("own.py:Net", {})).__name__ == "Net"


def test_a_file_imports_its_neighbours_from_anywhere(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "neighbour_net.py").write_text(NET)
    (here / "user_net.py").write_text("from neighbour_net import build\n")
    elsewhere = here / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert isinstance(call_spec("../user_net.py:build", {}), nn.Module)


def test_the_import_path_is_left_as_it_was(here: Path) -> None:
    before = list(sys.path)
    call_spec("net.py:build", {})
    assert sys.path == before


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("none.py:build", "no file 'none.py'"),
        ("no_such_package_of_mine:build", "No module named"),
        ("net.py:biuld", "net.py has no 'biuld'; did you mean 'build'"),
        ("net.py:", "net.py has no ''"),
        ("some_nets.small:Zoo.mke", "did you mean 'make'"),
        ("net.py:broken", "raised RuntimeError: first line second line"),
        ("net.py:nothing", "returned a int, not an nn.Module"),
        ("net.py:constant", "is a int, nothing to call"),
        ("syntax.py:build", "can't be imported (SyntaxError"),
        ("exits.py:build", "can't be imported (SystemExit"),
    ],
)
def test_what_is_wrong_is_said_on_one_line(spec: str, message: str, here: Path) -> None:
    (here / "syntax.py").write_text("def build(:\n")
    (here / "exits.py").write_text("raise SystemExit(0)\n")
    with pytest.raises(ModelNotFoundError) as caught:
        call_spec(spec, {})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("spec", ["net.py:build", "net.py:finished"])
def test_arguments_that_it_does_not_take_are_refused(spec: str, here: Path) -> None:
    with pytest.raises(ConfigError, match=r"net\.py"):
        call_spec(spec, {"colour": 3})


def test_our_own_errors_pass_through(here: Path) -> None:
    (here / "asks.py").write_text(
        "from dynsurgeon.errors import WeightsError\n"
        "def build():\n    raise WeightsError('no weights today')\n"
    )
    with pytest.raises(WeightsError, match="no weights today"):
        call_spec("asks.py:build", {})


def test_a_failed_file_can_be_mended_and_imported_again(here: Path) -> None:
    path = here / "mended.py"
    path.write_text("raise ValueError\n")
    with pytest.raises(ModelNotFoundError):
        call_spec("mended.py:build", {})
    path.write_text(NET)
    assert isinstance(call_spec("mended.py:build", {}), nn.Module)
