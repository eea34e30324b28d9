"""The names of ONNX layouts, known without the exporter, which takes seconds to import."""

from __future__ import annotations

from typing import Literal, get_args

from dynsurgeon.errors import ConfigError, suggest

ExportFormName = Literal["rule", "auto", "scan", "portable", "plain", "grouped", "native"]
"""The keys of `export.target.EXPORT_FORMS`, and before them what stands instead of one."""

BankName = Literal["half", "int8"]
"""How kernel banks are stored, where that is not as the network has them."""

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
