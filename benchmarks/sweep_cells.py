"""The columns of a table of sweeps: what each shows of a row."""

from __future__ import annotations

from collections.abc import Callable

from sweeping import Row

from dynsurgeon.surgery.decide.plan_table import human

NOTHING = "-"
SHORT = {
    "is the stem": "stem",
    "works on a 1x1 map": "1x1 map",
    "cuts patches": "patches",
    "is frozen": "frozen",
    "was never called": "never called",
    "can't be traced": "untraceable owner",  # in rows of earlier sweeps
    "its owner's forward": "untraceable owner",
    "its weight is computed": "computed weight",
    "is no maximum of lines": "smooth",
    "its channels are on the last axis": "channels last",
}
"""What the table says for a reason that holds these words."""

FATAL = ("start", "build", "run", "plan", "convert")
"""Stages that nothing can follow."""


def failure(row: Row, *stages: str) -> str:
    """Return why one of the stages failed, or an empty string."""
    errors = row.get("errors", {})
    return next((f"{_cell(errors[stage])}" for stage in stages if stage in errors), "")


def outcome(row: Row) -> str:
    """Return how it ended, in words that can be counted."""
    if failure(row, *FATAL):
        return "not converted, for an error"
    if row["outcome"] == "no site":
        return "without a site to convert"
    return "converted and proven" if row.get("passed") else "converted, parity not shown"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _name(row: Row) -> str:
    return str(row["name"])


def _input(row: Row) -> str:
    return str(row.get("input", NOTHING)).strip("[]")


def _sites(row: Row) -> str:
    return str(row.get("sites", NOTHING))


def _dynamic(row: Row) -> str:
    if "converted" not in row:
        return NOTHING
    return f"{row['converted']}" + (f" (K = {row['experts']})" if row["experts"] != 4 else "")


def _static(row: Row) -> str:
    counts: dict[str, int] = {}
    for reason, count in row.get("skips", {}).items():
        counts[_short(reason)] = counts.get(_short(reason), 0) + count
    return failure(row, *FATAL) or ", ".join(f"{count} {why}" for why, count in counts.items())


def _short(reason: str) -> str:
    return _cell(next((short for long, short in SHORT.items() if long in reason), reason))


def _growth(total: str) -> Callable[[Row], str]:
    def cell(row: Row) -> str:
        if f"{total}_before" not in row:
            return NOTHING
        return f"{human(row[f'{total}_before'])} -> {human(row[f'{total}_after'])}"

    return cell


def _parity(mode: str) -> Callable[[Row], str]:
    def cell(row: Row) -> str:
        if mode not in row.get("parity", {}):
            return failure(row, "parity") or NOTHING
        value = row["parity"][mode][0]
        return f"{value:.1g}" + (("*" if row["passed"] else " FAILED") if value > 1e-5 else "")

    return cell


def _gradient(row: Row) -> str:
    value = row.get("gradient_rel")
    if value is None:
        return NOTHING
    agree = row["passed"] or any(rel > 1e-5 for rel, _ in row["parity"].values())
    return f"{value:.1g}" + ("" if agree else " FAILED")


def _reload(row: Row) -> str:
    if "reload_equal" in row:
        return "equal" if row["reload_equal"] else "DIFFERS"
    return failure(row, "reload") or NOTHING


def _onnx(row: Row) -> str:
    exported = row.get("onnx") or {}
    why = failure(row, "export") or failure(exported, "export")
    if why.startswith("NoSiteError"):
        return NOTHING
    if why or "max_rel" not in exported:
        return why or NOTHING
    return f"{exported['max_rel']:.1g} ({exported['form']})"


def _seconds(row: Row) -> str:
    return str(row["seconds"])


COLUMNS: dict[str, Callable[[Row], str]] = {
    "model": _name,
    "input": _input,
    "sites": _sites,
    "dynamic": _dynamic,
    "static, by reason": _static,
    "params": _growth("params"),
    "MACs": _growth("macs"),
    "eval": _parity("eval"),
    "train": _parity("train"),
    "gradient": _gradient,
    "reload": _reload,
    "ONNX": _onnx,
    "s": _seconds,
}
