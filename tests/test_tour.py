"""The notebook runs from top to bottom, and what its cells end in is shown as tables."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parent.parent / "examples" / "tour.ipynb"


def run_cell(source: str, names: dict[str, Any]) -> Any:
    """Run a cell and return the value of its last line, as a notebook does."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, NOTEBOOK.name, "exec"), names)
    if not isinstance(last, ast.Expr):
        return None
    return eval(compile(ast.Expression(last.value), NOTEBOOK.name, "eval"), names)


def test_the_tour_runs() -> None:
    for package in ("accelerate", "matplotlib"):
        pytest.importorskip(package)
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] for cell in cells)  # nothing of a machine is kept
    names: dict[str, Any] = {"__name__": "tour"}
    shown = [run_cell("".join(cell["source"]), names) for cell in cells]
    kinds = [type(value).__name__ for value in shown if value is not None]
    assert kinds == [
        "Plan", "Receipt", "FinetuneResult", "AttentionReport", "Figure", "ExportResult"
    ]  # fmt: skip
    tables = [
        value._repr_html_() for value in shown if value is not None and hasattr(value, "to_dict")
    ]
    assert len(tables) == 5
    assert all("<table>" in table and table.count("<tr>") > 1 for table in tables)
    assert names["receipt"].passed
    names["folder"].cleanup()
