"""Rows of a benchmark, the engines behind them, and what a failure of one leaves."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from native_cpu import in_plain_operators
from nets import TinyNet, perturb_
from shared_traces import share_equal_traces
from surgery_nets import images
from test_native_guard import guarded
from torch import nn

import dynsurgeon as ds
from dynsurgeon.bench import engines
from dynsurgeon.bench.engines import ENGINES, Twins
from dynsurgeon.bench.rows import BenchRow, bench, check_engines
from dynsurgeon.running.inputs import Inputs
from dynsurgeon.timing.interleave import Timing
from dynsurgeon.timing.threads import torch_threads


@pytest.fixture
def twins(inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Twins:
    """Two layers, so that the many files written here take little time."""
    share_equal_traces(monkeypatch)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4))
    static = perturb_(net).eval()
    return Twins(static, ds.convert(static, inputs), tmp_path)


@pytest.fixture
def inputs() -> Inputs:
    return Inputs(images())


def test_every_combination_has_a_row(twins: Twins, inputs: Inputs) -> None:
    told: list[str] = []
    rows = bench(
        twins,
        inputs,
        engines=["eager", "onnxruntime"],
        batches=[1, 3],
        threads=[1],
        rounds=2,
        step=told.append,
    )
    places = [(row.engine, row.batch, row.threads) for row in rows]
    assert places == [
        ("eager", 1, 1),
        ("eager", 3, 1),
        ("onnxruntime", 1, 1),
        ("onnxruntime", 3, 1),
    ]
    assert told == [f"timing {e} at batch {b} with {t} threads" for e, b, t in places]
    for row in rows:
        assert row.problem is None
        assert {len(timing.seconds) for timing in row.timings.values()} == {2}
        assert row.comparison is not None
        assert row.comparison.ratio > 0
    assert json.loads(json.dumps([row.to_dict() for row in rows]))[0]["static"]["rounds"] == 2


def test_both_networks_are_called_with_that_batch(
    twins: Twins, inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, int, int, bool]] = []

    def watch(name: str) -> Any:
        def hook(module: Any, args: Any) -> None:
            threads = torch.get_num_threads()
            seen.append((name, len(args[0]), threads, torch.is_grad_enabled()))

        return hook

    twins.static.register_forward_pre_hook(watch("static"))
    twins.dynamic.register_forward_pre_hook(watch("dynamic"))
    bench(twins, inputs, engines=["eager"], batches=[5], threads=[2], rounds=1)
    assert set(seen) == {("static", 5, 2, False), ("dynamic", 5, 2, False)}


def test_one_file_a_batch_serves_all_threads(twins: Twins, inputs: Inputs) -> None:
    for batch, threads in ((1, 1), (1, 2), (2, 1)):
        twins.onnx_file("static", inputs, batch, threads)
        twins.onnx_file("dynamic", inputs, batch, threads)
    assert len(twins.written) == 4
    batches = {
        key: ort.InferenceSession(str(path)).get_inputs()[0].shape[0]
        for key, path in twins.written.items()
    }
    assert all(found == key[1] for key, found in batches.items())


def test_a_file_is_taken_where_its_batch_fits(twins: Twins, inputs: Inputs, tmp_path: Path) -> None:
    free, fixed = tmp_path / "free.onnx", tmp_path / "fixed.onnx"
    ds.export_onnx(twins.dynamic, free, inputs)
    ds.export_onnx(twins.dynamic, fixed, inputs, batch=2)
    for file, batch, taken in (
        (free, 1, True),
        (free, 4, True),
        (fixed, 2, True),
        (fixed, 1, False),
    ):
        twins.file = file
        path = twins.onnx_file("dynamic", inputs, batch, 1)
        assert (path == file) == taken
        assert twins.onnx_file("static", inputs, batch, 1) != file


def test_the_form_reaches_the_dynamic_file_alone(
    twins: Twins, inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[bool, Any]] = []

    def export(model: Any, path: Path, inputs: Any, **settings: Any) -> None:
        asked.append((model is twins.dynamic, settings))

    monkeypatch.setattr(engines, "export_onnx", export)
    twins.form, twins.this_cpu = "auto", True
    for threads in (1, 2):  # what is fastest with two threads may not be with one
        twins.onnx_file("static", inputs, 1, threads)
        twins.onnx_file("dynamic", inputs, 1, threads)
    wish = {"batch": 1, "form": "auto", "this_cpu": True}
    assert asked == [(False, {"batch": 1}), (True, wish), (True, wish)]


def test_an_engine_that_fails_leaves_its_reason_and_the_others(
    twins: Twins, inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_compiler(*_: Any) -> Any:
        raise RuntimeError("\n  no C++ compiler\nmore of it")

    monkeypatch.setitem(ENGINES, "compile", no_compiler)
    failed, ran = bench(twins, inputs, engines=["compile", "eager"], rounds=1)
    assert failed.problem == "RuntimeError: no C++ compiler"
    assert failed.comparison is None
    assert failed.to_dict() == {
        "engine": "compile",
        "batch": 1,
        "threads": 1,
        "problem": "RuntimeError: no C++ compiler",
    }
    assert ran.problem is None
    with pytest.raises(
        ds.UnsupportedModelError, match="no engine runs both networks: RuntimeError"
    ):
        bench(twins, inputs, engines=["compile"], rounds=1)


def test_compiled_networks_run(
    tiny_resnet: TinyNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The default back end would look for a C++ compiler, and take a minute. That a dynamic layer
    # can be compiled is for the tests of the layers.
    twins = Twins(tiny_resnet, copy.deepcopy(tiny_resnet), tmp_path)
    compile_: Any = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda model, **settings: compile_(model, backend="eager", **settings)
    )
    (row,) = bench(twins, Inputs(tiny_resnet.example()), engines=["compile"], rounds=1)
    assert row.problem is None
    assert set(row.timings) == {"static", "dynamic"}


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"engines": ["eagre"]}, "unknown engine 'eagre'; did you mean 'eager'"),
        ({"engines": ["zzz"]}, "known engines: eager, compile, onnxruntime"),
        ({"batches": [0]}, "at least 1"),
        ({"threads": [0]}, "at least 1"),
        ({"rounds": 0}, "at least 1"),
    ],
)
def test_nonsense_is_refused(
    twins: Twins, inputs: Inputs, settings: dict[str, Any], text: str
) -> None:
    with pytest.raises(ds.ConfigError, match=text):
        bench(twins, inputs, **settings)


def test_an_unknown_form_is_no_failed_row(twins: Twins, inputs: Inputs) -> None:
    twins.form = "plian"
    with pytest.raises(ds.ConfigError, match="did you mean 'plain'"):
        bench(twins, inputs, engines=["onnxruntime"], rounds=1)


def test_known_engines_pass() -> None:
    check_engines([])
    check_engines(list(ENGINES))


def test_threads_are_put_back() -> None:
    before = torch.get_num_threads()
    with torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_a_row_by_hand() -> None:
    timings = {"static": Timing((1.0, 2.0, 3.0)), "dynamic": Timing((2.0, 3.0, 3.0))}
    found = BenchRow("eager", 1, 2, timings).to_dict()
    assert found["ratio"] == found["paired_ratio"] == 1.5
    assert found["least_ratio"] == 2.0
    assert found["dynamic"]["median_ms"] == 3000.0


def test_a_file_for_another_cpu_says_so(tmp_path: Path) -> None:
    ir.save(in_plain_operators(guarded(16), 8), tmp_path / "m.onnx")
    twins = Twins(nn.ReLU(), nn.ReLU(), tmp_path, file=tmp_path / "m.onnx")
    x = Inputs(torch.randn(2, 3))
    with pytest.raises(ds.UnsupportedModelError, match=r"MachineError: .* was laid out for CPUs"):
        bench(twins, x, engines=["onnxruntime"], batches=[2], rounds=1)
