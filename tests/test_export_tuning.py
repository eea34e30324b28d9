"""``"auto"``: measured, told, kept, and never another function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from export_nets import DynamicNet, assert_close, captured_graph, perturbed, run_onnx

from dynsurgeon.errors import ConfigError, ExportError
from dynsurgeon.export import export_onnx
from dynsurgeon.export.forms import CONV_FORMS
from dynsurgeon.export.forms.site import is_dynamic_conv
from dynsurgeon.export.target import Target
from dynsurgeon.export.tuning import race, sites
from dynsurgeon.export.tuning.excerpt import excerpt_model
from dynsurgeon.export.tuning.sites import Timer
from dynsurgeon.operators import DynamicConv2d
from dynsurgeon.timing.interleave import Timing
from dynsurgeon.timing.store import TimeStore

Calls = Mapping[str, Callable[[], object]]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def prefer(*names: str) -> Callable[..., dict[str, Timing]]:
    """Return a stopwatch on which these win, in this order; it still calls everything once."""

    def timed(calls: Calls, **_: Any) -> dict[str, Timing]:
        for call in calls.values():
            call()
        order = [*names, *(name for name in calls if name not in names)]
        return {name: Timing((1.0 + order.index(name),)) for name in calls}

    return timed


@pytest.mark.parametrize("favourite", ["plain", "experts"])
def test_the_fastest_form_of_each_convolution_is_taken(
    favourite: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sites, "interleaved", prefer(favourite))
    monkeypatch.setattr(race, "interleaved", prefer("plain+tuned", "plain"))
    net, x = perturbed(DynamicNet()), torch.randn(1, 3, 12, 12)
    result = export_onnx(net, tmp_path / "m.onnx", x, form="auto", batch=1)
    assert result.passed
    assert result.timings is not None
    assert set(result.timings.sites) == {"conv1.weight", "conv2.weight"}
    assert set(result.timings.sites["conv1.weight"]) == {"plain", "grouped", "experts"}
    if favourite == "plain":  # nothing to tune: the rule's file is the only one
        assert set(result.timings.files) == {"plain"}
    else:
        assert result.timings.chosen == {"conv1.weight": favourite, "conv2.weight": favourite}
        assert "plain+tuned 1e+03 ms" in str(result.timings)
    with torch.no_grad():
        assert_close(run_onnx(tmp_path / "m.onnx", x), [net(x)])


def test_the_whole_file_has_the_last_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sites, "interleaved", prefer("experts"))
    monkeypatch.setattr(race, "interleaved", prefer("scan", "grouped", "grouped+tuned"))
    net, x = perturbed(DynamicNet()), torch.randn(3, 3, 12, 12)
    result = export_onnx(net, tmp_path / "m.onnx", x, form="auto", batch=3)
    assert result.form == "scan"
    assert result.timings is not None
    assert result.timings.batch == 3
    assert set(result.timings.files) == {"grouped", "grouped+tuned", "scan", "scan+tuned"}
    assert not result.timings.chosen


def test_native_needs_leave() -> None:
    def names(**wishes: Any) -> list[str]:
        return [target.form.name for target in Target.candidates("auto", None, **wishes)]

    assert names() == ["scan"]
    assert names(this_cpu=True) == ["scan", "native"]
    assert [t.form.name for t in Target.candidates("native", 1)] == ["native"]
    with pytest.raises(ConfigError, match="unknown form"):
        Target.candidates("fast", 1)


def test_times_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[Calls] = []

    def counting(calls: Calls, **_: Any) -> dict[str, Timing]:
        counted.append(calls)
        return prefer("plain")(calls)

    monkeypatch.setattr(sites, "interleaved", counting)
    captured, *_ = captured_graph(DynamicNet(), torch.randn(1, 3, 12, 12))
    for _ in range(2):
        timer = Timer(1, TimeStore(tmp_path / "times.json"))
        times = timer.time_sites(captured.model, ["plain", "matmul", "experts"])
        assert set(times["conv1.weight"]) == {"plain", "experts"}  # no 1x1 kernel
    assert len(counted) == 2  # two shapes, once each


def test_a_network_that_can_not_be_exported_says_why(tmp_path: Path) -> None:
    class Crossed(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + x.mean(dim=0, keepdim=True)

    with pytest.raises(ExportError, match="batch"):
        export_onnx(Crossed(), tmp_path / "m.onnx", torch.randn(2, 3, 4, 4), form="auto")
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.parametrize("form", sorted(set(CONV_FORMS) - {"depthwise"}))  # that is "experts"
def test_a_probe_computes_the_convolution_between_its_neighbours(form: str, tmp_path: Path) -> None:
    conv = DynamicConv2d(3, 6, 1)
    captured, *_ = captured_graph(conv, torch.randn(1, 3, 5, 5))
    (node,) = (node for node in captured.model.graph if is_dynamic_conv(node))
    model = excerpt_model(node, form)
    import onnx_ir as ir

    ir.save(model, tmp_path / "excerpt.onnx")
    given = {
        name: torch.from_numpy(value.const_value.numpy().copy())  # type: ignore[union-attr]
        for name, value in model.graph.initializers.items()
    }
    x, pi = torch.rand(1, 3, 5, 5), torch.softmax(torch.rand(1, 4), dim=1)
    first, last = given["x/kernel"], given["y/kernel"]
    kernel = torch.einsum("k,k...->...", pi[0], torch.as_tensor(given["bank"]))
    y = torch.nn.functional.conv2d(x * first.view(1, -1, 1, 1), kernel, pi[0] @ given["biases"])
    assert_close(run_onnx(tmp_path / "excerpt.onnx", x, pi), [y * last.view(1, -1, 1, 1)])
