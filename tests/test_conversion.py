"""What `convert` leaves as it was, and what it refuses."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from nets import TinyBlock, TinyNet, TinyResNet, perturb_
from surgery_nets import (
    EVERY,
    Arguments,
    Flow,
    Kernels,
    NamedConv,
    assert_samples_stay_apart,
    converted,
    dynamic_layers,
    images,
    shared_slots,
)
from torch import Tensor, nn

import dynsurgeon as ds
from dynsurgeon.operators import DynamicConv2d, DynamicReLUB
from dynsurgeon.running.inputs import Inputs
from dynsurgeon.surgery.cut.outcome import _same_in_float64


def photograph(model: nn.Module) -> dict[str, Any]:
    """Return everything about a model that must not change."""
    return {
        "modules": [(name, id(m), type(m), m.training) for name, m in model.named_modules()],
        "state": {name: (id(t), t.clone()) for name, t in model.state_dict(keep_vars=True).items()},
        "grad": {name: p.requires_grad for name, p in model.named_parameters()},
        "vars": [
            {k: id(v) for k, v in vars(m).items() if k != "training"} for m in model.modules()
        ],
        "children": [{k: id(v) for k, v in m._modules.items()} for m in model.modules()],
    }


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    for key in ("modules", "grad", "vars", "children"):
        assert one[key] == other[key]
    assert list(one["state"]) == list(other["state"])
    for name, (identity, value) in one["state"].items():
        assert identity == other["state"][name][0]
        assert torch.equal(value, other["state"][name][1])


def test_the_original_is_left_untouched(tiny_net: TinyNet) -> None:
    tiny_net.train()
    next(iter(tiny_net.children())).eval()
    before = photograph(tiny_net)
    states = random.getstate(), torch.get_rng_state()
    x = tiny_net.example()
    kept = x.clone()
    dynamic = ds.convert(tiny_net, x, EVERY)
    assert_same(before, photograph(tiny_net))
    assert random.getstate() == states[0]
    assert torch.equal(torch.get_rng_state(), states[1])
    assert torch.equal(x, kept)
    shared = {t.data_ptr() for t in tiny_net.state_dict().values()}
    assert not shared & {t.data_ptr() for t in dynamic.state_dict().values()}


def test_a_failed_conversion_leaves_the_model_untouched_even_in_place() -> None:
    net = shared_slots().train()
    before = photograph(net)
    for config, error in (
        (ds.SurgeryConfig(include=("nowhere",)), ds.PatternError),
        (ds.SurgeryConfig(exclude=("*",)), ds.NoSiteError),
    ):
        with pytest.raises(error):
            ds.convert(net, images(), config, copy=False)
        assert_same(before, photograph(net))
    with pytest.raises(ds.ConfigError):
        ds.convert(net, images(channels=4), copy=False)
    assert_same(before, photograph(net))


class Suspicious(TinyNet):
    """Computes something else once its convolution is no `nn.Conv2d` any more."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.conv = nn.Conv2d(4, 4, 3)
        self.block = Flow(lambda self, x: F.relu(x))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.block(self.conv(self.stem(x)))
        return y if isinstance(self.conv, nn.Conv2d) else y + 1


@pytest.mark.parametrize("in_place", [False, True])
def test_a_network_that_notices_the_operation_is_refused_whole(in_place: bool) -> None:
    net = Suspicious()
    keys, kinds = list(net.state_dict()), [type(m) for m in net.modules()]
    values = [value.clone() for value in net.state_dict().values()]
    with pytest.raises(ds.UnsupportedModelError, match="does not compute what the original does"):
        ds.convert(net, net.example(), copy=not in_place)
    assert list(net.state_dict()) == keys
    assert [type(m) for m in net.modules()] == kinds
    assert all(torch.equal(a, b) for a, b in zip(values, net.state_dict().values(), strict=True))
    dynamic = converted(net, net.example(), ds.SurgeryConfig(exclude=("conv",)))
    assert list(dynamic_layers(dynamic)) == ["block.relu"]


def test_in_place_returns_the_model_itself(tiny_net: TinyNet) -> None:
    x = tiny_net.example()
    twin, expected = copy.deepcopy(tiny_net), ds.convert(tiny_net, x)
    dynamic = ds.convert(tiny_net, x, copy=False)
    assert dynamic is tiny_net
    for name, value in expected.state_dict().items():
        assert torch.equal(dynamic.state_dict()[name], value)
    assert ds.check_parity(twin, dynamic, x).passed


def test_names_classes_and_keys_of_everything_else_stay(tiny_net: TinyNet) -> None:
    dynamic = ds.convert(tiny_net, tiny_net.example())
    layers = dynamic_layers(dynamic)
    ours, theirs = dict(tiny_net.named_modules()), dict(dynamic.named_modules())
    for name, module in ours.items():
        assert name in theirs
        if name not in layers:
            assert isinstance(theirs[name], type(module))
            assert type(theirs[name]).__name__ == type(module).__name__
            assert [n for n, _ in theirs[name].named_buffers(recurse=False)] == [
                n for n, _ in module.named_buffers(recurse=False)
            ]
    replaced = tuple(f"{name}." for name in layers)
    kept = [key for key in tiny_net.state_dict() if not key.startswith(replaced)]
    removed = {"kernel", "offset"}  # they moved into the module of their functional convolution
    assert [k for k in dynamic.state_dict() if k in kept] == [k for k in kept if k not in removed]


def test_a_rewritten_owner_is_still_of_its_class(tiny_resnet: TinyNet) -> None:
    dynamic: Any = ds.convert(tiny_resnet, tiny_resnet.example())
    block = dynamic.layer1[0]
    assert isinstance(block, TinyBlock)
    assert repr(block).startswith("TinyBlock(")
    assert block.downsample is None


def test_a_model_in_train_mode_is_converted_in_train_mode() -> None:
    net: Any = perturb_(TinyResNet()).train()
    net.layer1[0].bn1.eval()
    x = net.example()
    dynamic = ds.convert(net, x)
    modes = {name: m.training for name, m in dynamic.named_modules()}
    for name, module in net.named_modules():
        assert modes[name] == module.training
    assert all(m.training for m in dynamic_layers(dynamic).values())
    assert ds.check_parity(net, dynamic, x).passed
    torch.testing.assert_close(dynamic(x), net(x))
    torch.testing.assert_close(dynamic.eval()(x), net.eval()(x))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_precisions(dtype: torch.dtype, tiny_net: TinyNet) -> None:
    tiny_net.to(dtype)
    dynamic = converted(tiny_net, tiny_net.example())
    assert {t.dtype for t in dynamic.state_dict().values() if t.is_floating_point()} == {dtype}


def test_mixed_precisions_stay_mixed() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), Flow(lambda self, x: x.double()))
    net.append(nn.Conv2d(4, 4, 1, dtype=torch.float64))
    net.append(nn.ReLU())
    dynamic = converted(net, images())
    kinds = {name: next(m.parameters()).dtype for name, m in dynamic_layers(dynamic).items()}
    assert kinds == {
        **{"0": torch.float32, "1": torch.float32},
        **{"3": torch.float64, "4": torch.float64},
    }


def test_hooks_and_attributes_are_kept() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), NamedConv(4, 4, 3), Flow(lambda s, x: F.relu(x))
    )
    vars(net[0])["note"] = "of the user"
    net[1].register_forward_pre_hook(lambda module, args: (args[0] * 0.5,))
    net[2].register_forward_hook(lambda module, args, output: output + 1)
    calls: list[str] = []
    net[3].register_forward_hook(lambda *_: calls.append("called"))
    dynamic: Any = converted(net, images())
    calls.clear()
    torch.testing.assert_close(dynamic(images()), net(images()))
    assert calls == ["called"] * 2
    assert dynamic[0].note == "of the user"
    assert dynamic[2].tag == "mine"
    assert [type(m) for m in dynamic[:3]] == [DynamicConv2d, DynamicReLUB, DynamicConv2d]


def test_a_hook_that_changes_the_channels_is_followed() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    net[1].register_forward_pre_hook(lambda module, args: (torch.cat([args[0]] * 2, dim=1),))
    dynamic: Any = converted(net, images())
    assert dynamic[1].channels == 8


def test_frozen_parameters_stay_frozen() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.PReLU(4), nn.Conv2d(4, 4, 3), nn.PReLU(4))
    net[:2].requires_grad_(False)
    net[2].bias.requires_grad_(False)
    dynamic = converted(net, images())
    flags = {name: p.requires_grad for name, p in dynamic.named_parameters()}
    assert not any(flag for name, flag in flags.items() if name[0] in "01")
    assert not flags.pop("2.bias")
    assert all(flag for name, flag in flags.items() if name[0] in "23")


def test_a_seed_repeats_a_conversion(tiny_resnet: TinyNet) -> None:
    x = tiny_resnet.example()
    one, again, other = (
        ds.convert(tiny_resnet, x, ds.SurgeryConfig(seed=seed)).state_dict() for seed in (1, 1, 2)
    )
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("start", ["identical", "zero-sum"])
@pytest.mark.parametrize("kind", ["A", "B", "C"])
def test_every_kind_and_start(start: Any, kind: Any, tiny_mobile: TinyNet) -> None:
    config = ds.SurgeryConfig(
        conv=ds.DynamicConvConfig(start=start, experts=3),
        activation=ds.DynamicReLUConfig(kind=kind, pieces=3, smooth=True),
        **dict.fromkeys(("skip_stem", "skip_points", "skip_patchify", "skip_frozen"), False),  # type: ignore[arg-type]
    )
    dynamic = converted(tiny_mobile, tiny_mobile.example(), config)
    assert_samples_stay_apart(dynamic, tiny_mobile.example(3))


def test_no_site_tells_why() -> None:
    with pytest.raises(ds.NoSiteError) as error:
        ds.convert(nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), images())
    assert str(error.value) == (
        "the model has no convolution and no ReLU-like activation that its forward calls"
    )
    with pytest.raises(ds.NoSiteError) as error:
        ds.convert(nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU(), nn.SiLU()), images())
    assert str(error.value) == (
        "none of the model's 3 sites can be made dynamic: 1 x is the stem, the first convolution; "
        "2 x silu is no maximum of lines (smooth=True converts it as silu + DY-ReLU - ReLU)"
    )


def test_a_shared_convolution_module_stays_shared() -> None:
    conv = nn.Conv2d(3, 3, 3, padding=1)
    net = nn.Sequential(nn.Sequential(conv, nn.ReLU()), nn.Sequential(conv, nn.ReLU()))
    dynamic: Any = converted(net, images())
    assert dynamic[0][0] is dynamic[1][0]
    assert isinstance(dynamic[0][0], DynamicConv2d)
    assert len(list(net.state_dict())) == 4
    assert "1.0.weight" in dynamic.state_dict()


def test_batches_of_one_and_other_sizes_work_after_conversion(tiny_net: TinyNet) -> None:
    dynamic = ds.convert(tiny_net, tiny_net.example(1))
    for batch in (1, 2, 5):
        x = tiny_net.example(batch, seed=batch)
        torch.testing.assert_close(dynamic(x), tiny_net(x), rtol=1e-4, atol=1e-5)
    assert tiny_net(tiny_net.example(0)).shape == dynamic(tiny_net.example(0)).shape


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_a_network_converted_without_gradients_can_be_trained(
    context: Any, tiny_resnet: TinyNet
) -> None:
    x = tiny_resnet.example()
    with context():
        dynamic = ds.convert(tiny_resnet, x)
    dynamic.train()(x).square().sum().backward()
    missing = [
        name for name, p in dynamic.named_parameters() if p.grad is None and "attention" not in name
    ]
    assert missing == []


def test_under_autocast_a_network_is_converted_in_its_own_precision(tiny_resnet: TinyNet) -> None:
    x = tiny_resnet.example()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        dynamic = ds.convert(tiny_resnet, x)
    assert {p.dtype for p in dynamic.parameters()} == {torch.float32}
    assert ds.check_parity(tiny_resnet, dynamic, x).passed


def test_training_a_converted_network_moves_every_dynamic_layer(tiny_resnet: TinyNet) -> None:
    x = tiny_resnet.example(4)
    dynamic = ds.convert(
        tiny_resnet, x, ds.SurgeryConfig(conv=ds.DynamicConvConfig(temperature=1.0))
    )
    before = {name: p.detach().clone() for name, p in dynamic.named_parameters()}
    optimizer = torch.optim.SGD(dynamic.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        dynamic.train()(x).square().mean().backward()
        optimizer.step()
    still = {n for n, p in dynamic.named_parameters() if torch.equal(before[n], p.detach())}
    assert still == set()


def test_several_inputs_and_owners_with_arguments() -> None:
    class TwoInputs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernels, self.arguments = Kernels(), Arguments()

        def forward(self, x: Tensor, y: Tensor, scale: float = 1.0) -> tuple[Tensor, Tensor]:
            return self.kernels(x), F.relu(self.arguments(y) * scale)

    net = TwoInputs()
    example = (images(channels=4, size=9), images(), 2.0)
    dynamic = converted(net, example)
    other = (images(3, 4, 9), images(3), 2.0)
    for ours, theirs in zip(net(*other), dynamic(*other), strict=True):
        torch.testing.assert_close(theirs, ours)
    with pytest.raises(AssertionError, match=r"scale has been specialized to have value 2\.0"):
        dynamic(*other[:2])


def test_a_model_that_does_not_run_in_float64_is_not_the_same_there() -> None:
    class SingleOnly(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x @ torch.zeros(3, 3)

    net = SingleOnly()
    assert not _same_in_float64(net, net, Inputs(torch.zeros(2, 3)))
