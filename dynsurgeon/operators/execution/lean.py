"""The table of lean forms, by name."""

from __future__ import annotations

from dynsurgeon.operators.execution.folded import Folded
from dynsurgeon.operators.execution.form import BY_NAME
from dynsurgeon.operators.execution.function import CallableForm
from dynsurgeon.operators.execution.outputs import Outputs
from dynsurgeon.operators.execution.pointwise import Pointwise
from dynsurgeon.operators.execution.separate import Separate
from dynsurgeon.operators.execution.tiled import Tiled

LEAN_FORMS: dict[str, CallableForm] = {
    form.name: form for form in (Folded(), Separate(), Tiled(), Pointwise(), Outputs())
}
BY_NAME.update(LEAN_FORMS)
