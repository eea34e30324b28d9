"""What a file takes beside the static network's: measured after an export, told, and kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_helpers import SIZE, CommandLine
from cli_helpers import cli as cli
from nets import TinyNet
from report_helpers import chain, write_directory

import dynsurgeon as ds
from dynsurgeon.cli.work.onnx_report import latency_lines
from dynsurgeon.errors import ExportError
from dynsurgeon.form_names import THIS_CPU
from dynsurgeon.reports.page import file_latency, write_report
from dynsurgeon.timing.interleave import Timing
from dynsurgeon.workflow import conversion, latency
from dynsurgeon.workflow.latency import DYNAMIC, STATIC, FileLatency, judged

TINY = ("net.py:build", *SIZE)


def timings(static: float, dynamic: float, laid: float | None = None) -> dict[str, Timing]:
    found = {STATIC: static, DYNAMIC: dynamic, THIS_CPU: laid}
    return {name: Timing((ms / 1e3,) * 9) for name, ms in found.items() if ms is not None}


@pytest.mark.parametrize(("laid", "saves"), [(15.0, 0.25), (16.0, 0.2), (17.0, None), (25.0, None)])
def test_a_layout_is_worth_a_word_from_a_fifth_on(laid: float, saves: float | None) -> None:
    found = judged(timings(10, 20, laid), 1, 2, load=0.0)
    assert found.ratio == pytest.approx(2)
    assert found.this_cpu_ms == pytest.approx(laid)
    assert found.this_cpu_saves == (None if saves is None else pytest.approx(saves))
    said = latency_lines({"latency": found.to_dict()})
    assert said[0].startswith("latency 2.00 of the static network's, 20.00 against 10.00 ms")
    assert [line for line in said[1:] if "--target this-cpu" in line] == said[1:]
    assert len(said) == (1 if saves is None else 2)


@pytest.mark.parametrize(
    ("noise", "says"),
    [("load", "the machine is noisy"), ("spread", "the machine is noisy"), ("few", "timed in 4")],
)
def test_nothing_is_promised_of_noisy_numbers(noise: str, says: str) -> None:
    found = timings(10, 20, 5)
    if noise == "few":
        found = {name: Timing(timing.seconds[:4]) for name, timing in found.items()}
    if noise == "spread":
        found[STATIC] = Timing((0.01, 0.02) * 5)
    result = judged(found, 1, 1, load=5.0 if noise == "load" else 0.0)
    assert result.this_cpu_saves is None
    lines = latency_lines({"latency": result.to_dict()})
    assert len(lines) == 2
    assert lines[1].startswith(f"note: {says}")


def test_without_a_layout_there_is_no_hint() -> None:
    found = judged(timings(10, 20), 1, 1, load=0.0)
    assert (found.this_cpu_ms, found.this_cpu_saves) == (None, None)


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What was to be timed; the clock itself says always the same."""
    seen: list[dict[str, Any]] = []

    def interleaved(calls: dict[str, Any], **bounds: Any) -> dict[str, Timing]:
        seen.append({name: [array.shape for array in call()] for name, call in calls.items()})
        laid = 1.0 if THIS_CPU in calls else None
        return timings(2, 3, laid)

    monkeypatch.setattr(latency, "interleaved", interleaved)
    monkeypatch.setattr(conversion, "measure_latency", latency.measure_latency)
    monkeypatch.setattr(conversion, "others_load", lambda: 0.0)
    return seen


def test_convert_says_it_and_keeps_it(cli: CommandLine, timed: list[dict[str, Any]]) -> None:
    done = cli("convert", *TINY, "-o", "out")
    assert "latency 1.50 of the static network's, 3.00 against 2.00 ms" in done.out
    assert "hint: laid out for this CPU the file takes 1.00 ms, 67% less" in done.out
    kept = json.loads(Path("out/receipt.json").read_text())["onnx"]["latency"]
    assert kept["ratio"] == pytest.approx(1.5)
    assert kept["batch"] == 1
    assert kept["this_cpu_saves"] == pytest.approx(2 / 3)
    assert timed == [{name: [(1, 5)] for name in (STATIC, DYNAMIC, THIS_CPU)}]
    assert cli("export", "out", "--model", "net.py:build", "--force").code == 0
    assert "latency" not in json.loads(Path("out/receipt.json").read_text())["onnx"]


def test_it_can_be_left_out(cli: CommandLine, timed: list[dict[str, Any]]) -> None:
    done = cli("convert", *TINY, "-o", "out", "--no-latency", "--json")
    assert done.document["onnx"]["latency"] is None
    assert timed == []


@pytest.mark.parametrize(
    ("options", "files"),
    [
        (("--batch", "3"), {STATIC, DYNAMIC}),
        (("--batch", "1", "--target", "onnxruntime"), {STATIC, DYNAMIC, THIS_CPU}),
        (("--target", "web"), {STATIC, DYNAMIC}),
        (("--form", "native"), {STATIC, DYNAMIC}),
        (("--bank", "int8"), {STATIC, DYNAMIC, THIS_CPU}),
        (("--precision", "fp16"), None),
    ],
)
def test_what_is_timed(
    options: tuple[str, ...],
    files: set[str] | None,
    cli: CommandLine,
    timed: list[dict[str, Any]],
) -> None:
    done = cli("convert", *TINY, "-o", "out", *options, "--json")
    assert done.code == 0, done.err
    assert [set(found) for found in timed] == ([] if files is None else [files])
    for found in timed:
        batch = int(options[1]) if options[0] == "--batch" else 1
        assert all(shapes == [(batch, 5)] for shapes in found.values())
    if files is None:
        assert done.document["onnx"]["latency"] is None


def test_a_static_network_that_can_not_be_written_is_a_note(
    tiny_resnet: TinyNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: Any, **options: Any) -> None:
        raise ExportError("no ONNX operator for this")

    monkeypatch.setattr(latency, "write_unproven", fails)
    done = ds.convert_to_directory(tiny_resnet, tiny_resnet.example(), tmp_path / "out")
    found = done.document["onnx"]
    assert found["latency"] is None
    assert latency_lines(found) == [
        "note: latency was not measured: ExportError: no ONNX operator for this"
    ]


def test_it_is_really_measured(tiny_resnet: TinyNet, tmp_path: Path) -> None:
    done = ds.convert_to_directory(tiny_resnet, tiny_resnet.example(), tmp_path / "out")
    found = FileLatency(**done.document["onnx"]["latency"])
    assert found.static_ms > 0
    assert found.dynamic_ms > 0
    assert 1 <= found.rounds <= latency.ROUNDS
    assert found.threads == torch.get_num_threads()


def test_the_report_shows_what_was_measured(tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    directory = write_directory(tmp_path / "dir", chain(3))
    receipt = json.loads((directory / "receipt.json").read_text())
    receipt["costs"]["latency"] = {"static_ms": 1.0, "dynamic_ms": 9.0, "ratio": 9.0}
    assert file_latency(receipt) == receipt["costs"]["latency"]
    receipt["onnx"]["latency"] = judged(timings(10, 20, 15), 1, 2, load=0.0).to_dict()
    (directory / "receipt.json").write_text(json.dumps(receipt))
    text = write_report(directory).read_text()
    assert "2.00 times the latency" in text
    assert "20 ms" in text
    assert "9 ms" not in text
    assert "it took 15 ms" in text
