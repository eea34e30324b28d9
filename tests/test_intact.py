"""What fails half-way leaves no trace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from nets import TinyFunctional, TinyMobile, TinyNet, TinyResNet, perturb_
from ownership import untouched
from torch import Tensor, nn

import dynsurgeon as ds
from dynsurgeon.recipe import Recipe, SiteRecipe
from dynsurgeon.surgery.cut import apply as cut
from dynsurgeon.surgery.cut.intact import intact


class Wide(TinyResNet):
    """The same names as `TinyResNet`, and other channels in its last block."""

    def __init__(self) -> None:
        super().__init__()
        block: Any = self.layer2[0]
        block.conv1, block.bn1 = nn.Conv2d(8, 24, 3, 2, padding=1), nn.BatchNorm2d(24)
        block.conv2 = nn.Conv2d(24, 16, 3, padding=1)


class Reordered(TinyResNet):
    """The same names as `TinyResNet`, and a convolution in the place of an activation."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.Conv2d(8, 8, 1)  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("planned", "given"),
    [
        (TinyResNet, Wide),
        (TinyResNet, Reordered),
        (TinyResNet, TinyMobile),
        (TinyMobile, TinyResNet),
        (TinyFunctional, TinyResNet),
        (TinyResNet, TinyFunctional),
    ],
)
def test_the_plan_of_another_model_is_refused_and_cuts_nothing(
    planned: type[TinyNet], given: type[TinyNet]
) -> None:
    config = ds.SurgeryConfig(conv=ds.DynamicConvConfig(start="zero-sum"))
    plan = ds.plan(planned(), planned().example(), config)
    net = given()
    classes = [type(module) for module in net.modules()]
    net.get_submodule("conv1" if hasattr(net, "conv1") else "features.0.0").register_forward_hook(
        lambda *args: None
    )
    with untouched(net), pytest.raises((ds.StorageError, ds.UnsupportedModelError)) as error:
        ds.convert(net, net.example(), plan, copy=False)
    assert "model" in str(error.value)
    assert [type(module) for module in net.modules()] == classes


def test_the_slopes_of_another_model_are_noticed_and_nothing_is_rounded() -> None:
    def net(slope: float) -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.PReLU(4, init=slope), nn.Conv2d(4, 4, 3))

    config = ds.SurgeryConfig(conv=ds.DynamicConvConfig(start="zero-sum"))
    x, other = torch.randn(2, 3, 8, 8), net(0.5)
    with untouched(other), pytest.raises(ds.UnsupportedModelError, match="another model"):
        ds.convert(other, x, ds.plan(net(0.25), x, config), copy=False)


def _raise(*args: Any) -> None:
    raise KeyError("anything")


@pytest.mark.parametrize("step", ["rewrite_forward", "become", "attach_recipe", "build_layer"])
def test_whatever_fails_in_the_cut_is_undone(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net = perturb_(TinyResNet())
    x = torch.randn(2, 3, 16, 16)
    plan = ds.plan(net, x)
    calls: list[int] = []
    original: Callable[..., Any] = getattr(cut, step)

    def second(*args: Any) -> Any:
        calls.append(1)
        return original(*args) if len(calls) == 1 and step != "attach_recipe" else _raise()

    monkeypatch.setattr(cut, step, second)
    with untouched(net), pytest.raises(ds.StorageError, match="plan the model that it is now"):
        ds.convert(net, x, plan, copy=False)
    assert calls


def test_a_recipe_is_held_against_every_module_before_the_first_cut(tiny_mobile: TinyNet) -> None:
    recipe = ds.plan(tiny_mobile, tiny_mobile.example()).recipe
    last = recipe.sites[-1]
    wrong: SiteRecipe = replace(last, name="classifier.2")
    broken: Recipe = replace(recipe, sites=(*recipe.sites[:-1], wrong))
    with untouched(tiny_mobile), pytest.raises(ds.StorageError, match="but there it is a Linear"):
        cut.apply_recipe(tiny_mobile, broken)


def test_what_succeeds_stays() -> None:
    net: Any = nn.Sequential(nn.ReLU())
    with intact(net):
        net.count = 1
        net[0] = nn.Identity()
    assert net.count == 1
    assert isinstance(net[0], nn.Identity)


def test_what_fails_is_put_back() -> None:
    net: Any = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    weight: Tensor = net[0].weight

    def operate() -> None:
        net.count = 1
        net[1] = nn.Identity()
        net[0].__class__ = nn.ReLU
        del net[0]._parameters["weight"]
        raise KeyboardInterrupt

    with untouched(net), pytest.raises(KeyboardInterrupt), intact(net):
        operate()
    assert net[0].weight is weight
    assert type(net[0]) is nn.Conv2d
