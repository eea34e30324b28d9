"""One way to write a dynamic operation in ONNX: a row of a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import onnx_ir as ir

from dynsurgeon.export.forms.emitter import Emitter

S = TypeVar("S")


@dataclass(frozen=True)
class SiteForm(Generic[S]):
    """A form of the operation at a site of kind `S`.

    Attributes:
        name: Its name in the table.
        obstacle: Says why the form can't stand at a site; None where it can.
        emit: Writes its nodes and returns their output.
    """

    name: str
    obstacle: Callable[[S], str | None]
    emit: Callable[[S, Emitter], ir.Value]
