"""Run the model in eval and in train mode and gather what `observe` reports, site by site."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from dynsurgeon.compat import tree_leaves
from dynsurgeon.messages import first_line
from dynsurgeon.running.blame import model_failure
from dynsurgeon.running.flops import FlopCounter
from dynsurgeon.running.inputs import Inputs
from dynsurgeon.running.run import MODES, Mode, batch_size, copied, preserved, widened
from dynsurgeon.surgery.sites.calls import CallKey
from dynsurgeon.surgery.sites.observe import Call, Observer, OwnerForward
from dynsurgeon.surgery.sites.structure import Structure, merged, structure_of
from dynsurgeon.surgery.sites.writes import Place

VARIES = object()
"""Marks an argument that is a tensor, or not the same in every run."""


@dataclass(frozen=True)
class Execution:
    """One execution of a call site, without its tensors."""

    mode: Mode
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device
    extra_arguments: bool
    channels_last_axis: bool


@dataclass
class ObservedSite:
    """One call site with all its executions, and who wrote into its input afterwards.

    Attributes:
        order: How many call sites were executed before it.
    """

    owner: nn.Module
    key: CallKey
    module: nn.Module | None
    function: Callable[..., Any] | None
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inplace: bool
    order: int
    writers: set[Place | None] = field(default_factory=set)
    executions: list[Execution] = field(default_factory=list)


@dataclass
class ObservedOwner:
    """What one module was called with, and the sequences of call sites that followed."""

    sequences: dict[Mode, list[tuple[CallKey, ...]]] = field(default_factory=dict)
    arguments: dict[str, Any] = field(default_factory=dict)
    structure: dict[str, Structure] = field(default_factory=dict)
    mixed_none: set[str] = field(default_factory=set)


@dataclass
class Survey:
    """All that two runs of a model show.

    Attributes:
        sites: Observed call sites, in order of their first execution.
        owners: Observed owners.
        outputs: The model's outputs by mode, to compare with later.
        inputs: The inputs of each mode.
        foreign_reads: Ids of parameters read outside their own operator.
        macs: Multiply-accumulates a sample of the whole model, in eval mode.
        batch: Samples in the eval inputs.
        notes: What the user should know, such as a mode that could not be run.
    """

    sites: dict[tuple[nn.Module, CallKey], ObservedSite] = field(default_factory=dict)
    owners: dict[nn.Module, ObservedOwner] = field(default_factory=dict)
    outputs: dict[Mode, Any] = field(default_factory=dict)
    inputs: dict[Mode, Inputs] = field(default_factory=dict)
    foreign_reads: set[int] = field(default_factory=set)
    macs: int = 0
    batch: int = 1
    notes: list[str] = field(default_factory=list)


def survey_model(model: nn.Module, inputs: Inputs) -> Survey:
    """Observe `model` on `inputs` in both modes; the model is left as it was.

    Raises:
        ConfigError: The model does not run on these inputs in eval mode.
    """
    survey = Survey(batch=batch_size(inputs))
    for mode in MODES:
        # A doubled batch serves twice: BatchNorm can train on it, and an axis that doubles with it
        # is no channel axis.
        attempts = [inputs] if mode == "eval" else [widened(inputs), inputs]
        error = _try_each(model, mode, attempts, survey)
        if error is not None and mode == "eval":
            raise model_failure(model, error, "these example inputs") from error
        if error is not None:
            survey.notes.append(f"train mode was not observed: {first_line(error)}")
    return survey


def _try_each(
    model: nn.Module, mode: Mode, attempts: list[Inputs], survey: Survey
) -> Exception | None:
    error: Exception | None = None
    for inputs in attempts:
        try:
            _run(model, mode, inputs, survey)
            return None
        except Exception as failure:
            error = failure
            _forget(survey, mode)
    return error


def _forget(survey: Survey, mode: Mode) -> None:
    for site in survey.sites.values():
        site.executions = [e for e in site.executions if e.mode != mode]
    survey.sites = {key: site for key, site in survey.sites.items() if site.executions}
    for owner in survey.owners.values():
        owner.sequences.pop(mode, None)


def _run(model: nn.Module, mode: Mode, inputs: Inputs, survey: Survey) -> None:
    observer = Observer(
        on_call=lambda call: _note_call(survey, mode, call),
        on_forward=lambda run: _note_forward(survey, mode, run),
    )
    flops = FlopCounter()
    with preserved(model, mode), flops, observer.observing():
        outputs = copied(inputs).call(model)
    if mode == "eval":
        survey.macs = flops.get_total_flops() // 2 // survey.batch
    survey.outputs[mode], survey.inputs[mode] = outputs, inputs
    survey.foreign_reads |= observer.foreign_reads
    for place, writers in observer.writes.found.items():
        if place in survey.sites:
            survey.sites[place].writers |= writers


def _note_call(survey: Survey, mode: Mode, call: Call) -> None:
    site = survey.sites.setdefault(
        (call.owner, call.key),
        ObservedSite(
            owner=call.owner,
            key=call.key,
            module=call.module,
            function=call.function,
            args=_without_tensors(call.args),
            kwargs={k: _without_tensor(v) for k, v in call.kwargs.items()},
            inplace=call.inplace,
            order=len(survey.sites),
        ),
    )
    site.executions.append(
        Execution(
            mode=mode,
            input_shape=tuple(call.input.shape),
            output_shape=tuple(call.output.shape) if call.output is not None else (),
            dtype=_parameter_dtype(call.input),
            device=call.input.device,
            extra_arguments=call.module is not None and (len(call.args) > 1 or bool(call.kwargs)),
            channels_last_axis=call.channels_last_axis,
        )
    )


def _parameter_dtype(tensor: Tensor) -> torch.dtype:
    # Under autocast activations are in half precision, and parameters in single.
    kind = tensor.device.type
    if torch.is_autocast_enabled(kind) and tensor.dtype == torch.get_autocast_dtype(kind):
        return torch.float32
    return tensor.dtype


def _note_forward(survey: Survey, mode: Mode, run: OwnerForward) -> None:
    owner = survey.owners.setdefault(run.owner, ObservedOwner())
    calls = tuple(run.calls)
    if calls not in owner.sequences.setdefault(mode, []):
        owner.sequences[mode].append(calls)
    if not calls:
        return
    for parameter, value in _arguments(run):
        name, found, kind = parameter.name, structure_of(value), _constant(value)
        owner.structure[name] = merged(owner.structure.get(name, found), found)
        if parameter.kind not in _NAMED:
            continue
        before = owner.arguments.get(name, kind)
        if (before is None) != (kind is None):
            owner.mixed_none.add(name)
        owner.arguments[name] = kind if _same(before, kind) else VARIES


_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def _arguments(run: OwnerForward) -> list[tuple[inspect.Parameter, Any]]:
    try:
        bound = inspect.signature(type(run.owner).forward).bind(run.owner, *run.args, **run.kwargs)
    except (TypeError, ValueError):
        return []
    bound.apply_defaults()
    parameters = list(bound.signature.parameters.values())[1:]
    return [(parameter, bound.arguments[parameter.name]) for parameter in parameters]


def _constant(value: Any) -> Any:
    return value if value is None or type(value) in (bool, int, float, str) else VARIES


def _same(one: Any, other: Any) -> bool:
    return one is other or (type(one) is type(other) and one == other)


def _without_tensors(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(_without_tensor(value) for value in values)


def _without_tensor(value: Any) -> Any:
    # Holding on to activations would keep the whole forward pass in memory.
    keep = isinstance(value, nn.Parameter) or not any(
        isinstance(leaf, Tensor) for leaf in tree_leaves(value)
    )
    return value if keep else None
