"""Plan an operation: every call site, what it becomes or why not, and at what cost."""

from __future__ import annotations

from typing import Any

from torch import nn

from dynsurgeon.budgets.fit import fit_budgets
from dynsurgeon.budgets.meter import Meter
from dynsurgeon.config import SurgeryConfig
from dynsurgeon.errors import ConfigError
from dynsurgeon.running.copying import copy_of
from dynsurgeon.running.inputs import Inputs, as_inputs
from dynsurgeon.running.snapshot import unchanged
from dynsurgeon.surgery.accept import check_model, check_numbers, check_static
from dynsurgeon.surgery.cut.unshare import unshare_activations
from dynsurgeon.surgery.decide.draft import Draft
from dynsurgeon.surgery.decide.judge import judge_candidates
from dynsurgeon.surgery.decide.overwritten import keep_overwritten
from dynsurgeon.surgery.decide.planned import Plan
from dynsurgeon.surgery.decide.presets import apply_preset
from dynsurgeon.surgery.decide.settings import check_overrides
from dynsurgeon.surgery.owners.match import Traces, refuse, trace_owners
from dynsurgeon.surgery.owners.rehearse import unfaithful_owners, visible_writes
from dynsurgeon.surgery.sites.candidates import Candidate, find_candidates
from dynsurgeon.surgery.sites.select import check_patterns
from dynsurgeon.surgery.sites.survey import Survey, survey_model


def plan(
    model: nn.Module,
    example_inputs: Any,
    config: SurgeryConfig | None = None,
    *,
    copy: bool = True,
) -> Plan:
    """Say what `convert` would do, and touch nothing.

    With a latency budget this measures: each site in a small network of its own, then the whole
    network as often as it takes. `convert` takes the plan itself in the place of its configuration,
    so that what was measured is what is cut.

    Args:
        model: The static model.
        example_inputs: What the model runs on: a tensor, a tuple of positional inputs, a dict of
            keyword inputs, or `Inputs`.
        config: What to convert, how and where.
        copy: Work on a copy. A model that can't be copied is planned on itself with False; it is
            put back as it was.

    Raises:
        ConfigError: The inputs or the configuration don't fit the model.
        PatternError: A pattern selects no site.
        NoSiteError: No site fits a budget.
        UnsupportedModelError: The model is of a kind that can't be converted, or holds NaN.
    """
    check_model(model)
    check_static(model)
    check_numbers(model)
    inputs, config = as_inputs(example_inputs), config or SurgeryConfig()
    if copy:
        return plan_in_place(copy_of(model), inputs, config)
    with unchanged(model):
        return plan_in_place(model, inputs, config)


def plan_in_place(
    model: nn.Module, inputs: Inputs, config: SurgeryConfig, meter: Meter | None = None
) -> Plan:
    """Plan on this very model; it gets its shared activations unshared, and nothing else.

    Args:
        model: The static model.
        inputs: What it runs on.
        config: What to convert, how and where.
        meter: What measures for a latency budget; onnxruntime if None.
    """
    if not isinstance(config, SurgeryConfig):
        raise ConfigError(f"config must be a SurgeryConfig, got {type(config).__name__}")
    unshare_activations(model)
    survey = survey_model(model, inputs)
    candidates = find_candidates(model, survey)
    check_patterns(config, candidates, (name for name, _ in model.named_modules()))
    judge_candidates(model, candidates, survey, config)
    apply_preset(candidates, config)
    check_overrides(config, candidates)
    traces = _proven_traces(model, candidates, survey)
    keep_overwritten(candidates, all_convert=not config.budgets)
    draft = Draft(model, candidates, survey, config, traces)
    return fit_budgets(draft, inputs, meter) if config.budgets else draft.plan()


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
