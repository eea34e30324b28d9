from __future__ import annotations

from typing import Any

import pytest
import torch
from nets import TinyNet, perturb_
from surgery_nets import (
    EVERY,
    Flow,
    Grandparent,
    Kernels,
    NamedConv,
    Nested,
    SharedPReLU,
    dynamic_layers,
    images,
    shared_slots,
)
from torch import Tensor, nn

import dynsurgeon as ds
from dynsurgeon.recipe import recipe_of


def assert_same_network(restored: nn.Module, original: nn.Module) -> None:
    """Check names, classes, keys and their order, flags, modes and attributes; not the numbers."""
    ours = {name: type(m) for name, m in original.named_modules(remove_duplicate=False)}
    assert {n: type(m) for n, m in restored.named_modules(remove_duplicate=False)} == ours
    assert list(restored.state_dict()) == list(original.state_dict())
    assert [(n, p.shape, p.dtype, p.requires_grad) for n, p in restored.named_parameters()] == [
        (n, p.shape, p.dtype, p.requires_grad) for n, p in original.named_parameters()
    ]
    for name, module in original.named_modules():
        twin = restored.get_submodule(name)
        assert twin.training == module.training
        assert set(vars(twin)) == set(vars(module)), name


def assert_restored(net: nn.Module, x: Any, config: ds.SurgeryConfig) -> None:
    dynamic = ds.convert(net, x, config)
    restored = ds.restore(dynamic)
    assert_same_network(restored, net)
    for name, value in net.state_dict().items():
        assert torch.equal(restored.state_dict()[name], value), name
    assert torch.equal(restored(x), net(x))
    assert dynamic_layers(dynamic)
    assert not dynamic_layers(restored)


EXACT: dict[str, dict[str, Any]] = {
    "identical": {},
    "one kernel": {"conv": ds.DynamicConvConfig(experts=1)},
    "one zero-sum kernel": {"conv": ds.DynamicConvConfig(experts=1, start="zero-sum")},
    "A": {"activation": ds.DynamicReLUConfig(kind="A", pieces=3)},
    "C": {"activation": ds.DynamicReLUConfig(kind="C")},
}


@pytest.mark.parametrize("what", EXACT)
def test_bit_equal(what: str, tiny_net: TinyNet) -> None:
    config: Any = {"skip_stem": False, **EXACT[what]}
    assert_restored(tiny_net, tiny_net.example(), ds.SurgeryConfig(**config))


@pytest.mark.parametrize("kind", [Kernels, SharedPReLU, Grandparent, Nested])
@pytest.mark.parametrize("what", EXACT)
def test_difficult_networks_bit_equal(kind: type[TinyNet], what: str) -> None:
    net = kind()
    config: Any = {"skip_stem": False, **EXACT[what]}
    assert_restored(net, net.example(), ds.SurgeryConfig(**config))


def test_zero_sum_kernels_to_the_last_bit_or_two(tiny_net: TinyNet) -> None:
    # The kernels W + e_k were rounded: their mean is W up to that rounding.
    x = tiny_net.example()
    config = ds.SurgeryConfig(conv=ds.DynamicConvConfig(start="zero-sum"), skip_stem=False)
    restored = ds.restore(ds.convert(tiny_net, x, config))
    assert_same_network(restored, tiny_net)
    for name, value in tiny_net.state_dict().items():
        gap = (restored.state_dict()[name] - value).abs().max()
        assert float(gap) <= 4 * torch.finfo(torch.float32).eps * float(value.abs().max()), name
    torch.testing.assert_close(restored(x), tiny_net(x))


def test_any_prelu_slope_comes_back_bit_equal() -> None:
    # Kind C starts at three times the slope; a third of that is not always the slope.
    net: Any = nn.Sequential(nn.Conv2d(3, 200, 1), nn.PReLU(200))
    nn.init.uniform_(net[1].weight, -1, 1)
    for kind in ("A", "B", "C"):
        config = ds.SurgeryConfig(activation=ds.DynamicReLUConfig(kind=kind))
        assert_restored(net, images(), config)


def test_frozen_parameters_stay_frozen() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.PReLU(4), nn.Conv2d(4, 4, 3)).train()
    net[:2].requires_grad_(False)
    net[0].eval()
    assert_restored(net, images(), EVERY)


def test_hooks_attributes_and_shared_slots() -> None:
    net = nn.Sequential(shared_slots(), NamedConv(4, 4, 1), Flow(lambda self, x: x.relu()))
    calls: list[int] = []
    net[1].register_forward_hook(lambda *_: calls.append(1))
    assert_restored(net, images(), EVERY)
    assert calls


def test_a_call_that_stayed_static_goes_back_into_the_shared_module(tiny_resnet: TinyNet) -> None:
    for chosen in ("relu", "relu_1"):
        config = ds.SurgeryConfig(include=(f"layer1.0.{chosen}",))
        assert_restored(tiny_resnet, tiny_resnet.example(), config)


def test_in_place_gives_the_very_model(tiny_resnet: TinyNet) -> None:
    dynamic = ds.convert(tiny_resnet, tiny_resnet.example())
    assert ds.restore(dynamic, copy=False) is dynamic
    assert_same_network(dynamic, tiny_resnet)
    with pytest.raises(ds.UnsupportedModelError, match="was not converted by dynsurgeon"):
        recipe_of(dynamic)
    again = ds.convert(dynamic, tiny_resnet.example())
    assert ds.check_parity(tiny_resnet, again, tiny_resnet.example()).passed


def test_a_copy_leaves_the_dynamic_model_alone(tiny_resnet: TinyNet) -> None:
    x = tiny_resnet.example()
    dynamic = ds.convert(tiny_resnet, x)
    before = {name: value.clone() for name, value in dynamic.state_dict().items()}
    ds.restore(dynamic)
    assert list(dynamic.state_dict()) == list(before)
    assert all(torch.equal(before[n], v) for n, v in dynamic.state_dict().items())
    assert ds.check_parity(tiny_resnet, dynamic, x).passed


def test_static_weights_trained_after_conversion_are_kept(tiny_resnet: TinyNet) -> None:
    dynamic = ds.convert(tiny_resnet, tiny_resnet.example())
    with torch.no_grad():
        dynamic.get_parameter("fc.bias").add_(1)
    restored = ds.restore(dynamic)
    assert torch.equal(restored.get_parameter("fc.bias"), dynamic.get_parameter("fc.bias"))


def test_after_training_it_says_why_not(tiny_resnet: TinyNet) -> None:
    x = tiny_resnet.example(4)
    dynamic = ds.convert(tiny_resnet, x)
    optimizer = torch.optim.SGD(dynamic.parameters(), lr=0.1)
    dynamic.train()(x).square().mean().backward()
    optimizer.step()
    before = {name: value.clone() for name, value in dynamic.state_dict().items()}
    for in_place in (False, True):
        with pytest.raises(ds.RestoreError) as error:
            ds.restore(dynamic, copy=not in_place)
        text = str(error.value)
        assert text.startswith("no static model computes what this one does: ")
        assert (
            "layer1.0.conv1 has 4 kernels that differ, and attention that depends on its input"
        ) in text
        assert text.endswith("and 5 more")
        assert all(torch.equal(before[n], v) for n, v in dynamic.state_dict().items())
    assert dynamic_layers(dynamic)


CHANGES = {
    "relu.fc2.bias": "relu has lines that depend on its input",
    "relu.fc2.weight": "relu has lines that depend on its input",
    "layer1.0.conv1.weight": "layer1.0.conv1 has 4 kernels that differ",
}


@pytest.mark.parametrize("name", CHANGES)
def test_one_site_that_learned_is_enough(name: str, tiny_resnet: TinyNet) -> None:
    dynamic = ds.convert(tiny_resnet, tiny_resnet.example())
    with torch.no_grad():
        dynamic.get_parameter(name)[0] += 0.1
    with pytest.raises(ds.RestoreError, match=CHANGES[name]):
        ds.restore(dynamic)


def test_kernels_under_a_constant_attention_have_a_static_form(tiny_resnet: TinyNet) -> None:
    x = tiny_resnet.example()
    config = ds.SurgeryConfig(conv=ds.DynamicConvConfig(start="zero-sum", temperature=2.0))
    dynamic: Any = ds.convert(tiny_resnet, x, config)
    with torch.no_grad():
        dynamic.layer1[0].conv1.attention.fc2.bias.copy_(torch.tensor([1.0, -2.0, 0.5, 3.0]))
        dynamic.layer1[0].conv1.weight.mul_(1.5)
    torch.testing.assert_close(ds.restore(dynamic)(x), dynamic(x), rtol=1e-4, atol=1e-5)


def test_a_spatial_attention_that_learned_has_no_static_form() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
    config = ds.SurgeryConfig(activation=ds.DynamicReLUConfig(kind="C"))
    dynamic: Any = ds.convert(net, images(), config)
    with torch.no_grad():
        dynamic[1].spatial.weight += 0.1
    with pytest.raises(ds.RestoreError, match="1 has lines that depend on its input"):
        ds.restore(dynamic)


def test_a_module_that_was_put_there_by_others_is_named(tiny_resnet: TinyNet) -> None:
    dynamic: Any = ds.convert(tiny_resnet, tiny_resnet.example())
    dynamic.relu = nn.Sigmoid()
    with pytest.raises(ds.RestoreError, match="relu is a Sigmoid, which dynsurgeon did not put"):
        ds.restore(dynamic)


def test_a_static_model_is_refused(tiny_resnet: TinyNet) -> None:
    with pytest.raises(ds.UnsupportedModelError, match="was not converted by dynsurgeon"):
        ds.restore(tiny_resnet)
    wrapped = nn.DataParallel(ds.convert(tiny_resnet, tiny_resnet.example()))
    with pytest.raises(ds.UnsupportedModelError, match=r"\(or is wrapped\)"):
        ds.restore(wrapped)


def test_a_loaded_model_can_be_restored(tiny_functional: TinyNet, tmp_path: Any) -> None:
    x = tiny_functional.example()
    ds.save(ds.convert(tiny_functional, x), tmp_path)
    other = perturb_(type(tiny_functional)()).eval()
    restored = ds.restore(ds.load(tmp_path, other))
    assert_same_network(restored, tiny_functional)
    assert torch.equal(restored(x), tiny_functional(x))


def test_half_precision() -> None:
    net = shared_slots().half()
    x: Tensor = images().half()
    assert_restored(net, x, EVERY)
