"""The tree of exceptions: one root, an exit code each, and suggestions for misspelt names."""

from __future__ import annotations

import pytest

from dynsurgeon import errors
from dynsurgeon.errors import ParityError, SurgeryError, suggest

CODES = {
    "SurgeryError": 1,
    "ConfigError": 2,
    "PatternError": 2,
    "ParityError": 3,
    "ModelNotFoundError": 4,
    "WeightsError": 4,
    "UnsupportedModelError": 5,
    "NoSiteError": 5,
    "RestoreError": 5,
    "ExportError": 5,
    "MachineError": 5,
    "RuntimeRefusalError": 5,
    "StorageError": 6,
    "DataError": 7,
    "TrainingError": 8,
}


def test_every_error_has_its_documented_exit_code() -> None:
    tree = {
        name: kind.exit_code
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, SurgeryError)
    }
    assert tree == CODES


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("ConfigError", ValueError),
        ("PatternError", errors.ConfigError),
        ("ModelNotFoundError", LookupError),
        ("NoSiteError", errors.UnsupportedModelError),
        ("RestoreError", errors.UnsupportedModelError),
        ("ExportError", errors.UnsupportedModelError),
    ],
)
def test_errors_are_also_what_python_calls_them(name: str, base: type[Exception]) -> None:
    assert issubclass(getattr(errors, name), base)


@pytest.mark.parametrize("name", CODES)
def test_messages_are_shown_as_they_are(name: str) -> None:
    # A KeyError would show its message in quotes: LookupError does not.
    message = "conv 'layer1.0' is gone: load it first"
    assert str(getattr(errors, name)(message)) == message


def test_parity_error_carries_its_result() -> None:
    receipt = object()
    assert ParityError("differs", receipt).result is receipt
    assert ParityError("differs").result is None


def test_suggestions() -> None:
    known = ["resnet18", "resnet50", "vgg11"]
    assert suggest("resnet5", known, count=1) == "; did you mean 'resnet50'?"
    assert suggest("vg11", known) == "; did you mean 'vgg11'?"
    assert suggest("resnet5", known) == "; did you mean 'resnet50' or 'resnet18'?"
    assert suggest("squeezenet", ["vgg11"]) == ""
    assert suggest("anything", []) == ""
