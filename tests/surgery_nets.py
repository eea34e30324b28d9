"""Tiny networks with the difficulties of surgery, and the checks of every converted one."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from nets import TinyNet, perturb_
from references import deviation, reference_dynamic_conv, reference_dynamic_relu
from torch import Tensor, nn
from torch.nn.utils import prune

import dynsurgeon as ds
from dynsurgeon import conversion
from dynsurgeon.operators import DynamicConv, DynamicReLU
from dynsurgeon.planning import plan_in_place
from dynsurgeon.running.run import tensors_of

EVERY = ds.SurgeryConfig(skip_stem=False, skip_points=False, skip_patchify=False, skip_frozen=False)
"""The configuration that skips nothing by default."""


class Flow(TinyNet):
    """A network whose forward is a function of (self, x), around one or two 3x3 convolutions."""

    input_shape = (3, 8, 8)

    def __init__(self, forward: Callable[[Any, Tensor], Any] | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1)
        self.act = nn.ReLU()
        self.flow = forward

    def forward(self, x: Tensor) -> Any:
        assert self.flow is not None
        return self.flow(self, x)


class Reading(TinyNet):
    """A ReLU writes into its input, and the input is read again."""

    input_shape = (3, 8, 8)

    def __init__(self, write: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.write = write

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        y = self.write(x)
        return y + x


class InplaceModule(TinyNet):
    """The same with modules: a pre-activation block writes into its caller's tensor."""

    input_shape = (3, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.block = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        y: Tensor = self.block(x)
        return y + x


class StandardizedConv(nn.Conv2d):
    """A convolution that does more: it standardises its weight first."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean(dim=(1, 2, 3), keepdim=True)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class NamedConv(nn.Conv2d):
    """A convolution that only has another name, as r3d_18's do, and an attribute of its own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.tag = "mine"


class Kernels(TinyNet):
    """Functional convolutions on the owner's own weights, spelled in four ways."""

    input_shape = (4, 9, 9)

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.randn(6, 4, 3, 3) * 0.3)
        self.scale = nn.Parameter(torch.ones(1))
        self.second = nn.Parameter(torch.randn(6, 2, 3, 3) * 0.3)
        self.offset = nn.Parameter(torch.randn(6))
        self.third = nn.Parameter(torch.randn(6, 2, 3, 3) * 0.3)
        self.shift = nn.Parameter(torch.randn(4))

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv2d(x, self.first, padding="same")
        x = F.conv2d(x * self.scale, bias=self.offset, weight=self.second, stride=2, groups=3)
        x = F.conv_transpose2d(x, self.third, self.shift, 2, 1, 1, groups=2)
        return F.relu(input=x)


class Inner(nn.Module):
    """A block whose parts its grandparent calls as well."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.relu(self.conv(x))
        return y


class Grandparent(TinyNet):
    """Reaches into its grandchildren, loops over them and calls them through a helper."""

    input_shape = (3, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.middle: Any = nn.ModuleDict({"a-b": Inner(), "c": Inner()})
        self.listed: list[Any] = [self.stem, self.middle["c"]]

    def helper(self, x: Tensor) -> Tensor:
        y: Tensor = self.middle["a-b"].relu(x - 0.1)
        return F.relu(y + 0.05)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for name in ("a-b", "c"):
            x = self.middle[name](x)
        for _ in range(2):
            x = self.helper(self.middle["c"].conv(x))
        return self.listed[1](self.middle["a-b"].relu(x))  # type: ignore[no-any-return]


class Block(nn.Module):
    """An owner with arguments: a flag, a number, a tensor or None, some of them by keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(
        self, x: Tensor, times: int = 1, skip: Tensor | None = None, *, negate: bool = False
    ) -> Tensor:
        for _ in range(times):
            x = F.relu(self.conv(x))
        if skip is not None:
            x = F.relu(x + skip)
        return -x if negate else x


class Arguments(TinyNet):
    """Calls blocks with None, with a tensor, with numbers and keywords."""

    input_shape = (3, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.plain, self.twice, self.skipping = Block(), Block(), Block()

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.twice(self.plain(x), 2, negate=True)
        z: Tensor = self.skipping(y, skip=x)
        return z


class Nested(TinyNet):
    """Parent, child and grandchild all have forwards to rewrite."""

    input_shape = (3, 8, 8)

    class Child(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Inner()
            self.conv = nn.Conv2d(4, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return F.leaky_relu(self.conv(F.relu6(self.inner(x))), 0.2)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.child = self.Child()
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.relu(self.child(self.relu(self.stem(x))) - 0.1)
        return y


class Structures(nn.Module):
    """A dictionary with a list in it comes in, and a dictionary with a tuple goes out."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, batch: dict[str, Any]) -> dict[str, Any]:
        x = F.relu(self.left(batch["image"]) + self.right(batch["more"][0]))
        return {"out": x, "aux": (x.mean(dim=1), "text")}

    @staticmethod
    def example(batch: int = 2) -> tuple[dict[str, Any]]:
        generator = torch.Generator().manual_seed(0)
        x, y = torch.randn(2, batch, 3, 8, 8, generator=generator)
        return ({"image": x, "more": [y]},)


class SharedPReLU(TinyNet):
    """A PReLU called at two places: its slopes stay shared."""

    input_shape = (3, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.act = nn.PReLU(4)
        with torch.no_grad():
            self.act.weight.copy_(torch.tensor([0.1, -0.3, 0.77, 1.0]))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.conv2(self.act(self.conv1(x))))
        return y


def shared_slots() -> nn.Sequential:
    """One ``nn.ReLU`` in three slots of a Sequential."""
    relu = nn.ReLU()
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), relu, nn.Conv2d(4, 5, 3), relu, nn.Sequential(nn.Conv2d(5, 4, 1), relu)
    )


def pruned(conv: nn.Module) -> nn.Module:
    """Prune half of a module's weight away, with torch's hook."""
    apply: Any = prune.l1_unstructured
    apply(conv, "weight", 0.5)
    return conv


def images(batch: int = 2, channels: int = 3, size: int = 8, seed: int = 0) -> Tensor:
    """Return random images."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, channels, size, size, generator=generator)


def dynamic_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Return the dynamic layers of a model by name."""
    kinds = (DynamicConv, DynamicReLU)
    return {name: m for name, m in model.named_modules() if isinstance(m, kinds)}


def converted(model: nn.Module, example: Any, config: ds.SurgeryConfig | None = EVERY) -> nn.Module:
    """Convert `model` and check what must hold of every conversion.

    The receipt passes in both modes, also at each site; each planned site is there; and with
    everything perturbed the network still routes each sample by itself.
    """
    dynamic, plan = planned_and_converted(model, example, config)
    receipt = ds.check_parity(model, dynamic, example)
    assert receipt.passed, str(receipt)
    assert receipt.modes == ("eval", "train")
    assert max(site.max_rel for site in receipt.sites) <= 1e-5, receipt.worst_sites()
    assert {site.name: site.operator for site in plan.converted} == {
        name: type(layer).__name__ for name, layer in dynamic_layers(dynamic).items()
    }
    return dynamic


def planned_and_converted(
    model: nn.Module, example: Any, config: ds.SurgeryConfig | None
) -> tuple[nn.Module, ds.Plan]:
    """Convert `model`, and return the plan that `convert` made of it too.

    `ds.plan` would make the same again, which takes as long as the conversion.
    """
    plans: list[ds.Plan] = []

    def plan(*args: Any) -> ds.Plan:
        plans.append(plan_in_place(*args))
        return plans[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conversion, "plan_in_place", plan)
        dynamic = ds.convert(model, example, config)
    (made,) = plans
    return dynamic, made


def assert_samples_stay_apart(dynamic: nn.Module, x: Tensor) -> None:
    """Perturb a copy of a dynamic network and compare it with a slow one, sample by sample."""
    perturbed = perturb_(copy.deepcopy(dynamic)).double().eval()
    slow = with_reference_layers(perturbed)
    x = x.double()
    with torch.no_grad():
        whole = tensors_of(perturbed(x.clone()))
        alone = [tensors_of(slow(sample.clone())) for sample in x.unsqueeze(1)]
        mixed = tensors_of(perturbed(x.flip(0)))
    for index, output in enumerate(whole):
        assert deviation(output, torch.cat([one[index] for one in alone])) < 1e-9
        assert deviation(mixed[index], output.flip(0)) < 1e-9


def with_reference_layers(dynamic: nn.Module) -> nn.Module:
    """Copy a dynamic network with the slow references in the place of its layers' forwards."""
    slow = copy.deepcopy(dynamic)
    for layer in dynamic_layers(slow).values():
        if isinstance(layer, DynamicConv):
            layer.forward = partial(reference_dynamic_conv, layer)  # type: ignore[method-assign]
        elif isinstance(layer, DynamicReLU):
            layer.forward = partial(_written_relu, layer)  # type: ignore[method-assign]
    return slow


def _written_relu(layer: DynamicReLU, x: Tensor) -> Tensor:
    y = reference_dynamic_relu(layer, x)
    return x.copy_(y) if layer.inplace else y


def reasons(
    model: nn.Module, example: Any, config: ds.SurgeryConfig | None = EVERY
) -> dict[str, Any]:
    """Return why each site stays static, None for those that don't."""
    return {site.name: site.reason for site in ds.plan(model, example, config).sites}
