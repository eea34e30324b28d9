"""Statistics of BatchNorm against float64 by hand, and everything that has to stay."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from finetune_helpers import SHAPE, Blobs, dynamic_net, same_tensors, static_net
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

import dynsurgeon as ds


def images(count: int = 50, seed: int = 0, shape: tuple[int, ...] = SHAPE) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(count, *shape, generator=generator) + 100  # squares would lose digits


def statistics(layer: Any) -> tuple[Tensor, Tensor]:
    return layer.running_mean.double(), layer.running_var.double()


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.BatchNorm1d(3), (3,)),
        (nn.BatchNorm1d(3, momentum=None), (3, 5)),
        (nn.BatchNorm2d(3, momentum=0.01), (3, 4, 4)),
        (nn.SyncBatchNorm(3), (3, 4, 4)),
        (nn.BatchNorm3d(3, affine=False), (3, 2, 2, 2)),
    ],
)
@pytest.mark.parametrize("training", [False, True])
def test_they_are_mean_and_variance_of_everything(
    layer: Any, shape: tuple[int, ...], training: bool
) -> None:
    layer = copy.deepcopy(layer)
    seen = images(50, shape=shape)
    kept = layer.num_batches_tracked.clone(), layer.momentum
    report = ds.update_batch_norm(
        nn.Sequential(layer).train(training), torch.split(seen, 16)
    )  # the last has 2
    flat = seen.double().transpose(0, 1).reshape(3, -1)
    mean, variance = statistics(layer)
    assert torch.allclose(mean, flat.mean(1), rtol=1e-6)
    assert torch.allclose(variance, flat.var(1), rtol=1e-5)
    assert (layer.num_batches_tracked, layer.momentum) == kept
    assert (layer.training, layer.track_running_stats) == (training, True)
    assert (report.samples, report.unreached) == (50, ())


def test_they_are_those_of_one_step_without_memory() -> None:
    net, plain = dynamic_net(dropout=0.0), dynamic_net(dropout=0.0)
    for module in plain.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    seen = images(32)
    with torch.no_grad():
        plain.train()(seen)
    ds.update_batch_norm(net, [seen])
    for name in ("1", "4"):
        for one, other in zip(
            statistics(net.get_submodule(name)), statistics(plain.get_submodule(name)), strict=True
        ):
            assert torch.allclose(one, other, rtol=1e-4, atol=1e-6)


def test_what_was_learned_is_there_in_eval_mode() -> None:
    net = static_net(dropout=0.0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.01
    seen, labels = Blobs(48, 0).images, Blobs(48, 0).labels
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    for _ in range(20):
        optimizer.zero_grad()
        F.cross_entropy(net.train()(seen), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    @torch.no_grad()
    def loss() -> float:
        return float(F.cross_entropy(net(seen), labels))

    wanted, lagging = loss(), (net.eval(), loss())[1]
    report = ds.update_batch_norm(net, [seen])
    assert lagging > 1.25 * wanted
    assert loss() == pytest.approx(wanted, rel=0.05)
    assert report.worst > 0.5
    assert ds.update_batch_norm(net, [seen]).worst < 1e-5


def test_a_lag_is_by_how_much_the_output_was_off() -> None:
    net = nn.Sequential(nn.BatchNorm1d(1, eps=1e-9))
    seen = torch.tensor([[3.0], [5.0]])  # mean 4, variance 2; the layer has mean 0, variance 1
    report = ds.update_batch_norm(net, [seen])
    assert report.lag == {"0": pytest.approx((4**2 + (2**0.5 - 1) ** 2) ** 0.5)}


def test_all_else_stays() -> None:
    net = dynamic_net(dropout=0.5).train()
    net.get_submodule("8").eval()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    torch.manual_seed(3)
    state = torch.get_rng_state()
    ds.update_batch_norm(net, [images(8)])
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in net.modules()] == modes
    changed = {n for n, t in net.state_dict().items() if not torch.equal(t, before[n])}
    assert changed == {f"{i}.running_{what}" for i in (1, 4) for what in ("mean", "var")}
    assert not any(module._forward_pre_hooks for module in net.modules())


def test_drop_out_is_off() -> None:
    net = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm2d(3)).train()
    ds.update_batch_norm(net, [images()])
    assert torch.allclose(statistics(net[1])[0], images().double().mean((0, 2, 3)))


@pytest.mark.parametrize("frozen", ["eval", "class", "untracked"])
def test_frozen_layers_are_left_alone(frozen: str) -> None:
    layer: nn.Module = nn.BatchNorm2d(3, track_running_stats=frozen != "untracked")
    net = nn.Sequential(FrozenBatchNorm2d(3) if frozen == "class" else layer).train()
    if frozen == "eval":
        net[0].eval()
    kept = copy.deepcopy(net)
    report = ds.update_batch_norm(net, [images(8)])
    assert (report.lag, report.samples, report.worst) == ({}, 0, 0.0)
    assert same_tensors(net, kept)


def test_a_layer_that_runs_twice_pools_both() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.unused = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

        def forward(self, x: Tensor) -> Any:
            return self.norm(input=x), self.norm(x + 10)

    net = Twice()
    report = ds.update_batch_norm(net, [images()])
    wanted = torch.cat([images(), images() + 10]).double()
    assert torch.allclose(statistics(net.norm)[0], wanted.mean((0, 2, 3)))
    assert torch.allclose(statistics(net.norm)[1], wanted.var((0, 2, 3)), rtol=1e-5)
    assert report.unreached == ("unused",)
    assert float(net.unused.running_mean.abs().max()) == 0  # type: ignore[union-attr]


def test_batches_are_taken_as_calibrate_takes_them() -> None:
    nets = [nn.Sequential(nn.BatchNorm2d(3)) for _ in range(3)]
    seen = images(20)
    ds.update_batch_norm(nets[0], torch.split(seen, 5), samples=10)
    ds.update_batch_norm(nets[1], [(seen[:10], torch.zeros(10))])
    ds.update_batch_norm(nets[2], [{"input": seen[:10]}])
    assert torch.allclose(statistics(nets[0][0])[0], statistics(nets[1][0])[0])
    assert same_tensors(nets[1], nets[2])


@pytest.mark.parametrize(
    ("batches", "kind", "text"),
    [
        ([], ds.ConfigError, "no sample"),
        (torch.zeros(2, *SHAPE), ds.ConfigError, "wrap it"),
        ([images(4), images(1)[:, :, :1, :1]], ds.ConfigError, "one value of each channel of '0'"),
        ([images(4) * float("nan")], ds.TrainingError, "statistics of '0' are no finite numbers"),
        ([images(4), images(4) * 1e38], ds.TrainingError, "nothing was changed"),
    ],
)
def test_what_gives_no_statistics_is_told_and_changes_nothing(
    batches: Any, kind: type[Exception], text: str
) -> None:
    net = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    kept = copy.deepcopy(net)
    with pytest.raises(kind, match=text):
        ds.update_batch_norm(net, batches)
    assert same_tensors(net, kept)
    assert [m.track_running_stats for m in (net[0], net[2])] == [True, True]
    with pytest.raises(ds.ConfigError, match="samples"):
        ds.update_batch_norm(net, [images(4)], samples=0)
