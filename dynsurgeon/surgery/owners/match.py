"""Trace the owners that have to be rewritten, and match their graphs with what was observed."""

from __future__ import annotations

from collections import Counter

from torch import fx, nn

from dynsurgeon.progress import counted
from dynsurgeon.recipe import OwnerRecipe
from dynsurgeon.surgery.owners.functional import call_obstacle
from dynsurgeon.surgery.owners.proxies import TraceRefusal
from dynsurgeon.surgery.owners.trace import Constant, OwnerTrace, trace_owner
from dynsurgeon.surgery.sites.candidates import Candidate
from dynsurgeon.surgery.sites.structure import Structure, without_lengths
from dynsurgeon.surgery.sites.survey import VARIES, ObservedOwner, Survey

Traces = dict[nn.Module, OwnerTrace]


def trace_owners(model: nn.Module, candidates: list[Candidate], survey: Survey) -> Traces:
    """Trace the owner of every candidate that needs it; set the reason where that fails."""
    traces: Traces = {}
    shared = survey.foreign_reads | _tied_parameters(model)
    for owner, group in counted(group_by_owner(candidates).items(), "modules"):
        try:
            traces[owner] = _trace(owner, survey.owners[owner], survey)
        except TraceRefusal as refusal:
            refuse(group, str(refusal))
            continue
        for candidate in group:
            candidate.reason = call_obstacle(traces[owner], candidate.key, shared)
    return traces


def group_by_owner(candidates: list[Candidate]) -> dict[nn.Module, list[Candidate]]:
    """Group the candidates that are still to be converted by the owner to rewrite for them."""
    groups: dict[nn.Module, list[Candidate]] = {}
    for candidate in candidates:
        if candidate.rewritten and candidate.reason is None and candidate.owner is not None:
            groups.setdefault(candidate.owner, []).append(candidate)
    return groups


def refuse(candidates: list[Candidate], reason: str) -> None:
    """Leave these candidates static for this reason."""
    for candidate in candidates:
        candidate.reason = candidate.reason or reason


def constants_of(observed: ObservedOwner) -> dict[str, Constant]:
    """Return the arguments that were the same plain value in every run."""
    return {name: value for name, value in observed.arguments.items() if value is not VARIES}


def owner_recipe(
    trace: OwnerTrace, name: str, group: list[Candidate], observed: ObservedOwner
) -> OwnerRecipe:
    """Write down which call of the owner's forward goes to which child."""
    children = {candidate.key: candidate.child for candidate in group}
    calls: dict[str, tuple[tuple[str, str | None], ...]] = {
        mode: tuple((key.label, children.get(key)) for key in trace.calls(mode))
        for mode in trace.graphs
    }
    return OwnerRecipe(
        name=name, constants=constants_of(observed), calls=calls, structure=trace.structure
    )


def _trace(owner: nn.Module, observed: ObservedOwner, survey: Survey) -> OwnerTrace:
    if isinstance(owner, fx.GraphModule):
        raise TraceRefusal("its owner is a GraphModule: convert the model before it is traced")
    if "forward" in vars(owner):
        raise TraceRefusal("its owner's forward was replaced on the instance")
    if observed.mixed_none:
        names = ", ".join(sorted(observed.mixed_none))
        raise TraceRefusal(f"its owner's argument {names} is sometimes None and sometimes not")
    trace = trace_owner(owner, constants_of(observed), _steady_structure(observed, survey))
    for mode, sequences in observed.sequences.items():
        if len(sequences) > 1:
            raise TraceRefusal("its owner's forward takes different paths on different inputs")
        if list(sequences[0]) != trace.calls(mode):
            raise TraceRefusal(f"its owner's trace makes other calls than ran in {mode} mode")
    return trace


def _steady_structure(observed: ObservedOwner, survey: Survey) -> dict[str, Structure]:
    """Return the structure of the arguments, as far as it does not grow with the batch."""
    once, twice = survey.inputs["eval"], survey.inputs.get("train")
    if twice is not None and twice is not once and not isinstance(once.values()[0], (list, tuple)):
        return observed.structure  # what grows with the batch differs in the two runs
    kinds = observed.structure.items()
    return {name: without_lengths(found, survey.batch) for name, found in kinds}


def _tied_parameters(model: nn.Module) -> set[int]:
    counts = Counter(id(p) for m in model.modules() for p in m._parameters.values())
    return {key for key, count in counts.items() if count > 1}
