from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from nets import TinyNet
from surgery_nets import EVERY, Flow, converted, dynamic_layers, images, pruned, reasons
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, weight_norm

import dynsurgeon as ds

DEFAULT = ds.SurgeryConfig()


def two(second: nn.Module, stem: int = 4) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, stem, 3, padding=1), second)


class Gate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.expand(self.reduce(x.mean((2, 3), keepdim=True)))
        return x * y


def _tied() -> nn.Module:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1))
    net[2].weight = net[1].weight
    return net


class _Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(4, 4, 3, 3)), nn.Parameter(torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, bias=self.bias)


def _frozen_kernels() -> nn.Module:
    return _Functional().requires_grad_(False)


def _hooked() -> nn.Module:
    net = Flow(lambda self, x: self.act(self.conv2(self.act(self.conv(x)))))
    net.act.register_forward_hook(lambda *_: None)
    return net


def _two_widths() -> nn.Module:
    act = nn.PReLU(1)
    return nn.Sequential(nn.Conv2d(3, 4, 1), act, nn.Conv2d(4, 5, 1), act)


REASONS: dict[str, tuple[Callable[[], nn.Module], str, str]] = {
    "stem": (lambda: two(nn.ReLU()), "0", "is the stem, the first convolution"),
    "point": (
        lambda: two(Gate()),
        "1.reduce",
        "works on a 1x1 map, as in a gate or a pooled branch",
    ),
    "patchify": (
        lambda: two(nn.Conv2d(4, 4, 2, stride=2)),
        "1",
        "cuts patches (its stride is its kernel)",
    ),
    "patchify valid": (
        lambda: two(nn.Conv2d(4, 4, 2, stride=2, padding="valid")),
        "1",
        "cuts patches (its stride is its kernel)",
    ),
    "frozen": (
        lambda: two(nn.Conv2d(4, 4, 3).requires_grad_(False)),
        "1",
        "is frozen, in a model that trains (skip_frozen=False converts it)",
    ),
    "frozen functional": (
        lambda: two(_frozen_kernels()),
        "1.conv2d",
        "is frozen, in a model that trains (skip_frozen=False converts it)",
    ),
    "parametrized": (
        lambda: two(parametrizations.weight_norm(nn.Conv2d(4, 4, 3))),
        "1",
        "has parametrized weights: remove_parametrizations (torch.nn.utils.parametrize) first",
    ),
    "parametrized prelu": (
        lambda: two(parametrize.register_parametrization(nn.PReLU(4), "weight", nn.Identity())),
        "1",
        "has parametrized weights: remove_parametrizations (torch.nn.utils.parametrize) first",
    ),
    "old weight norm": (
        lambda: two(weight_norm(nn.Conv2d(4, 4, 3))),
        "1",
        "a torch.nn.utils hook recomputes its weight (weight_norm, prune): remove it first",
    ),
    "pruned": (
        lambda: two(pruned(nn.Conv2d(4, 4, 3))),
        "1",
        "a torch.nn.utils hook recomputes its weight (weight_norm, prune): remove it first",
    ),
    "tied": (_tied, "1", "shares its weight with another module"),
    "read elsewhere": (
        lambda: Flow(lambda self, x: self.conv2(self.conv(x)) * self.conv2.bias.mean()),
        "conv2",
        "its bias is read outside its own forward",
    ),
    "output size": (
        lambda: Flow(lambda self, x: self.up(self.conv(x), output_size=[16, 16])),
        "up",
        "is not called with just its input, by position",
    ),
    "keyword": (
        lambda: Flow(lambda self, x: self.act(input=self.conv(x))),
        "act",
        "is not called with just its input, by position",
    ),
    "smooth": (
        lambda: two(nn.SiLU()),
        "1",
        "silu is no maximum of lines (smooth=True converts it as silu + DY-ReLU - ReLU)",
    ),
    "infinitely steep": (
        lambda: two(nn.LeakyReLU(float("inf"))),
        "1",
        "slope inf below zero is no finite number",
    ),
    "one axis": (
        lambda: Flow(lambda self, x: F.relu(x.flatten()).view_as(x)),
        "relu",
        "its input has no channel axis",
    ),
    "many axes": (
        lambda: Flow(lambda self, x: F.relu(x.view(-1, 3, 2, 2, 2, 8))),
        "relu",
        "its input has more than three spatial axes",
    ),
    "after a linear": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.Linear(8, 8), nn.ReLU()),
        "2",
        "its channels are on the last axis (it follows a Linear)",
    ),
    "two widths": (_two_widths, "1", "is called with 4, 5 channels"),
    "hooked": (_hooked, "act", "has hooks and is called at several places"),
    "not the batch": (
        lambda: Flow(lambda self, x: x + F.relu(x.mean(0, keepdim=True))),
        "relu",
        "its first axis is not the batch (it does not grow with it)",
    ),
    "integers": (
        lambda: Flow(lambda self, x: F.relu((9 * x).long()).float()),
        "relu",
        "computes in int64, not in real numbers",
    ),
    "complex": (
        lambda: Flow(lambda self, x: self.wave(x.to(torch.complex64)).real),
        "wave",
        "computes in complex64, not in real numbers",
    ),
}


@pytest.mark.parametrize("what", REASONS)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_reasons(what: str) -> None:
    build, site, reason = REASONS[what]
    net: Any = build()
    if isinstance(net, Flow):
        net.up = nn.ConvTranspose2d(6, 6, 2, stride=2)
        net.wave = nn.Conv2d(3, 3, 1, dtype=torch.complex64)
    assert reasons(net, images(), DEFAULT)[site] == reason


def test_what_is_left_static_is_left_whole() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 1),
        nn.Conv2d(4, 4, 1, dtype=torch.float32),
        parametrizations.weight_norm(nn.Conv2d(4, 4, 3)),
        nn.SiLU(),
        nn.Conv2d(4, 4, 1),
    )
    net[4].weight = net[1].weight
    dynamic = converted(net, images(), ds.SurgeryConfig(skip_stem=False))
    assert list(dynamic_layers(dynamic)) == ["0"]
    assert dynamic[4].weight is dynamic[1].weight  # type: ignore[index]
    assert list(dict(dynamic[2].named_parameters())) == list(  # type: ignore[index]
        dict(net[2].named_parameters())
    )


def test_without_a_batch_axis() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
    found = reasons(net, images()[0])
    assert set(found.values()) == {"runs without a batch axis: give the example inputs one"}
    with pytest.raises(ds.NoSiteError, match="2 x runs without a batch axis"):
        ds.convert(net, images()[0])


def test_each_kind_can_be_left_alone(tiny_resnet: TinyNet) -> None:
    x = tiny_resnet.example()
    found = reasons(tiny_resnet, x, ds.SurgeryConfig(conv=None))
    assert found["layer1.0.conv1"] == "convolutions are left alone (conv=None)"
    assert found["layer1.0.relu"] is None
    found = reasons(tiny_resnet, x, ds.SurgeryConfig(activation=None))
    assert found["layer1.0.relu"] == "activations are left alone (activation=None)"
    assert found["layer1.0.conv1"] is None


def test_include_and_exclude(tiny_resnet: TinyNet) -> None:
    config = ds.SurgeryConfig(include=("layer1.*", "ReLU"), exclude=("re:.*relu_1", "*.conv2"))
    found = reasons(tiny_resnet, tiny_resnet.example(), config)
    assert {name for name, reason in found.items() if reason is None} == {
        *("relu", "layer1.0.conv1", "layer1.0.relu", "layer2.0.relu"),
    }
    assert found["layer1.0.relu_1"] == "excluded by 're:.*relu_1'"
    assert found["layer1.0.conv2"] == "excluded by '*.conv2'"
    assert found["layer2.0.conv1"] == "not included"


@pytest.mark.parametrize("what", ["stem", "point", "patchify", "frozen", "frozen functional"])
def test_a_default_skip_gives_way_to_the_exact_name_and_to_its_switch(what: str) -> None:
    build, site, reason = REASONS[what]
    net = build()
    assert reasons(net, images(), DEFAULT)[site] == reason
    assert reasons(net, images(), ds.SurgeryConfig(include=("*",)))[site] == reason
    assert reasons(net, images(), ds.SurgeryConfig(include=(site,)))[site] is None
    assert reasons(net, images(), EVERY)[site] is None


def test_a_model_that_is_frozen_as_a_whole_is_converted() -> None:
    net = two(nn.Conv2d(4, 4, 3)).requires_grad_(False)
    assert reasons(net, images(), DEFAULT)["1"] is None


def test_a_convolution_with_one_parameter_that_trains_is_not_frozen() -> None:
    net = two(nn.Conv2d(4, 4, 3))
    net[1].weight.requires_grad_(False)
    assert reasons(net, images(), DEFAULT)["1"] is None


def test_a_pooling_kernel_with_padding_is_no_patchify() -> None:
    assert reasons(two(nn.Conv2d(4, 4, 2, stride=2, padding=1)), images(), DEFAULT)["1"] is None
    assert reasons(two(nn.ConvTranspose2d(4, 4, 2, stride=2)), images(), DEFAULT)["1"] is None
    assert reasons(two(nn.Conv2d(4, 4, 1)), images(), DEFAULT)["1"] is None


def test_smooth_activations_on_request() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.SiLU(), nn.GELU("tanh"), nn.Hardswish(), Flow(_smooth_functions)
    )
    config = ds.SurgeryConfig(conv=None, activation=ds.DynamicReLUConfig(smooth=True))
    dynamic = converted(net, images(), config)
    assert list(dynamic_layers(dynamic)) == ["1", "2", "3", "4.silu", "4.gelu", "4.hardswish"]


def _smooth_functions(self: Any, x: Tensor) -> Tensor:
    return F.hardswish(F.gelu(F.silu(x), approximate="tanh"))


def test_settings_by_pattern(tiny_resnet: TinyNet) -> None:
    config = ds.SurgeryConfig(
        overrides={
            "layer2.*": {"experts": 2, "reduction": 2, "kind": "A"},
            "layer2.0.conv2": {"experts": 8},
            "ReLU": {"pieces": 3},
        }
    )
    dynamic: Any = ds.convert(tiny_resnet, tiny_resnet.example(), config)
    assert dynamic.layer1[0].conv1.experts == 4
    assert dynamic.layer2[0].conv1.experts == 2
    assert dynamic.layer2[0].conv1.attention.fc1.out_features == 4
    assert dynamic.layer2[0].conv2.experts == 8
    assert dynamic.layer2[0].conv2.attention.fc1.out_features == 8
    kinds = [type(m).__name__ for m in (dynamic.layer1[0].relu, dynamic.layer2[0].relu)]
    assert kinds == ["DynamicReLUB", "DynamicReLUA"]
    assert {m.pieces for m in (dynamic.relu, dynamic.layer2[0].relu_1)} == {3}
