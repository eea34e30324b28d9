"""The pages that a sweep's rows become."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sweep_table
from sweep_cells import COLUMNS, outcome

CONVERTED: dict[str, Any] = {
    "name": "pack:net",
    "version": "1.2",
    "input": "pixels=(2, 3, 8, 8)",
    "sites": 5,
    "converted": 2,
    "skips": {
        "is the stem, the first convolution": 1,
        "gelu is no maximum of lines": 1,
        "silu is no maximum of lines": 1,
    },
    "experts": 4,
    "params_before": 1000,
    "params_after": 3000,
    "macs_before": 10_000,
    "macs_after": 11_000,
    "outcome": "converted",
    "passed": True,
    "parity": {"eval": [0.0, 0.0], "train": [3e-5, 0.0]},
    "gradient_rel": 2e-6,
    "reload_equal": True,
    "onnx": {"passed": True, "max_rel": 1e-6, "form": "scan"},
    "seconds": 1.5,
}


def shown(row: dict[str, Any]) -> dict[str, str]:
    return {head: cell(row) for head, cell in COLUMNS.items()}


def test_a_row_of_a_converted_network() -> None:
    cells = shown(CONVERTED)
    assert cells["static, by reason"] == "1 stem, 2 smooth"
    assert cells["eval"] == "0"
    assert cells["train"] == "3e-05*"
    assert cells["gradient"] == "2e-06"
    assert cells["reload"] == "equal"
    assert cells["ONNX"] == "1e-06 (scan)"


def test_parity_that_is_not_shown_is_marked_where_it_fails() -> None:
    failed = {**CONVERTED, "passed": False}
    assert shown(failed)["train"] == "3e-05 FAILED"
    assert shown(failed)["gradient"] == "2e-06"
    only_gradient = {**failed, "parity": {"eval": [0.0, 0.0]}, "gradient_rel": 0.1}
    assert shown(only_gradient)["gradient"] == "0.1 FAILED"
    assert outcome(failed) == "converted, parity not shown"


@pytest.mark.parametrize(
    ("stage", "head"),
    [
        ("build", "static, by reason"),
        ("convert", "static, by reason"),
        ("parity", "eval"),
        ("reload", "reload"),
        ("export", "ONNX"),
    ],
)
def test_a_reason_stands_where_the_result_would_be(stage: str, head: str) -> None:
    measured = ("parity", "passed", "gradient_rel", "reload_equal", "onnx")
    row = {key: value for key, value in CONVERTED.items() if key not in measured}
    row["errors"] = {stage: "ValueError: a|b"}
    assert shown(row)[head] == "ValueError: a\\|b"


def test_a_network_that_was_not_built_has_a_row() -> None:
    row = {"name": "pack:net", "errors": {"build": "no module"}, "seconds": 0.1}
    assert shown(row)["sites"] == "-"
    assert outcome(row) == "not converted, for an error"


def test_the_page_of_the_collections_groups_by_package(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [CONVERTED, {"name": "other:x", "errors": {"build": "no module"}, "seconds": 0.1}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = sweep_table.collections_page([path])
    assert "2 networks of 2 packages" in page
    assert "pip install other pack\n" in page
    assert page.index("## other\n") < page.index("## pack 1.2\n")
    assert "| net | pixels=(2, 3, 8, 8) | 5 | 2 |" in page


def test_the_pages_in_docs_are_what_the_rows_say() -> None:
    docs = Path(__file__).parent.parent / "docs"
    zoos = [docs / "sweep" / f"{zoo}.jsonl" for zoo in ("torchvision", "timm")]
    assert (docs / "models.md").read_text() == sweep_table.models_page(zoos)
    rows = docs / "sweep" / "collections.jsonl"
    if rows.exists():
        assert (docs / "collections.md").read_text() == sweep_table.collections_page([rows])
