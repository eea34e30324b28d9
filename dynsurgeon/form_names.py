"""The names of ONNX layouts and targets, known without the exporter, which is slow to import."""

from __future__ import annotations

from typing import Literal, get_args

from dynsurgeon.errors import ConfigError, suggest

ExportFormName = Literal["rule", "auto", "scan", "portable", "plain", "grouped", "native"]
"""The keys of `export.target.EXPORT_FORMS`, and before them what stands instead of one."""

RULE, AUTO = "rule", "auto"
"""Instead of a form: what suits the batch; what is fastest here."""

NATIVE = "native"

TargetName = Literal["onnxruntime", "openvino", "web", "tensorrt", "portable", "this-cpu"]
"""The keys of `export.destinations.DESTINATIONS`."""

THIS_CPU = "this-cpu"


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


def check_target(target: object, form: object = RULE, *, this_cpu: bool = False) -> None:
    """Make sure that there is a target of this name, if any, and that no form is asked for too.

    Raises:
        ConfigError: It is no name of a target, or `form` or `this_cpu` say something else.
    """
    if target is None:
        return
    known = get_args(TargetName)
    if target not in known:
        hint = suggest(str(target), known) or f"; known targets: {', '.join(known)}"
        raise ConfigError(f"unknown target {target!r}{hint}")
    if form != RULE or this_cpu:
        other = f"form {form!r}" if form != RULE else "this_cpu"
        raise ConfigError(f"target {target!r} chooses the form itself: leave out {other}, or it")
