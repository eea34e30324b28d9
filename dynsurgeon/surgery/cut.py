"""Cut: apply a recipe to a static model. `convert` plans one first, `load` reads one."""

from __future__ import annotations

import copy
import re
from contextlib import nullcontext
from typing import Any

import torch
from torch import fx, nn

from dynsurgeon.config import SurgeryConfig
from dynsurgeon.errors import NoSiteError, StorageError, SurgeryError
from dynsurgeon.operators import DynamicConv
from dynsurgeon.operators.table import DYNAMIC_OPERATORS
from dynsurgeon.recipe import OwnerRecipe, Recipe, SiteRecipe, attach_recipe
from dynsurgeon.surgery.accept import check_model, check_numbers, check_static
from dynsurgeon.surgery.become import become
from dynsurgeon.surgery.build import build_conv, build_relu, check_fits
from dynsurgeon.surgery.copying import copy_of
from dynsurgeon.surgery.functional import (
    OPERANDS,
    PARAMETERS,
    conv_of_node,
    input_node,
    operand_names,
    operand_nodes,
)
from dynsurgeon.surgery.inputs import as_inputs
from dynsurgeon.surgery.intact import intact
from dynsurgeon.surgery.outcome import check_outcome, run_static
from dynsurgeon.surgery.plan import plan_in_place
from dynsurgeon.surgery.planned import Plan
from dynsurgeon.surgery.proxies import TraceRefusal
from dynsurgeon.surgery.randomness import forked_random
from dynsurgeon.surgery.rewrite import rewrite_forward
from dynsurgeon.surgery.run import MODES
from dynsurgeon.surgery.trace import OwnerTrace, first_line, trace_owner
from dynsurgeon.surgery.unshare import unshare_activations


@torch.inference_mode(False)
def convert(
    model: nn.Module,
    example_inputs: Any,
    config: SurgeryConfig | Plan | None = None,
    *,
    copy: bool = True,
) -> nn.Module:
    """Make a static model dynamic, computing exactly what it computed.

    The whole plan is checked before anything is cut, and the result is run on the example inputs.

    Other threads notice nothing, unless they draw random numbers from the process's generators
    meanwhile, which are seeded here and put back. A second thread that converts, plans, proves,
    loads or exports waits where two can't work at once.

    Args:
        model: The static model, in any mode and precision.
        example_inputs: What the model runs on: a tensor, a tuple of positional inputs, a dict of
            keyword inputs, or `Inputs`.
        config: What to convert, how and where; or a plan of this model, to be applied as it is.
        copy: Leave `model` as it is and return a converted copy.

    Returns:
        The converted model. Every module that was not replaced keeps its name, class and state_dict
        keys; the model keeps its mode.

    Raises:
        ConfigError: The inputs or the configuration don't fit the model.
        PatternError: A pattern selects no site.
        NoSiteError: Nothing in the model can be made dynamic under this configuration.
        StorageError: The plan was made of another model. Whatever is raised, `model` is as it was,
            bit for bit, with copy=False too.
        UnsupportedModelError: The model is of a form that can't be converted, or holds NaN.
    """
    check_model(model)
    check_static(model)
    check_numbers(model)
    inputs = as_inputs(example_inputs)
    patient = copy_of(model) if copy else model
    with nullcontext() if copy else intact(patient):
        if isinstance(config, Plan):
            plan = config
        else:
            plan = plan_in_place(patient, inputs, config or SurgeryConfig())
        if not plan.converted:
            raise NoSiteError(_nothing_to_do(plan))
        before = run_static(patient, inputs)
        _apply_plan(patient, plan)
        check_outcome(model if copy else None, patient, inputs, before)
    return patient


def _apply_plan(model: nn.Module, plan: Plan) -> None:
    try:
        apply_recipe(model, plan.recipe)
    except SurgeryError:
        raise
    except Exception as error:  # what a recipe of another model leads to is anybody's guess
        raise StorageError(
            f"the plan does not fit the model ({first_line(error)}): plan the model that it is now"
        ) from error


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
        torch.manual_seed(recipe.seed)
        for owner in recipe.owners:
            _rewrite_owner(model, owner, traces[owner.name], sites)
        for name, module in static.items():
            become(module, _build(model, sites[name], module))
    attach_recipe(model, recipe)


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
    if issubclass(_dynamic_class(site), DynamicConv):
        return build_conv(site, static)
    module = build_relu(site, _device_near(model, site.name))
    for slope in static.parameters():
        module.requires_grad_(slope.requires_grad)
    return module.train(static.training)


def _dynamic_class(site: SiteRecipe) -> type[nn.Module]:
    return DYNAMIC_OPERATORS.get(site.operator, nn.Module)


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
    if not issubclass(_dynamic_class(site), DynamicConv):
        return build_relu(site, _device_near(model, site.name)).train(owner.training)
    conv = build_conv(site, conv_of_node(node, owner))
    vars(conv)[OPERANDS] = operand_names(node)
    return conv


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


def _nothing_to_do(plan: Plan) -> str:
    if not plan.sites:
        return "the model has no convolution and no ReLU-like activation that its forward calls"
    reasons: dict[str, int] = {}
    for site in plan.skipped:
        reasons[str(site.reason)] = reasons.get(str(site.reason), 0) + 1
    listed = "; ".join(f"{count} x {reason}" for reason, count in reasons.items())
    return f"none of the model's {len(plan.sites)} sites can be made dynamic: {listed}"
