"""Rounding that a network blows up itself is allowed; a fault in it is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from export_nets import DynamicNet, perturbed
from torch import Tensor, nn

from dynsurgeon.errors import ParityError
from dynsurgeon.export import export_onnx
from dynsurgeon.export.arbiter import FACTOR, MOST, Arbiter
from dynsurgeon.export.cases import Case
from dynsurgeon.export.existing import verify_onnx
from dynsurgeon.export.result import ExportCheck, ExportResult
from dynsurgeon.export.trial import Trial
from dynsurgeon.export.verify import references
from dynsurgeon.operators import DynamicConv2d
from dynsurgeon.running.inputs import Inputs

STRICT = 1e-5


class Shifted(nn.Module):
    """Normalises what lies far from 0, as a network does that subtracts large means."""

    def __init__(self, far: float = 1e3) -> None:
        super().__init__()
        self.far = far
        self.conv1 = DynamicConv2d(3, 6, 3, padding=1, bias=False)
        self.conv2 = DynamicConv2d(6, 6, 3, padding=1, bias=False)
        self.norm = nn.GroupNorm(3, 6)
        self.fc = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv1(x) + self.far)
        y: Tensor = self.fc(self.norm(self.conv2(x) + self.far).relu().mean((2, 3)))
        return y


def image(batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, 8, 8)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Shifted, Path, ExportResult]:
    torch.manual_seed(0)
    net = Shifted()
    perturbed(net)
    path = tmp_path_factory.mktemp("arbiter") / "m.onnx"
    return net, path, export_onnx(net, path, image())


def test_a_correct_file_of_an_ill_conditioned_network_passes_and_says_how(
    written: tuple[Shifted, Path, ExportResult],
) -> None:
    net, path, result = written
    assert result.passed
    assert result.max_rel > STRICT
    judged = [check for check in result.checks if check.float64_rel is not None]
    assert judged
    for check in judged:
        assert check.float64_rel is not None
        assert check.float64_allowed is not None
        assert check.float64_rel <= check.float64_allowed <= MOST
    (note,) = result.notes
    assert f"in {len(judged)} of {len(result.checks)} checks" in note
    assert f"note: {note}" in str(result)
    assert json.loads(json.dumps(result.to_dict()))["notes"] == [note]
    assert verify_onnx(net, path, image()).passed


FAULTS: dict[str, Callable[[Shifted], dict[str, Tensor]]] = {
    "kernels of one site in another order": lambda net: {
        "conv1.weight": net.conv1.weight.detach().roll(1, 0)
    },
    "attention of two sites exchanged": lambda net: {
        f"conv1.attention.fc2.{name}": net.get_parameter(f"conv2.attention.fc2.{name}").detach()
        for name in ("bias",)
    },
    "off by a thousandth": lambda net: {"fc.weight": net.fc.weight.detach() * 1.002},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_it_is_far_above_what_is_allowed(
    fault: str, written: tuple[Shifted, Path, ExportResult]
) -> None:
    net, path, _ = written
    case = Case("batch 3", 3, Inputs(image(3)))
    with torch.no_grad():
        (check,) = Trial("", path, FAULTS[fault](net)).run(net, [case])
    assert not check.passed
    assert check.float64_rel is not None
    assert check.float64_allowed is not None
    assert check.float64_rel > 3 * check.float64_allowed


def test_a_tame_network_is_allowed_no_more_than_ever(tmp_path: Path) -> None:
    net = perturbed(DynamicNet())
    result = export_onnx(net, tmp_path / "m.onnx", torch.randn(2, 3, 12, 12), batch=2)
    assert not result.notes
    assert "float64_rel" not in result.to_dict()["checks"][0]
    cases = [Case("batch 2", 2, Inputs(torch.randn(2, 3, 12, 12)))]
    with torch.no_grad():
        arbiter = Arbiter.of(net, {}, cases, references(net, {}, cases))
    assert arbiter is not None
    assert max(arbiter.allowed) < STRICT


class SingleOnly(Shifted):
    def forward(self, x: Tensor) -> Tensor:
        if x.dtype != torch.float32:
            raise TypeError("float32 alone")
        return super().forward(x)


class OtherInDouble(Shifted):
    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y if x.dtype == torch.float32 else y + 1


def test_without_float64_the_tolerance_is_strict(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match="it is off by") as caught:
        export_onnx(perturbed(SingleOnly()), tmp_path / "m.onnx", image(), batch=2)
    assert "in float64, where" not in str(caught.value)


def test_a_network_that_is_another_one_in_float64_allows_nothing_large(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match=r"from the network in float64, where .* explains 0\.005"):
        export_onnx(perturbed(OtherInDouble()), tmp_path / "m.onnx", image(), batch=2)


def test_where_a_mixed_up_attention_would_hide_less_is_allowed() -> None:
    torch.manual_seed(0)
    net = Shifted()
    perturbed(net)
    cases = [Case("batch 3", 3, Inputs(image(3)))]
    almost: dict[str, Any] = {
        f"{name}.weight": module.weight.detach()[:1]
        + 1e-6 * torch.randn_like(module.weight.detach())
        for name, module in net.named_modules()
        if isinstance(module, DynamicConv2d)
    }
    with torch.no_grad():
        usual = Arbiter.of(net, {}, cases, references(net, {}, cases))
        hidden = Arbiter.of(net, almost, cases, references(net, almost, cases))
    assert usual is not None
    assert hidden is not None
    assert max(hidden.allowed) < max(usual.allowed) / FACTOR


def test_what_float64_is_asked_about() -> None:
    arbiter = Arbiter([[torch.tensor([1.0]).double()]], [1e-4])
    check, expected, tolerance = ExportCheck("a", 1, 1e-4, 1e-4, False), [torch.ones(1)], (1e-5, 0)

    def judged(found: Tensor, wanted: list[Tensor] = expected) -> ExportCheck:
        exact = [tensor.double() for tensor in wanted]
        return arbiter.judge(check, [found], wanted, exact, tolerance)

    near, far = judged(torch.tensor([1.00009])), judged(torch.tensor([1.00011]))
    assert (near.passed, far.passed) == (True, False)
    assert near.float64_allowed == 1e-4
    assert not judged(torch.tensor([2]), [torch.tensor([1])]).passed  # whole numbers round nowhere
