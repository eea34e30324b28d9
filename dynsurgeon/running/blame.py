"""Say that it is the model that fails, and where in it."""

from __future__ import annotations

import traceback

from torch import nn

from dynsurgeon.errors import ConfigError
from dynsurgeon.messages import first_line


def model_failure(model: nn.Module, error: Exception, inputs: str) -> ConfigError:
    """Return the error that says that the model itself fails, which of its modules, and with what.

    Args:
        model: The model, as it was given.
        error: What its forward raised.
        inputs: What it ran on, in words.
    """
    return ConfigError(
        f"the model itself can't run on {inputs}: {_place(model, error)} raises "
        f"{type(error).__name__}: {first_line(error)}"
    )


def _place(model: nn.Module, error: Exception) -> str:
    """Return the innermost module that was being called."""
    names = {id(module): name for name, module in model.named_modules()}
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    called = [found for frame in frames if id(found := frame.f_locals.get("self")) in names]
    module = called[-1] if called else model
    kind, name = type(module).__name__, names[id(module)]
    return f"{name!r} ({kind})" if name else f"its own forward ({kind})"
