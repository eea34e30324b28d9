"""The exceptions of dynsurgeon: one small tree under `SurgeryError`.

Each message says what was wrong, where, and what to do about it. Each class carries the exit code
that the command line gives for it, so that the two can never drift apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import ClassVar


class SurgeryError(Exception):
    """Root of every error that dynsurgeon raises on purpose."""

    exit_code: ClassVar[int] = 1


class ConfigError(SurgeryError, ValueError):
    """A setting, an argument or a configuration file is not valid."""

    exit_code = 2


class PatternError(ConfigError):
    """An include, exclude or override pattern selects nothing."""


class ParityError(SurgeryError):
    """Two networks that must compute the same numbers do not.

    Attributes:
        result: The receipt or export result that holds the measured differences, if there is one.
    """

    exit_code = 3

    def __init__(self, message: str, result: object = None) -> None:
        super().__init__(message)
        self.result = result


class ModelNotFoundError(SurgeryError, LookupError):
    """No model of that name can be built here."""

    exit_code = 4


class WeightsError(SurgeryError):
    """The weights can't be had, or don't fit the model."""

    exit_code = 4


class UnsupportedModelError(SurgeryError):
    """The model is of a kind that can't be converted as it is."""

    exit_code = 5


class NoSiteError(UnsupportedModelError):
    """Nothing in the model can be made dynamic under this configuration."""


class RestoreError(UnsupportedModelError):
    """No static network computes what the dynamic one computes."""


class ExportError(UnsupportedModelError):
    """The network can't be written as ONNX."""


class MachineError(UnsupportedModelError):
    """A file was laid out for another CPU than this one."""


class RuntimeRefusalError(ExportError):
    """A runtime can't load or run an ONNX file, crashed on it, or took too long."""


class StorageError(SurgeryError):
    """A saved file is missing, damaged, of another model, or in the way."""

    exit_code = 6


class DataError(SurgeryError):
    """A folder of training data is empty, without labels, unreadable, or doesn't fit the model."""

    exit_code = 7


class TrainingError(SurgeryError):
    """Training can't go on: the loss is no number any more."""

    exit_code = 8


def suggest(name: str, known: Iterable[str], *, count: int = 3) -> str:
    """Return ``"; did you mean 'a' or 'b'?"``, or an empty string when nothing is close."""
    close = get_close_matches(name, list(known), n=count, cutoff=0.5)
    return f"; did you mean {' or '.join(repr(c) for c in close)}?" if close else ""
