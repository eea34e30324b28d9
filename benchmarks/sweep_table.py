"""Write docs/models.md from the lines of `benchmarks/sweep_models.py`.

python benchmarks/sweep_table.py docs/sweep/torchvision.jsonl docs/sweep/timm.jsonl
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

from sweep_models import read_rows

from dynsurgeon.surgery.plan_table import human

Row = dict[str, Any]
TARGET = Path("docs/models.md")
SHORT = {
    "is the stem": "stem",
    "works on a 1x1 map": "1x1 map",
    "cuts patches": "patches",
    "was never called": "never called",
    "its owner's forward": "untraceable owner",
    "its weight is computed": "computed weight",
    "is no maximum of lines": "smooth",
    "its channels are on the last axis": "channels last",
}
HEADER = (
    "model", "input", "sites", "dynamic", "static, by reason", "params", "MACs",
    "eval", "train", "reload", "ONNX", "s",
)  # fmt: skip
INTRO = """# Models, measured

Made by `benchmarks/sweep_models.py` and `benchmarks/sweep_table.py` (their headers hold the
commands), with random weights and perturbed running statistics, on inputs of the size given, batch
2. *eval* and *train* are the largest differences of the outputs, relative to the largest output, in
float32; a star marks a difference above 1e-5 that the receipt showed to be rounding, amplified by
BatchNorm over a few values or by a detector's choice among nearly equal boxes: in the form that
repeats the static convolution's order of summation the same network is within 1e-5 (mostly 0).
*reload*: outputs after save and load are bit-equal. *ONNX*: worst relative difference of the
verified file with a dynamic batch, and its form; of a detector the backbone is exported. "-" means
that there is nothing to convert, or that it was not run (ONNX of timm).
"""


def main() -> None:
    """Write the tables of the files that the command line names."""
    parts = [INTRO]
    for path in map(Path, sys.argv[1:]):
        exported = {row["name"]: row for row in read_rows(path.with_suffix(".onnx.jsonl"))}
        rows = sorted(read_rows(path), key=lambda row: str(row["name"]))
        rows = [{**row, "onnx": exported.get(row["name"])} for row in rows]
        parts += [f"## {path.stem}\n", _summary(rows), _table(rows)]
    TARGET.write_text("\n".join(parts))


def _summary(rows: list[Row]) -> str:
    outcomes = Counter(_outcome(row) for row in rows)
    listed = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
    return f"{len(rows)} models: {listed}.\n"


def _outcome(row: Row) -> str:
    if row.get("error"):
        return "with an error"
    if row["outcome"] == "no site":
        return "without a site to convert"
    return "converted and proven" if row["passed"] else "converted, parity not shown"


def _table(rows: list[Row]) -> str:
    lines = [HEADER, ["---"] * len(HEADER), *map(_cells, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _cells(row: Row) -> list[str]:
    if row.get("error"):
        return [row["name"], row.get("input", "-"), *["-"] * 2, row["error"], *["-"] * 7]
    return [
        row["name"],
        row["input"].strip("[]"),
        str(row["sites"]),
        f"{row['converted']}" + (f" (K = {row['experts']})" if row["experts"] != 4 else ""),
        ", ".join(f"{count} {_short(reason)}" for reason, count in row["skips"].items()),
        f"{human(row['params_before'])} -> {human(row['params_after'])}",
        f"{human(row['macs_before'])} -> {human(row['macs_after'])}",
        *(_parity(row, mode) for mode in ("eval", "train")),
        {True: "equal", False: "DIFFERS"}.get(row.get("reload_equal"), "-"),  # type: ignore[arg-type]
        _onnx(row.get("onnx")),
        str(row["seconds"]),
    ]


def _short(reason: str) -> str:
    return next((short for long, short in SHORT.items() if long in reason), reason)


def _parity(row: Row, mode: str) -> str:
    if mode not in row.get("parity", {}):
        return "-"
    value = row["parity"][mode][0]
    return f"{value:.1g}" + ("*" if value > 1e-5 and row["passed"] else "")


def _onnx(outcome: Row | None) -> str:
    if outcome is None or outcome.get("error", "").startswith("NoSiteError"):
        return "-"
    return outcome.get("error") or f"{outcome['max_rel']:.1g} ({outcome['form']})"


if __name__ == "__main__":
    main()
