"""Decide, before anything is traced or cut, which candidates stay static, and why.

Each objection looks at one candidate and returns why it stays, or None. The first reason counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn
from torch.nn.utils import parametrize

from dynsurgeon.config import SurgeryConfig
from dynsurgeon.errors import SurgeryError
from dynsurgeon.operators.contract import ActivationLayer, ConvolutionLayer
from dynsurgeon.operators.static import STATIC_CONVOLUTIONS
from dynsurgeon.registry import operator_of
from dynsurgeon.surgery.decide.activations import activation_form
from dynsurgeon.surgery.decide.settings import site_layer, site_settings
from dynsurgeon.surgery.sites.candidates import Candidate
from dynsurgeon.surgery.sites.hooks import has_hooks, rewrites_weight
from dynsurgeon.surgery.sites.select import matches, names_exactly
from dynsurgeon.surgery.sites.survey import Survey


@dataclass
class Context:
    """What the objections know beside the candidate itself."""

    config: SurgeryConfig
    survey: Survey
    stem: Candidate | None
    unbatched: bool
    trains: bool
    parameter_users: dict[int, set[nn.Module]]


def judge_candidates(
    model: nn.Module, candidates: list[Candidate], survey: Survey, config: SurgeryConfig
) -> None:
    """Set the `reason` of every candidate that has to stay static."""
    convs = [c for c in candidates if c.sites and c.is_convolution]
    context = Context(
        config=config,
        survey=survey,
        stem=convs[0] if convs else None,
        unbatched=bool(convs) and all(map(_has_no_batch, convs)),
        trains=any(parameter.requires_grad for parameter in model.parameters()),
        parameter_users=_parameter_users(model),
    )
    for candidate in candidates:
        objections = CONVOLUTION_OBJECTIONS if candidate.is_convolution else ACTIVATION_OBJECTIONS
        for objection in (*COMMON_OBJECTIONS, *objections):
            candidate.reason = candidate.reason or objection(candidate, context)


def _left_alone(candidate: Candidate, context: Context) -> str | None:
    if getattr(context.config, candidate.role) is not None:
        return None
    what = "convolutions" if candidate.is_convolution else "activations"
    return f"{what} are left alone ({candidate.role}=None)"


def _not_selected(candidate: Candidate, context: Context) -> str | None:
    for pattern in context.config.exclude:
        if matches(pattern, candidate):
            return f"excluded by {pattern!r}"
    include = context.config.include
    if include and not any(matches(pattern, candidate) for pattern in include):
        return "not included"
    return None


def _not_real(candidate: Candidate, context: Context) -> str | None:
    for execution in (e for site in candidate.sites for e in site.executions):
        if not execution.dtype.is_floating_point:
            return f"computes in {str(execution.dtype).removeprefix('torch.')}, not in real numbers"
    return None


def _stem(candidate: Candidate, context: Context) -> str | None:
    if not context.config.skip_stem or names_exactly(context.config.include, candidate):
        return None
    return "is the stem, the first convolution" if candidate is context.stem else None


def _on_points(candidate: Candidate, context: Context) -> str | None:
    if not context.config.skip_points or names_exactly(context.config.include, candidate):
        return None
    shapes = [e.input_shape[2:] for site in candidate.sites for e in site.executions]
    if shapes and all(set(shape) <= {1} for shape in shapes):
        return "works on a 1x1 map, as in a gate or a pooled branch"
    return None


def _patchify(candidate: Candidate, context: Context) -> str | None:
    module = candidate.module
    if not context.config.skip_patchify or names_exactly(context.config.include, candidate):
        return None
    if not isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        return None
    size, stride = tuple(module.kernel_size), tuple(module.stride)
    if size == stride and max(size) > 1 and module.padding in ("valid", (0,) * len(size)):
        return "cuts patches (its stride is its kernel)"
    return None


def _frozen(candidate: Candidate, context: Context) -> str | None:
    """Leave a convolution alone that is not to learn: its bank would cost, and stay as it starts.

    So the fixed convolution in the head of a detector, which takes an expectation. Where nothing at
    all trains, the model was frozen for the time being, and its sites are as good as any.
    """
    if not context.config.skip_frozen or names_exactly(context.config.include, candidate):
        return None
    parameters = _own_parameters(candidate)
    if context.trains and parameters and not any(p.requires_grad for p in parameters):
        return "is frozen, in a model that trains (skip_frozen=False converts it)"
    return None


def _reparametrized(candidate: Candidate, context: Context) -> str | None:
    module = candidate.module
    if module is None:
        return None
    if parametrize.is_parametrized(module):
        return (
            "has parametrized weights: remove_parametrizations (torch.nn.utils.parametrize) first"
        )
    if rewrites_weight(module):
        return "a torch.nn.utils hook recomputes its weight (weight_norm, prune): remove it first"
    return None


def _weight_used_elsewhere(candidate: Candidate, context: Context) -> str | None:
    if candidate.module is None:
        return None
    for name, parameter in candidate.module.named_parameters(recurse=False):
        if len(context.parameter_users[id(parameter)]) > 1:
            return f"shares its {name} with another module"
        if id(parameter) in context.survey.foreign_reads:
            return f"its {name} is read outside its own forward"
    return None


def _extra_arguments(candidate: Candidate, context: Context) -> str | None:
    if any(e.extra_arguments for site in candidate.sites for e in site.executions):
        return "is not called with just its input, by position"
    return None


def _not_for_operator(candidate: Candidate, context: Context) -> str | None:
    settings = site_settings(candidate, context.config)
    layer = site_layer(candidate, settings)
    if layer is None:
        return f"the operator {operator_of(settings).name} has no form of {candidate.operation}"
    try:
        if issubclass(layer, ActivationLayer):
            return layer.obstacle(activation_form(candidate), settings)
        assert issubclass(layer, ConvolutionLayer)
        return layer.obstacle(candidate.module, settings)
    except (SurgeryError, TypeError) as error:
        return str(error)


def _channels(candidate: Candidate, context: Context) -> str | None:
    executions = [e for site in candidate.sites for e in site.executions]
    if any(len(e.input_shape) < 2 for e in executions):
        return "its input has no channel axis"
    if any(len(e.input_shape) > 5 for e in executions):
        return "its input has more than three spatial axes"
    if any(e.channels_last_axis for e in executions):
        return "its channels are on the last axis (it follows a Linear)"
    widths = sorted({e.input_shape[1] for e in executions})
    if len(widths) > 1:
        return f"is called with {', '.join(map(str, widths))} channels"
    return "its input has no channels" if 0 in widths else None


def _no_batch(candidate: Candidate, context: Context) -> str | None:
    alone = _has_no_batch(candidate) if candidate.is_convolution else context.unbatched
    return "runs without a batch axis: give the example inputs one" if alone else None


def _first_axis(candidate: Candidate, context: Context) -> str | None:
    inputs = context.survey.inputs
    if inputs.get("train", inputs["eval"]) is inputs["eval"]:
        return None  # train mode did not run on a doubled batch
    first = {e.mode: e.input_shape for s in candidate.sites for e in reversed(s.executions)}
    if len(first) == 2 and first["eval"][:1] == first["train"][:1]:
        return "its first axis is not the batch (it does not grow with it)"
    return None


def _hooked(candidate: Candidate, context: Context) -> str | None:
    if candidate.rewritten and candidate.module is not None and has_hooks(candidate.module):
        return "has hooks and is called at several places"
    return None


Objection = Callable[[Candidate, Context], str | None]

COMMON_OBJECTIONS: tuple[Objection, ...] = (_left_alone, _not_selected, _not_real, _reparametrized)
CONVOLUTION_OBJECTIONS: tuple[Objection, ...] = (
    _stem,
    _on_points,
    _patchify,
    _frozen,
    _no_batch,
    _weight_used_elsewhere,
    _extra_arguments,
    _not_for_operator,
)
ACTIVATION_OBJECTIONS: tuple[Objection, ...] = (
    _extra_arguments,
    _not_for_operator,
    _no_batch,
    _channels,
    _first_axis,
    _weight_used_elsewhere,
    _hooked,
)


def _has_no_batch(conv: Candidate) -> bool:
    assert conv.static is not None
    axes = STATIC_CONVOLUTIONS[conv.static]
    return any(len(e.input_shape) == axes + 1 for s in conv.sites for e in s.executions)


def _own_parameters(candidate: Candidate) -> list[nn.Parameter]:
    if candidate.module is not None:
        return list(candidate.module.parameters())
    given = ((*site.args, *site.kwargs.values()) for site in candidate.sites)
    return [value for values in given for value in values if isinstance(value, nn.Parameter)]


def _parameter_users(model: nn.Module) -> dict[int, set[nn.Module]]:
    users: dict[int, set[nn.Module]] = defaultdict(set)
    for module in model.modules():
        for parameter in module._parameters.values():
            if parameter is not None:
                users[id(parameter)].add(module)
    return users
