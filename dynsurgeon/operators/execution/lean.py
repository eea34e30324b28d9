"""The table of lean forms, by name."""

from __future__ import annotations

from dynsurgeon.operators.execution.folded import Folded
from dynsurgeon.operators.execution.form import LeanForm
from dynsurgeon.operators.execution.outputs import Outputs
from dynsurgeon.operators.execution.pointwise import Pointwise
from dynsurgeon.operators.execution.separate import Separate
from dynsurgeon.operators.execution.tiled import Tiled

LEAN_FORMS: dict[str, LeanForm] = {
    form.name: form for form in (Folded(), Separate(), Tiled(), Pointwise(), Outputs())
}
