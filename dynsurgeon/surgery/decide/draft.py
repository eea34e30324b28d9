"""A plan in the making: judged candidates, from which plans of all of them or of some are written.

A candidate becomes a `Variant` for a number of kernels: what it would be, and what that costs. A
budget chooses among the variants; without one each candidate has its only one.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import nn

from dynsurgeon.config import SurgeryConfig
from dynsurgeon.operators.contract import DynamicLayer, StaticConv
from dynsurgeon.recipe import OwnerRecipe, Recipe, SiteRecipe
from dynsurgeon.surgery.cut.build import build_layer
from dynsurgeon.surgery.decide import costs
from dynsurgeon.surgery.decide.activations import activation_form
from dynsurgeon.surgery.decide.planned import Plan
from dynsurgeon.surgery.decide.rows import Site
from dynsurgeon.surgery.decide.settings import site_layer, site_settings
from dynsurgeon.surgery.owners.functional import static_conv_of
from dynsurgeon.surgery.owners.match import Traces, group_by_owner, owner_recipe
from dynsurgeon.surgery.sites.candidates import Candidate
from dynsurgeon.surgery.sites.survey import Execution, Survey


@dataclass(frozen=True)
class Variant:
    """One way to make a candidate dynamic.

    Attributes:
        recipe: What it becomes.
        static: The static convolution or activation module; None for a functional activation.
        shapes: Shape of its input at each execution in eval mode.
        before: Its cost now.
        after: Its cost then.
        settings: Those of its operator.
        parts: Kernels or lines whose mixture the input decides.
    """

    recipe: SiteRecipe
    static: nn.Module | None
    shapes: tuple[tuple[int, ...], ...]
    before: costs.Cost
    after: costs.Cost
    settings: Any
    parts: int

    @property
    def experts(self) -> int | None:
        """Kernels of a convolution."""
        count: int | None = self.recipe.settings.get("experts")
        return count


@dataclass(frozen=True)
class Decision:
    """What a budget says of one candidate.

    Attributes:
        reason: Why it stays static, or None.
        settings: What to make of it, None for what the configuration says.
        measured_ms: Milliseconds that it was measured to add.
    """

    reason: str | None = None
    settings: Any = None
    measured_ms: float | None = None


@dataclass(frozen=True)
class Draft:
    """Everything that plans are written from.

    Attributes:
        model: The model, its shared activations unshared.
        candidates: Every call site, judged.
        survey: What two runs of the model showed.
        config: What the user chose.
        traces: The traced owners, proven.
    """

    model: nn.Module
    candidates: list[Candidate]
    survey: Survey
    config: SurgeryConfig
    traces: Traces

    def variants(self, candidate: Candidate) -> list[Variant]:
        """Say what a candidate without a reason to stay can become, from the cheapest on."""
        settings = site_settings(candidate, self.config)
        layer = site_layer(candidate, settings)
        assert layer is not None
        return [self.variant(candidate, each) for each in layer.choices(settings)]

    def variant(self, candidate: Candidate, settings: Any = None) -> Variant:
        """Say what a candidate becomes with these settings, or with those it would get."""
        settings = settings or site_settings(candidate, self.config)
        layer = site_layer(candidate, settings)
        assert layer is not None
        static = self.static_of(candidate)
        recipe = _site_recipe(candidate, layer, settings, static)
        before = self.cost_now(candidate)
        after = costs.dynamic_cost(
            build_layer(recipe, static, "meta"), before, _executions(candidate), self.survey.batch
        )
        shapes = _shapes(candidate)
        return Variant(recipe, static, shapes, before, after, settings, layer.parts(settings))

    def static_of(self, candidate: Candidate) -> nn.Module | None:
        """Return a candidate's static module; that of a functional convolution is built for it."""
        if candidate.module is not None:
            return candidate.module
        if not candidate.is_convolution or candidate.reason is not None:
            return None
        owner = candidate.owner
        return static_conv_of(self.traces[owner], candidate.key) if owner in self.traces else None

    def cost_now(self, candidate: Candidate) -> costs.Cost:
        """Return what a candidate costs as it is."""
        static = self.static_of(candidate)
        if candidate.is_convolution and isinstance(static, StaticConv):
            return costs.static_conv_cost(static, _executions(candidate), self.survey.batch)
        return costs.Cost() if static is None else costs.Cost(costs.parameter_count(static))

    def plan(self, decisions: Mapping[str, Decision] | None = None) -> Plan:
        """Write the plan, as `decisions` by candidates' names say where they say something."""
        rows, recipes, decided = [], [], []
        for candidate in self.candidates:
            decision = (decisions or {}).get(candidate.name, Decision())
            reason = candidate.reason or decision.reason
            row, recipe = self._site(candidate, replace(decision, reason=reason))
            decided.append(replace(candidate, reason=reason))
            rows.append(row)
            recipes.extend([] if recipe is None else [recipe])
        return Plan(
            sites=tuple(rows),
            params_before=costs.parameter_count(self.model),
            macs_before=self.survey.macs,
            notes=tuple(self.survey.notes),
            recipe=Recipe(
                sites=tuple(recipes),
                owners=tuple(_owner_recipes(decided, self.survey, self.traces)),
                config=self.config.to_dict(),
                seed=self.config.seed,
                versions={name: _version(name) for name in ("dynsurgeon", "torch")},
                fitted=False,
            ),
        )

    def _site(self, candidate: Candidate, decision: Decision) -> tuple[Site, SiteRecipe | None]:
        executions = _executions(candidate)
        before = self.cost_now(candidate)
        row = Site(
            name=candidate.name,
            operation=candidate.operation,
            owner=candidate.owner_name,
            input_shape=executions[0].input_shape if executions else None,
            operator=None,
            reason=decision.reason,
            params_before=before.params,
            params_after=before.params,
            macs_before=before.macs,
            macs_after=before.macs,
            experts=getattr(decision.settings, "experts", None),
            measured_ms=decision.measured_ms,
        )
        if decision.reason is not None:
            return row, None
        variant = self.variant(candidate, decision.settings)
        after, operator = variant.after, variant.recipe.operator
        row = replace(row, operator=operator, params_after=after.params, macs_after=after.macs)
        return row, variant.recipe


def _executions(candidate: Candidate) -> list[Execution]:
    return [execution for site in candidate.sites for execution in site.executions]


def _shapes(candidate: Candidate) -> tuple[tuple[int, ...], ...]:
    return tuple(e.input_shape for e in _executions(candidate) if e.mode == "eval")


def _site_recipe(
    candidate: Candidate, layer: type[DynamicLayer], settings: Any, static: nn.Module | None
) -> SiteRecipe:
    execution = candidate.sites[0].executions[0]
    dtype = static.weight.dtype if isinstance(static, StaticConv) else execution.dtype
    recipe = SiteRecipe(
        name=candidate.name,
        operator=layer.__name__,
        place="module" if candidate.in_place_of_module else "call",
        settings=asdict(settings),
        dtype=str(dtype).removeprefix("torch."),
    )
    if candidate.is_convolution:
        return recipe
    return replace(
        recipe,
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
