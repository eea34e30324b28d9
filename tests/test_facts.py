"""Questions about the structure of arguments, answered in a trace and checked where it runs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from nets import TinyNet
from surgery_nets import EVERY, Flow, converted, dynamic_layers, images, reasons
from torch import Tensor, fx, nn

import dynsurgeon as ds
from dynsurgeon.recipe import Recipe, recipe_of
from dynsurgeon.surgery.owners.trace import trace_owner


class Further(nn.Module):
    """Takes further arguments for the sake of old callers, as the blocks of diffusers do."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if len(args) > 0 or kwargs.get("scale") is not None:
            raise ValueError("scale is gone")
        return F.relu(x, *args, **kwargs)


class Dense(nn.Module):
    """Takes all maps so far and a length, as the blocks of Jasper do, and calls its own list."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(6, 6, 1) for _ in range(2))

    def forward(self, given: Any) -> Any:
        maps, lengths = given[0], None
        if len(given) == 2:
            maps, lengths = given
        y = maps[-1]
        for conv in self.convs:
            y = F.relu(conv(y))
        for i in range(len(self.convs)):
            y = y + self.convs[i](maps[min(i, len(maps) - 1)])
        y = y + sum(m.mean() for m in maps)
        return [*maps, F.relu(y)], lengths


def by_axes(self: Any, x: Tensor) -> Tensor:
    if x.dim() == 3:
        x = x.unsqueeze(0)
    assert x.ndim in (4, 5)
    if len(x.shape) == 4 and len(x.size()) == 4 and len(x.shape[2:]) + 1 == 3:
        x = F.relu(x)
    return x.mean([i for i in range(1, x.dim()) if i > 1])


def by_axes_of_what_is_computed(self: Any, x: Tensor) -> Tensor:
    y = self.conv2(x) * 2 + x
    y = F.relu(y) if y.ndim == 4 else y
    return F.relu(self.act(y)) if self.act(y).ndim == 4 else y


def by_sizes(self: Any, x: Tensor) -> Tensor:
    y: Tensor = x
    for size in x.shape:
        y = y / size
    return F.relu(y) * len(x.shape)


ANSWERED: dict[str, Callable[[Any, Tensor], Any]] = {
    "axes": by_axes,
    "axes of what is computed": by_axes_of_what_is_computed,
    "sizes": by_sizes,
    "further": lambda self, x: self.inner(x),
    "dense": lambda self, x: self.inner(([x, x + 1], x.shape[0]))[0][-1],
    "length alone": lambda self, x: self.inner(([x],))[0][-1],
}


class Around(TinyNet):
    """A convolution, and an owner after it that gets no other arguments than these."""

    input_shape = (3, 8, 8)

    def __init__(self, what: str) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.inner = Further() if what == "further" else Dense() if "en" in what else Flow()
        if isinstance(self.inner, Flow):
            self.inner.flow = ANSWERED[what]
        self.what = what

    def forward(self, x: Tensor) -> Any:
        x = self.stem(x)
        return self.inner(x) if isinstance(self.inner, Flow) else ANSWERED[self.what](self, x)


@pytest.mark.parametrize("what", ANSWERED)
def test_an_owner_that_asks_for_structure_is_converted(what: str, tmp_path: Path) -> None:
    net = Around(what)
    dynamic = converted(net, net.example())
    assert any(name.startswith("inner.relu") for name in dynamic_layers(dynamic))
    ds.save(dynamic, tmp_path)
    again = ds.load(tmp_path, net)
    for batch in (1, 3):
        x = net.example(batch)
        with torch.no_grad():
            assert torch.equal(again(x), dynamic(x))


def test_what_a_trace_rests_on_is_in_the_recipe() -> None:
    found = {}
    for what in ANSWERED:
        recipe = ds.plan(Around(what), Around(what).example(), EVERY).recipe
        found[what] = {owner.name: owner.structure for owner in recipe.owners}["inner"]
    assert found == {
        "axes": {"x": 4},
        "axes of what is computed": {"x": 4},
        "sizes": {"x": 4},
        "further": {"args": [], "kwargs": []},
        "dense": {"given": [[4, 4], None]},
        "length alone": {"given": [[4]]},
    }


def test_a_recipe_without_structure_is_read_as_ever() -> None:
    net = Flow(lambda self, x: F.relu(self.conv(x)))
    recipe = ds.plan(net, images(), EVERY).recipe
    assert recipe.owners[0].structure == {}
    values = json.loads(recipe.to_json())
    del values["owners"][0]["structure"]
    assert Recipe.from_json(json.dumps(values)).owners == recipe.owners


@pytest.mark.parametrize("structure", [{"x": "4"}, {"x": 4.0}, {"x": [True]}, {"x": {}}, [4]])
def test_a_structure_of_another_kind_is_refused(structure: Any) -> None:
    net = Around("axes")
    values = json.loads(ds.plan(net, net.example(), EVERY).recipe.to_json())
    values["owners"][0]["structure"] = structure
    with pytest.raises(ds.StorageError, match="structure"):
        Recipe.from_json(json.dumps(values))


def test_a_recipe_of_another_structure_makes_other_calls() -> None:
    net = Around("axes")
    recipe = recipe_of(ds.convert(net, net.example(), EVERY))
    other = replace(recipe, owners=(replace(recipe.owners[0], structure={"x": 5}),))
    with pytest.raises(ds.StorageError, match="makes other calls than those in the recipe"):
        ds.convert(net, net.example(), replace(ds.plan(net, net.example(), EVERY), recipe=other))


MISFITS: dict[str, tuple[str, Callable[[Any, Tensor], Any], str]] = {
    "axes": ("axes", lambda m, x: m(x[0]), "was a tensor of 4 axes"),
    "computed": ("axes of what is computed", lambda m, x: m(x[0]), "'add' of Flow's forward"),
    "further": ("further", lambda m, x: m(x, True), "'args' of Further's forward was 0 items"),
    "by name": ("further", lambda m, x: m(x, inplace=True), "'kwargs' of Further's forward"),
    "items": ("dense", lambda m, x: m(([x, x],)), "was 2 items when .*, and is 1 items now"),
    "items inside": ("dense", lambda m, x: m(([x], 3)), "and is 1 items now"),
    "a tensor of as many": ("dense", lambda m, x: m(x[:2]), "and is Tensor now"),
}


@pytest.mark.parametrize("what", MISFITS)
def test_arguments_of_another_structure_raise(what: str) -> None:
    which, call, message = MISFITS[what]
    net = Around(which)
    dynamic = ds.convert(net, net.example(), EVERY)
    with pytest.raises(ds.ConfigError, match=message) as error:
        call(dynamic.inner, net.stem(net.example()))
    assert "\n" not in str(error.value)


REFUSED: dict[str, tuple[Callable[[Any, Tensor], Any], str]] = {
    "length of a batch": (lambda self, x: F.relu(x) / len(x), "takes a length that is known only"),
    "samples": (lambda self, x: torch.stack([2 * y for y in F.relu(x)]), "iterates over a tensor"),
    "axes unknown": (
        lambda self, x: F.relu(x) if torch.squeeze(x).dim() == 4 else x,
        "branches on values of a tensor",
    ),
    "a size": (lambda self, x: F.relu(x) if x.shape[0] * 2 == 4 else x, "branches on the sizes"),
    "sizes, computed": (
        lambda self, x: F.relu(x) if math.ceil(x.size(2) / 2) > 3 else x,
        "branches on the sizes",
    ),
    "a size as a number": (
        lambda self, x: F.relu(x)[: range(9)[x.shape[0]]],
        "converts a tensor or a size to a Python number",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_may_be_another_answer_later_is_refused(what: str) -> None:
    flow, reason = REFUSED[what]
    net = nn.Sequential(nn.Conv2d(3, 6, 1), Flow(flow))
    assert reason in str(reasons(net, images())["1.relu"])


class Lists(nn.Module):
    """Takes a list of as many maps as there are samples."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.inner = Flow()
        self.inner.flow = lambda self, maps: F.relu(torch.stack([2 * m for m in maps]))

    def forward(self, given: Any) -> Tensor:
        maps = (
            [self.stem(x[None])[0] for x in given] if isinstance(given, list) else self.stem(given)
        )
        y: Tensor = self.inner(list(maps))
        return y


@pytest.mark.parametrize("as_list", [True, False])
def test_a_list_that_is_as_long_as_the_batch_is_refused(as_list: bool) -> None:
    x = images(batch=3)
    reason = reasons(Lists(), (list(x),) if as_list else x)["inner.relu"]
    assert "over a list of unknown length" in str(reason)


def test_axes_that_differ_from_call_to_call_are_not_fixed() -> None:
    inner = Flow(lambda self, x: F.relu(x if x.dim() == 4 else -x))
    net = Flow(lambda self, x: self.inner(self.inner(self.conv(x)).mean(3)))
    net.inner = inner
    assert "branches on values" in str(reasons(net, images())["inner.relu"])


def test_a_long_forward_is_traced_in_no_time() -> None:
    def flow(self: Any, x: Tensor) -> Tensor:
        for _ in range(1500):
            x = x + x * 0.5
        return F.relu(x) if x.ndim == 4 else x

    trace = trace_owner(Flow(flow), {}, {"x": 4})
    assert trace.structure == {"x": 4}
    assert [key.label for key in trace.calls("eval")] == ["function:relu"]


class Leaves(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True


def test_checks_stand_in_nobodys_way() -> None:
    net = Around("axes").eval()
    dynamic = ds.convert(net, net.example(), EVERY).eval()
    x = net.example(3)
    with torch.no_grad():
        expected = dynamic(x)
        program = torch.export.export(dynamic, (x,))
        assert torch.allclose(program.module()(x), expected, atol=1e-6)
        compiled: Any = torch.compile(dynamic, backend="eager", fullgraph=True)
        assert torch.allclose(compiled(x), expected, atol=1e-6)
    Leaves().trace(dynamic.get_submodule("inner"))
