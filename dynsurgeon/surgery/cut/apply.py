"""Cut: apply a recipe to a static model."""

from __future__ import annotations

import copy
import re

import torch
from torch import fx, nn

from dynsurgeon.errors import StorageError
from dynsurgeon.operators.contract import ActivationLayer
from dynsurgeon.recipe import OwnerRecipe, Recipe, SiteRecipe, attach_recipe
from dynsurgeon.running.randomness import forked_random, seed_torch
from dynsurgeon.running.run import MODES
from dynsurgeon.surgery.cut.become import become
from dynsurgeon.surgery.cut.build import build_layer, check_fits
from dynsurgeon.surgery.cut.folding import guard_folding
from dynsurgeon.surgery.cut.unshare import unshare_activations
from dynsurgeon.surgery.owners.functional import (
    OPERANDS,
    PARAMETERS,
    conv_of_node,
    input_node,
    operand_names,
    operand_nodes,
)
from dynsurgeon.surgery.owners.proxies import TraceRefusal
from dynsurgeon.surgery.owners.rewrite import rewrite_forward
from dynsurgeon.surgery.owners.trace import OwnerTrace, trace_owner


def apply_recipe(model: nn.Module, recipe: Recipe) -> None:
    """Apply `recipe` to `model` in place.

    Raises:
        StorageError: The recipe was made for another model.
    """
    unshare_activations(model)
    sites = {site.name: site for site in recipe.sites}
    traces = {owner.name: _traced(model, owner) for owner in recipe.owners}
    static = {s.name: _module_at(model, s.name) for s in recipe.sites if s.place == "module"}
    for name, module in static.items():
        check_fits(sites[name], module)
    # Each static weight goes as its bank comes: all banks beside all weights would be a fifth more
    # memory. So what fails from here on does so half-way. `convert` gives a model that is not its
    # own copy its parts back then, and `load` tries the whole recipe on the meta device first.
    devices = {t.device.index for t in model.parameters() if t.device.type == "cuda"}
    with forked_random(devices):
        seed_torch(recipe.seed)
        for owner in recipe.owners:
            _rewrite_owner(model, owner, traces[owner.name], sites)
        for name, module in static.items():
            become(module, _build(model, sites[name], module))
    attach_recipe(model, recipe)
    guard_folding(model)


def _module_at(model: nn.Module, name: str) -> nn.Module:
    try:
        return model.get_submodule(name)
    except AttributeError as error:
        raise StorageError(
            f"the model has no module {name!r}: load the recipe onto the model it was made for"
        ) from error


def _traced(model: nn.Module, owner: OwnerRecipe) -> OwnerTrace:
    try:
        trace = trace_owner(_module_at(model, owner.name), owner.constants, owner.structure)
    except TraceRefusal as refusal:
        raise StorageError(f"{owner.name!r} can't be rewritten here: {refusal}") from refusal
    for mode in MODES:
        labels = [key.label for key in trace.calls(mode)]
        if labels != [label for label, _ in owner.calls.get(mode, ())]:
            raise StorageError(
                f"the forward of {owner.name!r} makes other calls than those in the recipe: "
                "the model's code is of another version"
            )
    return trace


def _build(model: nn.Module, site: SiteRecipe, static: nn.Module) -> nn.Module:
    layer = build_layer(site, static, _device_near(model, site.name))
    if isinstance(layer, ActivationLayer):
        for slope in static.parameters():
            layer.requires_grad_(slope.requires_grad)
    return layer.train(static.training)


def _rewrite_owner(
    model: nn.Module, recipe: OwnerRecipe, trace: OwnerTrace, sites: dict[str, SiteRecipe]
) -> None:
    prefix = f"{recipe.name}." if recipe.name else ""
    operands: set[str] = set()
    for mode in MODES:
        for node, (label, child) in zip(trace.call_nodes(mode), recipe.calls[mode], strict=True):
            if child is None or label == f"module:{child}":
                continue
            _check_name(child)
            if child not in trace.owner._modules:
                site = sites.get(prefix + child)
                trace.owner.add_module(child, _new_child(model, trace.owner, node, site))
            operands.update(_redirect(trace.graphs[mode], node, child))
    vars(trace.owner)[PARAMETERS] = tuple(trace.owner._parameters)
    for name in operands:
        del trace.owner._parameters[name]
    rewrite_forward(trace)


def _check_name(child: str) -> None:
    # The name becomes part of the code of a forward: nothing but a name may get there.
    if re.fullmatch(r"\w+", child) is None:
        raise StorageError(f"the recipe names a new child {child!r}, which is no name")


def _new_child(
    model: nn.Module, owner: nn.Module, node: fx.Node, site: SiteRecipe | None
) -> nn.Module:
    if site is None:  # a call that stays static, of a module whose other calls do not
        return copy.deepcopy(owner.get_submodule(str(node.target)))
    names = operand_names(node)
    static = conv_of_node(node, owner) if names else None
    layer = build_layer(site, static, _device_near(model, site.name)).train(owner.training)
    if names:
        vars(layer)[OPERANDS] = names
    return layer


def _redirect(graph: fx.Graph, node: fx.Node, child: str) -> tuple[str, ...]:
    operands = operand_nodes(node)
    names = operand_names(node)
    with graph.inserting_after(node):
        call = graph.create_node("call_module", child, (input_node(node),))
    node.replace_all_uses_with(call)
    graph.erase_node(node)
    for operand in operands:
        graph.erase_node(operand)
    return names


def _device_near(model: nn.Module, name: str) -> torch.device:
    # The parameters of the closest module around the site tell where its input lives.
    while name:
        name = name.rpartition(".")[0]
        for tensor in model.get_submodule(name).parameters():
            return tensor.device
    return torch.get_default_device()
