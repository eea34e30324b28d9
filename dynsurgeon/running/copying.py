"""Copy a model, or say why it can't be copied."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn

from dynsurgeon.errors import UnsupportedModelError
from dynsurgeon.messages import first_line


class UncopyableError(UnsupportedModelError):
    """A model holds something that can't be copied."""


def copy_of(model: nn.Module, copied: dict[int, Any] | None = None) -> nn.Module:
    """Deep-copy a model.

    Args:
        model: The model.
        copied: What to put in the place of some of its objects, by their id.

    Raises:
        UnsupportedModelError: It holds something that can't be copied.
    """
    try:
        return copy.deepcopy(model, {**_computed_tensors(model), **(copied or {})})
    except Exception as error:
        raise UncopyableError(
            f"the model can't be copied ({first_line(error)}): plan it and convert it in "
            "place with copy=False (a latency budget needs copies)"
        ) from error


def double_of(model: nn.Module) -> nn.Module:
    """Copy a model in float64, which tells rounding from a fault.

    Raises:
        UnsupportedModelError: It holds something that can't be copied.
    """
    return copy_of(model).double()


def _computed_tensors(model: nn.Module) -> dict[int, Any]:
    # Old-style weight_norm and prune leave a computed weight on the module, which torch won't copy.
    held = (value for module in model.modules() for value in vars(module).values())
    return {id(t): t.detach().clone() for t in held if isinstance(t, Tensor) and not t.is_leaf}
