"""The names of ONNX layouts and targets, known without the exporter, which is slow to import."""

from __future__ import annotations

from typing import Literal, get_args

from dynsurgeon.errors import ConfigError, MachineError, suggest

ExportFormName = Literal["rule", "auto", "scan", "portable", "plain", "grouped", "native"]
"""The keys of `export.target.EXPORT_FORMS`, and before them what stands instead of one."""

BankName = Literal["half", "int8"]
"""How kernel banks are stored, where that is not as the network has them."""

Rounding = Literal["half", "int8", "fp16"]
"""What a file is rounded to on purpose: its banks, or with ``"fp16"`` all of it."""

RULE, AUTO = "rule", "auto"
"""Instead of a form: what suits the batch; what is fastest here."""

NATIVE = "native"

OTHER_CPU = "this file is for CPUs with blocks of"
"""How the complaint of a file begins that was laid out for another CPU."""

TargetName = Literal["onnxruntime", "openvino", "tract", "web", "tensorrt", "portable", "this-cpu"]
"""The keys of `export.destinations.DESTINATIONS`."""

THIS_CPU = "this-cpu"


def other_cpu(error: BaseException, path: object) -> MachineError | None:
    """Return what to raise in place of an error that is a file's complaint about this CPU."""
    if OTHER_CPU not in str(error):
        return None
    return MachineError(
        f"'{path}' was laid out for CPUs with other blocks of channels than this one's: lay the "
        "file that it was made of out here (python -m dynsurgeon.deploy FILE --layout OUT), or "
        "export it without form 'native'"
    )


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


def bank_name(bank: object, *, half: bool = False) -> BankName | None:
    """Return how banks are stored, of the two ways to say it.

    Args:
        bank: A name, or None for the network's own precision.
        half: The same as ``bank="half"``.

    Raises:
        ConfigError: There is no storage of that name, or the two contradict each other.
    """
    known: tuple[BankName, ...] = get_args(BankName)
    for name in known:
        if bank == name and (name == "half" or not half):
            return name
    if bank is None:
        return "half" if half else None
    if bank in known:
        raise ConfigError(f"half stores the banks in half precision; got bank={bank!r} too")
    raise ConfigError(f"unknown bank {bank!r}; known: {', '.join(known)}")


def rounding_name(bank: object, precision: object, *, half: bool = False) -> Rounding | None:
    """Return what a file is rounded to.

    Args:
        bank: As `bank_name` takes it.
        precision: ``"fp16"``, or None for the network's own.
        half: As `bank_name` takes it.

    Raises:
        ConfigError: A name is unknown, or the two contradict each other.
    """
    name = bank_name(bank, half=half)
    if precision is None:
        return name
    if precision != "fp16":
        raise ConfigError(f"unknown precision {precision!r}; known: fp16")
    if name is not None:
        raise ConfigError(f"precision 'fp16' halves the banks too; leave bank={name!r} out")
    return "fp16"


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
