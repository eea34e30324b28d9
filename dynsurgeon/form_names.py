"""The names of the ONNX layouts, known without the exporter, which takes seconds to import."""

from __future__ import annotations

from typing import Literal, get_args

from dynsurgeon.errors import ConfigError, suggest

ExportFormName = Literal["rule", "auto", "scan", "portable", "plain", "grouped", "native"]
"""The keys of `export.target.EXPORT_FORMS`, and before them what stands instead of one."""

RULE, AUTO = "rule", "auto"
"""Instead of a form: what suits the batch; what is fastest here."""

NATIVE = "native"


def check_form(form: object, *, this_cpu: bool = False) -> None:
    """Make sure that there is a form of this name, and that `this_cpu` does not contradict it.

    Raises:
        ConfigError: It is no name of a form, or one that leaves `this_cpu` nothing to choose.
    """
    known = get_args(ExportFormName)
    if form not in known:
        hint = suggest(str(form), known) or f"; known forms: {', '.join(known)}"
        raise ConfigError(f"unknown form {form!r}{hint}")
    if this_cpu and form not in (AUTO, NATIVE):
        raise ConfigError(f"this_cpu is for form 'auto', which chooses; got form {form!r}")
