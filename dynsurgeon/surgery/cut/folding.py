"""Methods of foreign models that fold BatchNorm into convolutions, made right for dynamic ones.

ultralytics folds before every prediction (``model.fuse()``); timm's and others' models have methods
that fold and merge branches for deployment. They write to `weight` as to one kernel. While such a
method runs, dynamic convolutions are static ones (`StandIn`). What was folded into those is then
folded into the banks. A method that did anything else with one, such as adding up the kernels of
two branches, has no dynamic equivalent: then nothing of it is kept, and the model is as it was.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from dynsurgeon.operators import DynamicConv
from dynsurgeon.operators.contract import ConvolutionLayer
from dynsurgeon.running.quiet import quiet
from dynsurgeon.running.snapshot import Snapshot
from dynsurgeon.surgery.cut.stand_in import Numbers, StandIn, numbers_of
from dynsurgeon.surgery.owners.rewrite import is_rewritten

METHODS = ("fuse", "fuse_convs", "fuse_model", "reparameterize", "switch_to_deploy")
"""What such methods are called: ultralytics, torchvision, timm, RepVGG and its descendants."""


class Folding:
    """A folding method of a module, in the place of the method of its class.

    Args:
        module: The module.
        name: Name of the method.
    """

    def __init__(self, module: nn.Module, name: str) -> None:
        self.module, self.name = module, name

    @torch.inference_mode(False)  # layers folded within it could never be trained again
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Fold, into banks too; or do nothing and return the module, where that can't be."""

        def fold() -> Any:
            method = getattr(type(self.module), self.name)
            return method(self.module, *args, **kwargs)

        layers = _dynamic(self.module)
        other = [layer for layer in layers.values() if not isinstance(layer, DynamicConv)]
        if other:
            kind = type(other[0]).__name__
            _warn(self.module, self.name, f"a {kind} can't take a BatchNorm into its kernel")
            return self.module
        stand_ins = {
            n: StandIn(conv) for n, conv in layers.items() if isinstance(conv, DynamicConv)
        }
        return _fold(self.module, self.name, fold, stand_ins) if stand_ins else fold()


def guard_folding(model: nn.Module) -> None:
    """Put a `Folding` in the place of every such method above a dynamic convolution."""
    for module in model.modules():
        for name in METHODS:
            if _folds(getattr(type(module), name, None)) and _dynamic(module):
                vars(module)[name] = Folding(module, name)


def unguard_folding(model: nn.Module) -> None:
    """Take out what `guard_folding` put in."""
    for module in model.modules():
        for name in METHODS:
            if isinstance(vars(module).get(name), Folding):
                del vars(module)[name]


def _folds(method: Any) -> bool:
    # A method of that name which wants an argument fuses something else: the features of a pyramid.
    if not inspect.isfunction(method):
        return False
    _, *others = inspect.signature(method).parameters.values()
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return all(p.default is not p.empty or p.kind in variadic for p in others)


def _dynamic(module: nn.Module) -> dict[str, ConvolutionLayer]:
    named = module.named_modules()
    return {name: m for name, m in named if name and isinstance(m, ConvolutionLayer)}


def _warn(module: nn.Module, name: str, reason: str) -> None:
    text = f"{type(module).__name__}.{name}() left the model as it is: {reason}"
    warnings.warn(text, stacklevel=4)


def _fold(
    module: nn.Module, name: str, fold: Callable[[], Any], stand_ins: dict[str, StandIn]
) -> Any:
    for stand_in in stand_ins.values():
        stand_in.pose()
    try:
        result, folds = _tried(module, fold, stand_ins)
    finally:
        for stand_in in stand_ins.values():
            stand_in.recover()
    if folds is None:
        reason = "it does more to a dynamic convolution than fold a BatchNorm into it where it is"
        _warn(module, name, reason)
        return module
    for place, (numbers, trained) in folds.items():
        stand_ins[place].take(numbers, trained=trained)
        module.set_submodule(place, stand_ins[place].conv)
    return result


Folds = dict[str, tuple[Numbers, bool]]


def _tried(
    module: nn.Module, fold: Callable[[], Any], stand_ins: dict[str, StandIn]
) -> tuple[Any, Folds | None]:
    """Fold twice, with other numbers; say what was done, or undo it and return None for that."""
    before, forwards = Snapshot(module), _forwards(module)
    generator = torch.Generator().manual_seed(0)
    shown = {place: stand_in.drawn(generator) for place, stand_in in stand_ins.items()}
    try:
        with quiet():
            became = _folded(module, fold, stand_ins, shown)[1]
    finally:
        before.restore()
    final = {p: s.nans() if became[p] is None else s.ones() for p, s in stand_ins.items()}
    try:
        result, ones = _folded(module, fold, stand_ins, final)
        folds = _folds_found(module, stand_ins, ones, shown, became)
    except BaseException:
        before.restore()
        raise
    foreign = result is not None and result is not module
    if folds is None or foreign or _forwards(module) != forwards:
        before.restore()
        return module, None
    return result, folds


def _folded(
    module: nn.Module,
    fold: Callable[[], Any],
    stand_ins: dict[str, StandIn],
    shown: dict[str, Numbers],
) -> tuple[Any, dict[str, Numbers | None]]:
    for place, stand_in in stand_ins.items():
        stand_in.show(shown[place])
    result = fold()
    return result, {place: numbers_of(_at(module, place), s) for place, s in stand_ins.items()}


def _folds_found(
    module: nn.Module,
    stand_ins: dict[str, StandIn],
    ones: dict[str, Numbers | None],
    shown: dict[str, Numbers],
    became: dict[str, Numbers | None],
) -> Folds | None:
    folds: Folds = {}
    for place, stand_in in stand_ins.items():
        there = _at(module, place)
        one, other = ones[place], became[place]
        if there is None:
            continue  # gone with a branch, unless its numbers have gone into another layer
        if one is None or other is None:
            return None
        found = stand_in.fold_of(one, shown[place], other)
        if found is None:
            return None
        folds[place] = found, any(p.requires_grad for p in there.parameters())
    if any(bool(t.isnan().any()) for t in (*module.parameters(), *module.buffers())):
        return None
    return folds


def _forwards(module: nn.Module) -> list[tuple[Any, ...]]:
    # A traced forward calls children by names, and another forward would call other children.
    owners = [m for m in module.modules() if is_rewritten(m)]
    return [(id(m), vars(m).get("forward"), *m._modules) for m in owners]


def _at(module: nn.Module, place: str) -> nn.Module | None:
    try:
        return module.get_submodule(place)
    except AttributeError:
        return None
