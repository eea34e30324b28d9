"""The result is plain values."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from dynsurgeon.cli.work.onnx_report import boxes, told
from dynsurgeon.export.result import ExportCheck, ExportResult


def result(*checks: ExportCheck) -> ExportResult:
    shapes = {"input": ("batch", 3)}, {"output": ("batch", 5)}
    return ExportResult(Path("m.onnx"), "scan", 20, None, *shapes, checks)


def test_the_worst_check_decides() -> None:
    good, bad = ExportCheck("a", 1, 1e-7, 2e-6, True), ExportCheck("b", 2, 3.0, 1.0, False)
    assert result(good).passed
    assert not result(good, bad).passed
    assert (result(good, bad).max_abs, result(good, bad).max_rel) == (3.0, 1.0)


def test_what_passed_by_float64_is_noted_wherever_it_is_told() -> None:
    strict = ExportCheck("a", 1, 1e-7, 2e-6, True)
    judged = ExportCheck("b", 2, 1e-4, 3e-5, True, float64_rel=2e-5, float64_allowed=8e-5)
    assert not result(strict).notes
    assert strict.verdict == ""
    (note,) = result(strict, judged).notes
    assert note.startswith("in 1 of 2 checks")
    assert "up to 2e-05 from it in float64, where 8e-05 is allowed" in note
    assert "explains 8e-05" in judged.verdict
    assert told({**result(strict, judged).to_dict()}, Path("m.onnx"))[-1] == f"note: {note}"
    wrong = replace(judged, passed=False)
    assert not result(wrong).notes
    assert "FAILED" in str(result(wrong))


def test_it_goes_into_json() -> None:
    found = json.loads(json.dumps(result(ExportCheck("a", 1, 1e-7, 2e-6, True)).to_dict()))
    assert found["inputs"] == {"input": ["batch", 3]}
    assert found["batch"] is None
    assert found["checks"] == [
        {"name": "a", "batch": 1, "max_abs": 1e-7, "max_rel": 2e-6, "passed": True}
    ]
    assert found["path"] == "m.onnx"
    assert found["passed"] is True


def test_boxes_that_say_nothing_are_told_as_such() -> None:
    def lines(**counts: float) -> list[str] | None:
        found = {"expected": 9, "found": 9, "matched": 9, "pixels": 0.5, "score": 0.1, "allowed": 0}
        said: list[str] | None = boxes(
            {"checks": [{"name": "image 1", "boxes": {**found, **counts}}]}
        )
        return said

    begin = "with its own weights, 1 images: "
    assert lines() == [
        f"{begin}9 of 9 boxes matched, largest difference 0.5 pixels and 0.1 in score"
    ]
    tied = lines(matched=0, allowed=9)
    assert tied is not None
    assert tied[0].startswith(f"{begin}nothing to compare")
    assert lines(expected=0, found=0, matched=0) == tied
    assert boxes({"checks": [{"name": "batch 1"}]}) is None
