"""Call sites, not modules: every way in which networks call a convolution or a ReLU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from narrow_resnets import NarrowResNet
from nets import TinyNet, perturb_
from surgery_nets import (
    EVERY,
    Arguments,
    Flow,
    Grandparent,
    InplaceModule,
    Kernels,
    NamedConv,
    Nested,
    Reading,
    SharedPReLU,
    StandardizedConv,
    Structures,
    assert_samples_stay_apart,
    converted,
    dynamic_layers,
    images,
    reasons,
    shared_slots,
)
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import dynsurgeon as ds
from dynsurgeon.operators import DynamicConv2d, DynamicReLUB


@pytest.mark.parametrize(("name", "count"), [("resnet18", 17), ("resnet50", 49)])
def test_resnets_have_one_dynamic_relu_a_call_site(name: str, count: int) -> None:
    model = perturb_(NarrowResNet(name, num_classes=4)).eval()
    x = images(size=32)
    dynamic = ds.convert(model, x, ds.SurgeryConfig(conv=None))
    assert sum(isinstance(m, DynamicReLUB) for m in dynamic.modules()) == count
    assert ds.check_parity(model, dynamic, x).passed


def test_tiny_networks_convert_and_route_each_sample_by_itself(tiny_net: TinyNet) -> None:
    x = tiny_net.example(3)
    assert_samples_stay_apart(converted(tiny_net, x), x)


NETS = [Grandparent, Arguments, Nested, Kernels, SharedPReLU, InplaceModule]


@pytest.mark.parametrize("kind", NETS)
def test_difficult_networks_convert_and_route_each_sample_by_itself(kind: type[TinyNet]) -> None:
    net = kind().eval()
    x = net.example(3)
    dynamic = converted(net, x)
    assert_samples_stay_apart(dynamic, x)
    assert reasons(net, x) == dict.fromkeys(reasons(net, x))  # nothing was left out


SPELLINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "F.relu": lambda x: F.relu(x),
    "F.relu inplace": lambda x: F.relu(x, inplace=True),
    "F.relu positional": lambda x: F.relu(x, True),
    "F.relu_": lambda x: F.relu_(x),
    "torch.relu": lambda x: torch.relu(x),
    "torch.relu_": lambda x: torch.relu_(x),
    "x.relu()": lambda x: x.relu(),
    "x.relu_()": lambda x: x.relu_(),
    "keyword": lambda x: F.relu(input=x, inplace=True),
    "F.relu6": lambda x: F.relu6(x),
    "F.leaky_relu": lambda x: F.leaky_relu(x, 0.2),
    "F.leaky_relu default": lambda x: F.leaky_relu(x),
    "F.leaky_relu_": lambda x: F.leaky_relu_(x, negative_slope=0.3),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_each_spelling_of_relu(spelling: str) -> None:
    run = SPELLINGS[spelling]
    net = Flow(lambda self, x: run(self.conv2(run(self.conv(x)))))
    dynamic = converted(net, net.example())
    assert sum(isinstance(m, DynamicReLUB) for m in dynamic.modules()) == 2
    assert_samples_stay_apart(dynamic, net.example(3))


WRITES: dict[str, Callable[[Tensor], Tensor]] = {
    "F.relu_": lambda x: F.relu_(x),
    "x.relu_()": lambda x: x.relu_(),
    "inplace=True": lambda x: F.relu(x, inplace=True),
    "by a view": lambda x: x.flatten(2).relu_().view_as(x),
    "result unused": lambda x: (x.relu_(), x)[1],
    "nn.ReLU": nn.ReLU(inplace=True),
}


@pytest.mark.parametrize("write", WRITES)
def test_a_write_that_is_read_again_stays_a_write(write: str) -> None:
    net = Reading(WRITES[write])
    dynamic = converted(net, net.example())
    (relu,) = (m for m in dynamic.modules() if isinstance(m, DynamicReLUB))
    assert relu.inplace
    assert_samples_stay_apart(dynamic, net.example(3))


def test_a_write_that_nobody_reads_is_given_up() -> None:
    net = Flow(lambda self, x: F.relu_(self.conv2(self.act(self.conv(x)))))
    net.act.inplace = True
    dynamic = converted(net, net.example())
    assert [m.inplace for m in dynamic.modules() if isinstance(m, DynamicReLUB)] == [False, False]


def test_a_write_that_is_read_in_training_alone_stays_a_write() -> None:
    def flow(self: Flow, x: Tensor) -> Tensor:
        x = self.conv(x)
        y = F.relu_(x)
        return y + x if self.training else y

    net = Flow(flow)
    dynamic = converted(net, net.example())
    assert [m.inplace for m in dynamic.modules() if isinstance(m, DynamicReLUB)] == [True]


def test_one_relu_in_many_slots_becomes_one_each() -> None:
    net = shared_slots()
    dynamic = converted(net, images())
    relus = [dynamic.get_submodule(name) for name in ("1", "3", "4.1")]
    assert all(isinstance(relu, DynamicReLUB) for relu in relus)
    assert [relu.channels for relu in relus] == [4, 5, 4]
    assert len(set(map(id, relus))) == 3
    assert_samples_stay_apart(dynamic, images(3))
    assert net[1] is net[3]


def test_each_slot_has_hooks_of_its_own() -> None:
    dynamic = ds.convert(shared_slots(), images(), EVERY)
    calls: list[int] = []
    dynamic.get_submodule("1").register_forward_hook(lambda *_: calls.append(1))
    dynamic(images())
    assert calls == [1]


def test_a_convolution_called_many_times_has_one_set_of_weights(tiny_shared_conv: TinyNet) -> None:
    x = tiny_shared_conv.example()
    dynamic = converted(tiny_shared_conv, x, None)
    layers = dynamic_layers(dynamic)
    assert [name for name in layers if isinstance(layers[name], DynamicConv2d)] == [
        "head",
        "output",
    ]
    assert isinstance(layers["head"], DynamicConv2d)
    assert layers["head"].weight.shape == (4, 8, 8, 3, 3)
    assert [n for n in layers if n.startswith("relu")] == ["relu", "relu_1", "relu_2"]


def test_a_subclass_without_a_forward_of_its_own_is_converted() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), NamedConv(4, 4, 3), nn.ReLU())
    dynamic = converted(net, images())
    conv = dynamic[1]  # type: ignore[index]
    assert isinstance(conv, DynamicConv2d)
    assert vars(conv)["tag"] == "mine"


def test_a_convolution_with_a_forward_of_its_own_stays_static() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), StandardizedConv(4, 4, 3), nn.ReLU())
    dynamic = converted(net, images())
    assert type(dynamic[1]) is StandardizedConv  # type: ignore[index]
    assert reasons(net, images()) == {
        "0": None,
        "1.conv2d": "its weight is computed, or is no parameter of its owner",
        "2": None,
    }


def test_functional_convolutions_get_modules_with_the_owners_weights() -> None:
    net = Kernels()
    dynamic = converted(net, net.example())
    assert set(dict(dynamic.named_parameters(recurse=False))) == {"scale"}
    layers = dynamic_layers(dynamic)
    assert list(layers) == ["conv2d", "conv2d_1", "conv_transpose2d", "relu"]
    for name, weight, bias in (
        ("conv2d", net.first, None),
        ("conv2d_1", net.second, net.offset),
        ("conv_transpose2d", net.third, net.shift),
    ):
        conv = layers[name]
        assert isinstance(conv.weight, Tensor)
        assert torch.equal(conv.weight[3], weight)
        assert (conv.bias is None) == (bias is None)


def test_functional_convolutions_in_one_and_three_dimensions() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.line = nn.Parameter(torch.randn(4, 3, 3))
            self.cube = nn.Parameter(torch.randn(4, 1, 1, 3, 3))

        def forward(self, x: Tensor) -> Tensor:
            x = F.conv1d(x.flatten(2), self.line, padding=1).view(-1, 4, 8, 8)
            return F.conv3d(x.unsqueeze(2), self.cube, None, 1, (0, 1, 1), 1, 4)

    dynamic = converted(Net(), images())
    assert [type(m).__name__ for m in dynamic_layers(dynamic).values()] == [
        "DynamicConv1d",
        "DynamicConv3d",
    ]
    assert_samples_stay_apart(dynamic, images(3))


def test_a_shared_prelu_stays_one_module() -> None:
    net = SharedPReLU()
    dynamic = converted(net, net.example())
    assert [n for n in dynamic_layers(dynamic) if "act" in n] == ["act"]


def test_calls_from_a_grandparent_are_named_after_their_path() -> None:
    net = Grandparent()
    dynamic = converted(net, net.example())
    names = [n for n, m in dynamic_layers(dynamic).items() if isinstance(m, DynamicReLUB)]
    # Two owners call "middle.a-b.relu": each gets its own. ("a-b" itself is no name for a child.)
    assert set(names) == {
        *("middle.a-b.relu_1", "middle.c.relu", "relu", "relu_1"),
        *("middle_a_b_relu", "middle_a_b_relu_1", "middle_a_b_relu_2"),
    }


def test_an_owner_that_reads_its_training_flag_keeps_both_behaviours(tiny_dual: TinyNet) -> None:
    x = tiny_dual.example()
    dynamic = converted(tiny_dual, x)
    assert_samples_stay_apart(dynamic, x)
    for training in (True, False, True):
        torch.manual_seed(3)
        ours = tiny_dual.train(training)(x)
        torch.manual_seed(3)
        torch.testing.assert_close(dynamic.train(training)(x), ours)
    assert not torch.equal(dynamic.eval()(x), dynamic.train()(x))


def test_an_owner_keeps_its_arguments_names_and_defaults() -> None:
    net = Arguments()
    dynamic = converted(net, net.example())
    x = images(channels=4)
    for block, twin in ((net.twice, dynamic.twice), (net.skipping, dynamic.skipping)):
        assert isinstance(twin, nn.Module)
        if block is net.twice:
            torch.testing.assert_close(twin(x, negate=True, times=2), block(x, 2, negate=True))
        else:
            torch.testing.assert_close(twin(x, skip=-x), block(x, skip=-x))


def test_an_argument_that_the_trace_has_fixed_is_checked() -> None:
    net = Arguments()
    dynamic = ds.convert(net, net.example(), EVERY)
    x = images(channels=4)
    assert isinstance(dynamic.twice, nn.Module)
    for arguments in ({}, {"times": 2}, {"times": 3, "negate": True}):
        with pytest.raises(AssertionError, match="specialized to have value"):
            dynamic.twice(x, **arguments)
    with pytest.raises(AssertionError, match="specialized to have value None"):
        dynamic.twice(x, 2, skip=x, negate=True)


def test_dictionaries_and_lists_come_in_and_go_out() -> None:
    net = Structures()
    dynamic = converted(net, net.example())
    outputs = dynamic(*net.example(3))
    assert outputs["out"].shape == (3, 4, 8, 8)
    assert outputs["aux"][1] == "text"
    assert list(dynamic_layers(dynamic)) == ["left", "right", "relu"]


def test_include_of_one_call_of_a_shared_relu(tiny_resnet: TinyNet) -> None:
    x = tiny_resnet.example()
    for chosen, static in (("relu_1", "relu"), ("relu", "relu_1")):
        config = ds.SurgeryConfig(include=(f"layer1.0.{chosen}",))
        dynamic = converted(tiny_resnet, x, config)
        assert list(dynamic_layers(dynamic)) == [f"layer1.0.{chosen}"]
        assert type(dynamic.get_submodule(f"layer1.0.{static}")) is nn.ReLU
        assert_samples_stay_apart(dynamic, tiny_resnet.example(3))


def _with_a_list() -> nn.Module:
    net = Flow(lambda self, x: F.relu(self.conv2(self.listed[1](self.listed[0](x)))))
    net.listed = [net.conv, net.act]  # type: ignore[assignment]
    return net


def test_children_that_are_called_through_a_plain_list_are_converted() -> None:
    net = _with_a_list()
    dynamic = converted(net, images())
    assert set(dynamic_layers(dynamic)) == {"conv", "conv2", "act", "relu"}
    assert dynamic.listed[0] is dynamic.conv  # type: ignore[index]


class Hidden(Flow):
    """Holds a whole block in a plain list, where no `named_modules` sees it."""

    def __init__(self) -> None:
        super().__init__(lambda self, x: self.conv2(self.hidden[0](self.conv(x))))
        self.hidden = [Flow(lambda self, x: F.relu(self.conv2(x)))]


def test_modules_that_are_not_registered_are_left_alone() -> None:
    net = Hidden()
    found = reasons(net, net.example())
    assert found["conv"] is None
    assert found["conv2"] is None
    assert found["?"] == "is not registered as a child of any module"
    assert found["?.relu"] == "its owner is not registered as a child of any module"
    converted(net, net.example())


REFUSED: dict[str, tuple[Callable[[Any, Tensor], Any], str]] = {
    "branches on a shape": (
        lambda self, x: F.relu(x) if x.shape[2] > 4 else x,
        "its owner's forward branches on the sizes of a tensor",
    ),
    "branches on a value": (
        lambda self, x: F.relu(x) if x.mean() > -9 else x,
        "its owner's forward branches on values of a tensor",
    ),
    "assigns an attribute": (
        lambda self, x: self.__setattr__("last", x) or F.relu(x),
        "its owner's forward changes attributes (last)",
    ),
    "counts": (
        lambda self, x: self.__setattr__("count", getattr(self, "count", 0) + 1) or F.relu(x),
        "its owner's forward changes attributes (count)",
    ),
    "creates a tensor": (
        lambda self, x: F.relu(x + torch.ones(8)),
        "its owner's forward creates tensors that a trace would fix",
    ),
    "draws a number": (
        lambda self, x: F.relu(x) if float(torch.rand(1)) < 2 else x,
        "its owner's forward draws random numbers that a trace would fix",
    ),
    "switches gradients": (
        lambda self, x: _without_gradients(x),
        "its owner's forward switches gradients off",
    ),
    "switches autocast": (
        lambda self, x: _without_autocast(x),
        "its owner's forward switches autocast",
    ),
}


def _without_gradients(x: Tensor) -> Tensor:
    with torch.no_grad():
        scale = x.mean()
    return F.relu(x) * scale


def _without_autocast(x: Tensor) -> Tensor:
    with torch.autocast("cpu", enabled=False):
        return F.relu(x.float())


@pytest.mark.parametrize("what", REFUSED)
def test_an_owner_that_a_trace_would_change_is_left_alone(what: str) -> None:
    flow, reason = REFUSED[what]
    net = Flow(lambda self, x: flow(self, self.conv2(self.conv(x))))
    found = reasons(net, net.example())
    assert reason in found.pop("relu")
    assert found.pop("conv") is None
    dynamic = converted(net, net.example())
    assert set(dynamic_layers(dynamic)) == {"conv", "conv2"}
    assert type(dynamic) is Flow


def test_a_child_frozen_in_eval_mode_stays_frozen() -> None:
    # The rewritten forward is chosen by the owner's flag, so it can't read the flag of a child.
    def flow(self: Any, x: Tensor) -> Tensor:
        x = self.conv(x)
        return F.relu(F.batch_norm(x, self.mean, self.var, training=self.act.training))

    net = Flow(flow)
    net.register_buffer("mean", torch.zeros(6))
    net.register_buffer("var", torch.ones(6))
    assert reasons(net, net.example())["relu"] == (
        "its owner's forward reads the training flag of a child"
    )


def test_an_owner_called_with_different_numbers_takes_its_slope_from_each_call() -> None:
    class Sloped(nn.Module):
        def forward(self, x: Tensor, slope: float) -> Tensor:
            return F.leaky_relu(x, slope)

    net = Flow(lambda self, x: self.sloped(self.conv2(self.sloped(self.conv(x), 0.1)), 0.3))
    net.sloped = Sloped()
    found = reasons(net, net.example())
    assert found["sloped.leaky_relu"] == "its further arguments are computed"
    converted(net, net.example())


@pytest.mark.parametrize("kind", NETS)
def test_static_parameters_get_the_gradients_that_they_had(kind: type[TinyNet]) -> None:
    _assert_same_gradients(kind(), kind().example(3))


def test_tiny_networks_have_the_gradients_that_they_had(tiny_net: TinyNet) -> None:
    _assert_same_gradients(tiny_net, tiny_net.example(3))


def _assert_same_gradients(net: nn.Module, x: Tensor) -> None:
    """Compare those of parameters that stay, and the sum over a bank with those of its kernel."""
    net, x = net.double(), x.double()
    dynamic = ds.convert(net, x, EVERY)
    gradients = []
    for model in (net.train(), dynamic.train()):
        torch.manual_seed(0)
        model(x.clone()).square().mean().backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    ours, theirs = gradients
    banks = [n for n, g in ours.items() if n in theirs and theirs[n].shape[1:] == g.shape]
    kept = [n for n, g in ours.items() if n in theirs and theirs[n].shape == g.shape]
    assert banks or kept
    for name in banks:
        torch.testing.assert_close(theirs[name].sum(0), ours[name])
    for name in kept:
        torch.testing.assert_close(theirs[name], ours[name])


class Result(NamedTuple):
    """What some networks return."""

    out: Tensor
    mean: Tensor


@dataclass
class Record:
    """What others return."""

    out: Tensor
    more: list[Tensor]


@pytest.mark.parametrize("kind", [Result, lambda out, mean: Record(out, [mean])])
def test_named_outputs(kind: Callable[..., Any]) -> None:
    net = Flow(lambda self, x: kind(F.relu(self.conv(x)), x.mean()))
    dynamic = converted(net, net.example())
    assert type(dynamic(net.example())) is type(net(net.example()))
    assert list(dynamic_layers(dynamic)) == ["conv", "relu"]


def test_an_owner_in_two_places_is_one_owner() -> None:
    block = Flow(lambda self, x: F.relu(x))
    net = nn.Sequential(nn.Conv2d(3, 4, 3), block, nn.Conv2d(4, 4, 3), block)
    dynamic: Any = converted(net, images())
    assert dynamic[1] is dynamic[3]
    assert list(dynamic_layers(dynamic)) == ["0", "1.relu", "2"]


def test_checkpointed_blocks_can_be_trained() -> None:
    block = Flow(lambda self, x: F.relu(self.conv(x)))
    net = nn.Sequential(
        nn.Conv2d(3, 3, 3), Flow(lambda self, x: checkpoint(self.block, x, use_reentrant=False))
    )
    net[1].block = block
    dynamic = converted(net, images())
    dynamic.train()(images()).sum().backward()
    assert dynamic.get_parameter("1.block.conv.weight").grad is not None


class Spread(nn.Module):
    """Takes whatever comes, by position and by name."""

    def forward(self, x: Tensor, *more: Tensor, scale: float, **rest: Any) -> Tensor:
        return F.relu(x * scale)


class Doubling(nn.Module):
    """Does something around its forward."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return super().__call__(*args, **kwargs) * 2

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x)


def test_unusual_signatures_and_calls() -> None:
    def flow(self: Any, x: Tensor) -> Tensor:
        x = self.spread(self.conv(x), scale=2.0)
        y: Tensor = self.doubling(self.spread(-x, scale=0.5))
        return y

    net: Any = Flow(flow)
    net.spread, net.doubling = Spread(), Doubling()
    dynamic = converted(net, net.example())
    assert set(dynamic_layers(dynamic)) == {"conv", "spread.relu", "doubling.relu"}


def test_a_relu_that_sees_other_channels_in_training_stays_static() -> None:
    def flow(self: Any, x: Tensor) -> Tensor:
        x = self.conv(x)
        y: Tensor = self.act(torch.cat([x, x], dim=1) if self.training else x).mean(1)
        return y

    assert reasons(Flow(flow), images())["act"] == "is called with 6, 12 channels"
