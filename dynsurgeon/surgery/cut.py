"""Cut: apply a recipe to a static model. `convert` plans one first, `load` reads one."""

from __future__ import annotations

import copy
import re
from typing import Any

import torch
from torch import fx, nn

from dynsurgeon.config import SurgeryConfig
from dynsurgeon.errors import NoSiteError, StorageError, UnsupportedModelError
from dynsurgeon.messages import first_line
from dynsurgeon.operators import DynamicConv
from dynsurgeon.operators.execution import forced_form, one_by_one
from dynsurgeon.operators.table import DYNAMIC_OPERATORS
from dynsurgeon.recipe import OwnerRecipe, Recipe, SiteRecipe, attach_recipe
from dynsurgeon.surgery.accept import check_model, check_static
from dynsurgeon.surgery.become import become
from dynsurgeon.surgery.build import build_conv, build_relu
from dynsurgeon.surgery.copying import copy_of, double_of
from dynsurgeon.surgery.functional import (
    OPERANDS,
    PARAMETERS,
    conv_of_node,
    input_node,
    operand_names,
    operand_nodes,
)
from dynsurgeon.surgery.inputs import Inputs, as_inputs
from dynsurgeon.surgery.plan import plan_in_place
from dynsurgeon.surgery.planned import Plan
from dynsurgeon.surgery.proxies import TraceRefusal
from dynsurgeon.surgery.randomness import forked_random
from dynsurgeon.surgery.rehearse import same_function
from dynsurgeon.surgery.restore import restore
from dynsurgeon.surgery.rewrite import rewrite_forward
from dynsurgeon.surgery.run import MODES, as_double, run_model
from dynsurgeon.surgery.trace import OwnerTrace, trace_owner
from dynsurgeon.surgery.unshare import unshare_activations, unshared_activations


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
        StorageError: The plan was made of another model.
        UnsupportedModelError: The model is of a form that can't be converted as it is.
    """
    check_model(model)
    check_static(model)
    inputs = as_inputs(example_inputs)
    patient = copy_of(model) if copy else model
    with unshared_activations(patient, keep=True):
        if isinstance(config, Plan):
            plan = config
        else:
            plan = plan_in_place(patient, inputs, config or SurgeryConfig())
        if not plan.converted:
            raise NoSiteError(_nothing_to_do(plan))
        before = run_model(patient, inputs, "eval")
        apply_recipe(patient, plan.recipe)
        try:
            _check_outcome(model if copy else None, patient, inputs, before)
        except UnsupportedModelError:
            restore(patient, copy=False)
            raise
    return patient


def apply_recipe(model: nn.Module, recipe: Recipe) -> None:
    """Apply `recipe` to `model` in place.

    Raises:
        StorageError: The recipe was made for another model. Nothing has been cut then.
    """
    unshare_activations(model)
    sites = {site.name: site for site in recipe.sites}
    traces = {owner.name: _traced(model, owner) for owner in recipe.owners}
    # Everything is found before the first cut, so that a misfit leaves the model whole. (A plan has
    # built each module on the meta device, and `load` tries the whole recipe there.) Each static
    # weight goes as its bank comes: all banks beside all weights would be a fifth more memory.
    devices = {t.device.index for t in model.parameters() if t.device.type == "cuda"}
    with forked_random(devices):
        torch.manual_seed(recipe.seed)
        static = {s.name: _module_at(model, s.name) for s in recipe.sites if s.place == "module"}
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


def _check_outcome(
    original: nn.Module | None, dynamic: nn.Module, inputs: Inputs, before: Any
) -> None:
    # This form repeats the static convolution's roundings. A detector that sorts boxes by
    # nearly equal scores would answer any other rounding with other boxes.
    try:
        with forced_form(one_by_one):
            after = run_model(dynamic, inputs, "eval")
    except Exception as error:
        raise UnsupportedModelError(
            f"the converted model does not run: {first_line(error)}; exclude the sites that this "
            "comes from"
        ) from error
    if not same_function(before, after) and not _same_in_float64(original, dynamic, inputs):
        raise UnsupportedModelError(
            "the converted model does not compute what the original does (its code reads a module "
            "that was replaced); exclude the sites around it"
        )


def _same_in_float64(original: nn.Module | None, dynamic: nn.Module, inputs: Inputs) -> bool:
    if original is None:
        return False
    doubled = as_double(inputs)
    try:
        one, other = (run_model(double_of(m), doubled, "eval") for m in (original, dynamic))
    except Exception:  # not every model runs in float64
        return False
    return same_function(one, other)
