"""What a call site is, the same for the observer that runs a model and the tracer that reads it.

A call site is a place in the forward of one module, its *owner*. Inside the owner it is known by
what it calls, the source line, and the how-many-th call of that kind the line makes: loops unroll.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections import Counter
from dataclasses import dataclass
from types import CodeType
from typing import Any

import torch
from torch import nn

from dynsurgeon.operators.static import ACTIVATIONS, STATIC_CONVOLUTIONS

_LIBRARIES = tuple(
    os.path.dirname(os.path.abspath(path)) + os.sep
    for path in (torch.__file__, os.path.dirname(os.path.abspath(__file__)))
)


@dataclass(frozen=True)
class CallKey:
    """Where in its owner's forward a call is made.

    Attributes:
        label: ``"module:relu"`` (a path below the owner) or ``"function:relu"``.
        line: Function and line of the call, ``"forward:97"``.
        ordinal: How many equal calls the same line made before, in the same run.
    """

    label: str
    line: str
    ordinal: int


class CallCounter:
    """Hands out the keys of one run of one owner's forward, in order."""

    def __init__(self, owner: nn.Module) -> None:
        self._code = forward_code(owner)
        self._seen: Counter[tuple[str, str]] = Counter()

    def key(self, label: str) -> CallKey:
        """Return the key of the call that is being made now, somewhere above this frame."""
        line = _calling_line(self._code)
        ordinal = self._seen[label, line]
        self._seen[label, line] += 1
        return CallKey(label, line, ordinal)


def forward_code(module: nn.Module) -> CodeType | None:
    """Return the code of a module's own forward, if it is written in Python."""
    forward = inspect.getattr_static(type(module), "forward", None)  # a script's has no getter
    return getattr(forward, "__code__", None)


def convolution_class(module: nn.Module) -> type[nn.Module] | None:
    """Return the static convolution class that `module` computes as, or None.

    A subclass counts only if it runs the forward of that class.
    """
    return _plain_class(module, STATIC_CONVOLUTIONS, ("forward", "_conv_forward", "__call__"))


def activation_class(module: nn.Module) -> type[nn.Module] | None:
    """Return the activation class that `module` computes as, or None; see `convolution_class`."""
    return _plain_class(module, ACTIVATIONS, ("forward", "__call__"))


def is_operator(module: nn.Module) -> bool:
    """Whether a call of `module` is one operation that the tables know."""
    return convolution_class(module) is not None or activation_class(module) is not None


def _plain_class(
    module: nn.Module, table: dict[type[nn.Module], Any], methods: tuple[str, ...]
) -> type[nn.Module] | None:
    kind = type(module)
    base = next((base for base in kind.__mro__ if base in table), None)
    same = base is not None and all(
        getattr(kind, name, None) is getattr(base, name, None) for name in methods
    )
    return base if same and "forward" not in vars(module) else None


def _calling_line(stop: CodeType | None) -> str:
    # The innermost frame that is the owner's forward or belongs to no library: helper methods of
    # the owner count as themselves, torch's own Python layers do not.
    frame = sys._getframe(1)
    while frame.f_back is not None:
        code = frame.f_code
        if code is stop or not code.co_filename.startswith(_LIBRARIES):
            break
        frame = frame.f_back
    return f"{frame.f_code.co_name}:{frame.f_lineno}"
