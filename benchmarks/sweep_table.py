"""Write docs/models.md or docs/collections.md from the lines of a sweep.

python benchmarks/sweep_table.py models docs/sweep/torchvision.jsonl docs/sweep/timm.jsonl
python benchmarks/sweep_table.py collections docs/sweep/collections.jsonl
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from sweep_cells import COLUMNS, outcome
from sweeping import Row, read_rows

DOCS = Path("docs")
MODELS = """# Models, measured

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
COLLECTIONS = """# Networks of other people's collections, measured

{total} of {packages} packages: {summary}.

    pip install {install}
    python benchmarks/sweep_collections.py --output docs/sweep/collections.jsonl
    python benchmarks/sweep_table.py collections docs/sweep/collections.jsonl

Small networks of many kinds, as their packages have them, with random weights and perturbed running
statistics, on inputs of the shapes given; inputs with a name are passed by it. *eval* and *train*
are the largest differences of the outputs, relative to the largest output, in float32; a star marks
a difference above 1e-5 that the receipt showed to be rounding. *gradient*: the same of the
gradients. *reload*: outputs after save and load are bit-equal. *ONNX*: worst relative difference of
the verified file with a dynamic batch, and its form. What failed says why in its place; "-" means
that there was nothing to do or to compare.
"""


def main() -> None:
    """Write the page that the command line names, from the files that follow."""
    page, *paths = sys.argv[1:]
    write = {"models": models_page, "collections": collections_page}[page]
    (DOCS / f"{page}.md").write_text(write([Path(path) for path in paths]))


def models_page(paths: list[Path]) -> str:
    """Return the page of the two zoos: a section a file."""
    parts = [MODELS]
    for path in paths:
        exported = {row["name"]: row for row in read_rows(path.with_suffix(".onnx.jsonl"))}
        rows = [{**row, "onnx": exported.get(row["name"])} for row in read_rows(path)]
        parts += [f"## {path.stem}\n", f"{len(rows)} models: {summary(rows)}.\n", table(rows)]
    return "\n".join(parts)


def collections_page(paths: list[Path]) -> str:
    """Return the page of the collections: a section a package, in alphabetical order."""
    rows = sorted((row for path in paths for row in read_rows(path)), key=_package)
    groups = [(package, list(group)) for package, group in groupby(rows, _package)]
    head = COLLECTIONS.format(
        total=f"{len(rows)} networks",
        packages=len(groups),
        summary=summary(rows),
        install=" ".join(package for package, _ in groups),
    )
    parts = [head]
    for package, group in groups:
        versions = " ".join(sorted({row["version"] for row in group if row.get("version")}))
        named = [{**row, "name": row["name"].partition(":")[2]} for row in group]
        parts += [f"## {package} {versions}".rstrip() + "\n", table(named)]
    return "\n".join(parts)


def _package(row: Row) -> str:
    return str(row["name"].partition(":")[0])


def summary(rows: Iterable[Row]) -> str:
    """Return how many ended how."""
    counts = Counter(outcome(row) for row in rows)
    return ", ".join(f"{count} {words}" for words, count in counts.most_common())


def table(rows: list[Row]) -> str:
    """Return the rows by name, with the columns that at least one of them fills."""
    rows = sorted(rows, key=lambda row: str(row["name"]))
    cells = {head: [cell(row) for row in rows] for head, cell in COLUMNS.items()}
    if not any("gradient_rel" in row for row in rows):  # of a sweep before they were compared
        del cells["gradient"]
    lines = [list(cells), ["---"] * len(cells), *map(list, zip(*cells.values(), strict=True))]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


if __name__ == "__main__":
    main()
