"""The last layer: found by running the network, and replaced."""

from __future__ import annotations

import pytest
import torch
from finetune_helpers import SHAPE, dynamic_net, static_net
from torch import Tensor, nn

import dynsurgeon as ds
from dynsurgeon.training.finetune.head import count_classes, find_head, reset_head

INPUTS = (torch.randn(2, *SHAPE),)


class Branched(nn.Module):
    """Its head is not the last layer that was registered, nor called by its container."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(192, 5)
        self.body = nn.Linear(192, 192)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.body(x.flatten(1)))
        return scores


def test_the_head_is_the_last_layer_that_runs() -> None:
    assert find_head(dynamic_net(), INPUTS) == "9"
    assert find_head(Branched(), INPUTS) == "head"


def test_classes_are_counted_and_nothing_is_changed() -> None:
    net = dynamic_net()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    assert count_classes(net, INPUTS) == 3
    assert all(torch.equal(t, before[name]) for name, t in net.state_dict().items())
    assert not net.training


def test_a_new_head_keeps_the_layer_and_all_before_it() -> None:
    net = dynamic_net()
    layer, others = net.get_submodule("9"), net.get_submodule("3").weight.clone()  # type: ignore[operator]
    reset_head(net, "9", 7, seed=1)
    assert net.get_submodule("9") is layer
    assert net(*INPUTS).shape == (2, 7)
    assert layer.out_features == 7
    assert torch.equal(net.get_submodule("3").weight, others)  # type: ignore[arg-type]
    assert len({id(p) for p in net.parameters()}) == len(list(net.parameters()))


def test_a_new_head_is_the_same_for_a_seed() -> None:
    nets = [dynamic_net() for _ in range(3)]
    before = torch.get_rng_state()
    for net, seed in zip(nets, (1, 1, 2), strict=True):
        reset_head(net, "9", 4, seed)
    assert torch.equal(torch.get_rng_state(), before)
    one, same, other = (net.get_submodule("9").weight for net in nets)
    assert torch.equal(one, same)  # type: ignore[arg-type]
    assert not torch.equal(one, other)  # type: ignore[arg-type]


def test_a_head_keeps_its_dtype_and_a_missing_bias() -> None:
    net = nn.Sequential(nn.Linear(4, 3, bias=False)).double().requires_grad_(False)
    reset_head(net, "0", 2)
    (weight,) = net.parameters()
    assert (weight.dtype, tuple(weight.shape), weight.requires_grad) == (
        torch.float64, (2, 4), False
    )  # fmt: skip


@pytest.mark.parametrize(
    "net",
    [
        nn.Sequential(nn.Conv2d(3, 4, 8), nn.Flatten()),
        nn.Sequential(nn.Flatten(), nn.Linear(192, 4), nn.Softmax(1)),
        nn.Flatten(),
    ],
)
def test_scores_of_something_else_have_no_head(net: nn.Module) -> None:
    with pytest.raises(ds.UnsupportedModelError, match="num_classes=N"):
        find_head(net, INPUTS)


def test_only_a_linear_layer_is_replaced() -> None:
    with pytest.raises(ds.UnsupportedModelError, match="'0' is no linear layer"):
        reset_head(static_net(), "0", 2)
    with pytest.raises(ds.UnsupportedModelError, match="'x' is no linear layer"):
        reset_head(static_net(), "x", 2)


class InTraining(nn.Flatten):
    """Gives something else in training, as networks with auxiliary heads do."""

    def forward(self, x: Tensor) -> Tensor:
        return (x, x) if self.training else x.flatten(1)  # type: ignore[return-value]


@pytest.mark.parametrize("net", [nn.Identity(), InTraining()])
def test_only_classifiers_have_classes(net: nn.Module) -> None:
    with pytest.raises(ds.UnsupportedModelError, match="only classifiers are fine-tuned"):
        count_classes(net, INPUTS)
