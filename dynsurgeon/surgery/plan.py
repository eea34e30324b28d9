"""Plan an operation: every call site, what it becomes or why not, and at what cost."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import nn

from dynsurgeon.config import DynamicConvConfig, SurgeryConfig, apply_overrides
from dynsurgeon.errors import ConfigError
from dynsurgeon.operators.convolution import DynamicConv, StaticConv
from dynsurgeon.operators.table import CONVOLUTIONS, RELUS
from dynsurgeon.recipe import OwnerRecipe, Recipe, SiteRecipe
from dynsurgeon.surgery import costs
from dynsurgeon.surgery.accept import as_inputs, check_model, check_static
from dynsurgeon.surgery.build import build_relu
from dynsurgeon.surgery.calls import convolution_class
from dynsurgeon.surgery.candidates import Candidate, find_candidates
from dynsurgeon.surgery.copying import copy_of
from dynsurgeon.surgery.functional import static_conv_of
from dynsurgeon.surgery.judge import activation_form, activation_settings, judge_candidates
from dynsurgeon.surgery.owners import Traces, group_by_owner, owner_recipe, refuse, trace_owners
from dynsurgeon.surgery.planned import Plan, Site
from dynsurgeon.surgery.rehearse import unfaithful_owners, visible_writes
from dynsurgeon.surgery.select import check_patterns, matches
from dynsurgeon.surgery.survey import Survey, survey_model
from dynsurgeon.surgery.unshare import unshare_activations


def plan(model: nn.Module, example_inputs: Any, config: SurgeryConfig | None = None) -> Plan:
    """Say what `convert` would do, and touch nothing.

    Args:
        model: The static model.
        example_inputs: A tensor or a tuple of positional inputs that the model runs on.
        config: What to convert, how and where.

    Raises:
        ConfigError: The inputs or the configuration don't fit the model.
        PatternError: A pattern selects no site.
        UnsupportedModelError: The model is of a form that can't be converted as it is.
    """
    check_model(model)
    check_static(model)
    return plan_in_place(copy_of(model), as_inputs(example_inputs), config or SurgeryConfig())


def plan_in_place(model: nn.Module, inputs: tuple[Any, ...], config: SurgeryConfig) -> Plan:
    """Plan on this very model; it gets its shared activations unshared, and nothing else."""
    if not isinstance(config, SurgeryConfig):
        raise ConfigError(f"config must be a SurgeryConfig, got {type(config).__name__}")
    unshare_activations(model)
    survey = survey_model(model, inputs)
    candidates = find_candidates(model, survey)
    check_patterns(config, candidates, (name for name, _ in model.named_modules()))
    judge_candidates(model, candidates, survey, config)
    traces = _proven_traces(model, candidates, survey)
    return _write_plan(model, candidates, survey, config, traces)


def _proven_traces(model: nn.Module, candidates: list[Candidate], survey: Survey) -> Traces:
    traces = trace_owners(model, candidates, survey)
    for owner in unfaithful_owners(model, traces, survey):
        del traces[owner]
        group = [c for c in candidates if c.rewritten and c.owner is owner]
        refuse(group, "its owner's traced forward does not reproduce its outputs")
    activations = [c for c in candidates if c.reason is None and not c.is_convolution]
    writing = visible_writes(model, activations, survey)
    for candidate in candidates:
        candidate.inplace = id(candidate) in writing
    return traces


def _write_plan(
    model: nn.Module,
    candidates: list[Candidate],
    survey: Survey,
    config: SurgeryConfig,
    traces: Traces,
) -> Plan:
    rows, recipes = [], []
    for candidate in candidates:
        row, recipe = _plan_site(candidate, survey, config, traces)
        rows.append(row)
        recipes.extend([] if recipe is None else [recipe])
    return Plan(
        sites=tuple(rows),
        params_before=costs.parameter_count(model),
        macs_before=survey.macs,
        notes=tuple(survey.notes),
        recipe=Recipe(
            sites=tuple(recipes),
            owners=tuple(_owner_recipes(candidates, survey, traces)),
            config=config.to_dict(),
            seed=config.seed,
            versions={name: _version(name) for name in ("dynsurgeon", "torch")},
        ),
    )


def _plan_site(
    candidate: Candidate, survey: Survey, config: SurgeryConfig, traces: Traces
) -> tuple[Site, SiteRecipe | None]:
    executions = [e for site in candidate.sites for e in site.executions]
    static = _static_conv(candidate, traces) if candidate.is_convolution else candidate.module
    before = costs.Cost()
    if candidate.is_convolution and isinstance(static, StaticConv):
        before = costs.static_conv_cost(static, executions, survey.batch)
    elif static is not None:
        before = costs.Cost(costs.parameter_count(static))
    row = Site(
        name=candidate.name,
        operation=candidate.operation,
        owner=candidate.owner_name,
        input_shape=executions[0].input_shape if executions else None,
        operator=None,
        reason=candidate.reason,
        params_before=before.params,
        params_after=before.params,
        macs_before=before.macs,
        macs_after=before.macs,
    )
    if candidate.reason is not None:
        return row, None
    if candidate.is_convolution:
        assert isinstance(static, StaticConv)
        recipe, dynamic = _plan_conv(candidate, static, config)
        after = costs.dynamic_conv_cost(dynamic, before, executions, survey.batch)
    else:
        recipe = _relu_recipe(candidate, config)
        after = costs.dynamic_relu_cost(build_relu(recipe, "meta"), executions, survey.batch)
    row = replace(row, operator=recipe.operator, params_after=after.params, macs_after=after.macs)
    return row, recipe


def _static_conv(candidate: Candidate, traces: Traces) -> nn.Module | None:
    if candidate.module is not None:
        return candidate.module
    if candidate.owner not in traces or candidate.reason is not None:
        return None
    return static_conv_of(traces[candidate.owner], candidate.key)


def _plan_conv(
    candidate: Candidate, static: StaticConv, config: SurgeryConfig
) -> tuple[SiteRecipe, DynamicConv]:
    settings = config.conv or DynamicConvConfig()
    for pattern, values in config.overrides.items():
        if matches(pattern, candidate):
            settings = apply_overrides(settings, values)
    base = convolution_class(static)
    assert base is not None
    operator = CONVOLUTIONS[base]
    recipe = SiteRecipe(
        name=candidate.name,
        operator=operator.__name__,
        place="module" if candidate.in_place_of_module else "call",
        settings=asdict(settings),
        dtype=str(static.weight.dtype).removeprefix("torch."),
    )
    return recipe, operator.like(static, settings, device="meta")


def _relu_recipe(candidate: Candidate, config: SurgeryConfig) -> SiteRecipe:
    settings = activation_settings(candidate, config)
    execution = candidate.sites[0].executions[0]
    return SiteRecipe(
        name=candidate.name,
        operator=RELUS[settings.kind].__name__,
        place="module" if candidate.in_place_of_module else "call",
        settings=asdict(settings),
        dtype=str(execution.dtype).removeprefix("torch."),
        channels=execution.input_shape[1],
        form=asdict(activation_form(candidate)),
        inplace=candidate.inplace,
    )


def _owner_recipes(
    candidates: list[Candidate], survey: Survey, traces: Traces
) -> Iterable[OwnerRecipe]:
    for owner, group in group_by_owner(candidates).items():
        moved = {c.module for c in group if c.in_place_of_module}
        siblings = [c for c in candidates if c.reason is not None and c.module in moved]
        yield owner_recipe(
            traces[owner], group[0].owner_name, [*group, *siblings], survey.owners[owner]
        )


def _version(package: str) -> str:
    if package == "torch":
        return str(torch.__version__)
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
