"""PReLUs that are steeper below zero than above go the whole way: plan, proof, file, back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from nets import TinyNet, perturb_
from torch import Tensor, nn

import dynsurgeon as ds
from dynsurgeon.operators import DynamicReLU


class Steep(TinyNet):
    """Slopes of a layer below zero, up to 1 and above; a PReLU on vectors, and a LeakyReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.conv2 = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
        self.act, self.leaky = nn.PReLU(4), nn.LeakyReLU(1.25)
        self.dense, self.last = nn.Linear(4, 6), nn.PReLU(6, init=1.5)
        with torch.no_grad():
            self.act.weight.copy_(torch.tensor([1.75, -0.5, 0.25, 1.0]))

    def forward(self, x: Tensor) -> Tensor:
        x = self.leaky(self.conv2(self.act(self.conv(x))))
        y: Tensor = self.last(self.dense(x.mean((2, 3))))
        return y


@pytest.mark.parametrize("kind", ["A", "B", "C"])
def test_converted_proven_saved_and_restored(kind: Any, tmp_path: Path) -> None:
    net, x = Steep(), Steep().example(3)
    config = ds.SurgeryConfig(activation=ds.DynamicReLUConfig(kind=kind), conv=None)
    dynamic = ds.convert(net, x, config)
    names = [n for n, m in dynamic.named_modules() if isinstance(m, DynamicReLU)]
    assert names == ["act", "leaky", "last"]
    receipt = ds.check_parity(net, dynamic, x)
    assert receipt.passed
    if kind != "C":
        assert torch.equal(dynamic(x), net(x))
    perturb_(dynamic)
    with torch.no_grad():
        dynamic.get_parameter("act.weight").mul_(0.9)
    ds.save(dynamic, tmp_path)
    assert torch.equal(ds.load(tmp_path, Steep())(x), dynamic(x))
    back = ds.restore(ds.convert(net, x, config))
    assert list(back.state_dict()) == list(net.state_dict())
    assert all(torch.equal(t, net.state_dict()[key]) for key, t in back.state_dict().items())


def test_the_proof_sees_a_wrong_gradient_of_the_slopes() -> None:
    net, x = Steep(), Steep().example(3)
    dynamic = ds.convert(net, x, ds.SurgeryConfig(conv=None))
    slopes: Any = dynamic.get_parameter("act.weight")
    slopes.register_hook(lambda grad: 2 * grad)
    assert ds.check_parity(net, dynamic, x).gradient_rel == pytest.approx(1)


def test_trained_slopes_come_back() -> None:
    dynamic = ds.convert(Steep(), Steep().example())
    with torch.no_grad():
        dynamic.get_parameter("act.weight").add_(1)
    assert torch.equal(ds.restore(dynamic).get_parameter("act.weight")[:1], torch.tensor([2.75]))


def test_the_slopes_learn_as_they_did_and_not_as_the_head() -> None:
    dynamic = ds.convert(Steep(), Steep().example())
    groups = {g["name"]: g["params"] for g in ds.parameter_groups(dynamic, 0.1)}
    assert any(p is dynamic.get_parameter("act.weight") for p in groups["rest/no-decay"])


@pytest.mark.parametrize("batch", [None, 1])
def test_the_file_computes_the_same(batch: int | None, tmp_path: Path) -> None:
    x = Steep().example()
    dynamic = ds.convert(Steep(), x)
    assert ds.export_onnx(dynamic, tmp_path / "net.onnx", x[:1], batch=batch).passed
