"""Presets: which sites to begin from, each with its reason. A table.

A preset leaves sites out before any budget; a site that the user includes by its very name stays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn

from dynsurgeon.config import SurgeryConfig
from dynsurgeon.surgery.decide.settings import site_layer, site_settings
from dynsurgeon.surgery.sites.candidates import Candidate, behind_convolutions
from dynsurgeon.surgery.sites.select import names_exactly
from dynsurgeon.surgery.sites.survey import Execution

POSITIONS_PER_EXPERT = 64
"""Places of the output map, for each kernel of the bank, from which on a bank counts as cheap.

Mixing reads K kernels once a sample, 4 K bytes for each weight of the static kernel; the
convolution uses each weight at every place of its output. With B bytes and M multiply-adds a
second, mixing takes ``4 K / B`` a weight beside ``places / M``: the share ``K / places * 4 M / B``,
whatever the channels are.
"""

PRODUCTS_PER_OUTPUT = 256
"""Multiply-adds of the convolution before, for each of its outputs, from which on a DY-ReLU is
cheap beside it: it goes over the map some five times, and does as many products there."""


@dataclass(frozen=True)
class Preset:
    """One choice of sites.

    Attributes:
        name: Its name, as a user gives it.
        summary: Which sites it takes, in one line.
        reason: Why one would choose it.
        keeps: Says which of the candidates stay in.
    """

    name: str
    summary: str
    reason: str
    keeps: Callable[[list[Candidate], SurgeryConfig], Iterable[Candidate]]


def apply_preset(candidates: list[Candidate], config: SurgeryConfig) -> None:
    """Set the reason of every candidate that the configuration's preset leaves out."""
    kept = {id(candidate) for candidate in PRESETS[config.preset].keeps(candidates, config)}
    for candidate in candidates:
        if id(candidate) not in kept and not names_exactly(config.include, candidate):
            candidate.reason = candidate.reason or f"left out by the preset {config.preset}"


def _everything(candidates: list[Candidate], config: SurgeryConfig) -> Iterable[Candidate]:
    return candidates


def _last_pointwise(candidates: list[Candidate], config: SurgeryConfig) -> Iterable[Candidate]:
    # The block ends where a 1x1 convolution takes what a spatial one gave. Gates lie between the
    # two in some blocks, on a map of their own; a shortcut's 1x1 takes another map or strides, and
    # that of the next block follows a 1x1. The stem belongs to no block.
    convs = [c for c in candidates if c.is_convolution and _runs(c) and not _on_points(c)]
    for spatial, point in pairwise(convs[1:]):
        given, taken = _runs(spatial)[0].output_shape, _runs(point)[0]
        if _is_pointwise(spatial) or not _is_pointwise(point):
            continue
        if given == taken.input_shape and given[2:] == taken.output_shape[2:]:
            yield point


def _cheap(candidates: list[Candidate], config: SurgeryConfig) -> Iterable[Candidate]:
    for candidate in candidates:
        settings = site_settings(candidate, config)
        layer = site_layer(candidate, settings)
        kernels = 0 if layer is None else layer.kernels(settings)
        places = sum(math.prod(e.output_shape[2:]) for e in _runs(candidate))
        runs_fast = kernels == 0 or (_groups(candidate) == 1 and places > 0)
        if runs_fast and places >= POSITIONS_PER_EXPERT * kernels:
            yield candidate


def _recommended(candidates: list[Candidate], config: SurgeryConfig) -> Iterable[Candidate]:
    called = [c for c in candidates if _runs(c)]
    for activation, convolution in behind_convolutions(called):
        if _products(convolution) >= PRODUCTS_PER_OUTPUT:
            yield activation


def _runs(candidate: Candidate) -> list[Execution]:
    return [e for site in candidate.sites for e in site.executions if e.mode == "eval"]


def _on_points(candidate: Candidate) -> bool:
    return all(set(e.input_shape[2:]) <= {1} for e in _runs(candidate))


def _is_pointwise(candidate: Candidate) -> bool:
    weight = _kernel(candidate)
    return weight is not None and set(weight.shape[2:]) <= {1}


def _products(candidate: Candidate) -> int:
    """Return the multiply-adds of a convolution for each of its outputs."""
    weight = _kernel(candidate)
    if weight is None:
        return 0
    channels = _runs(candidate)[0].input_shape[1]
    return channels // _groups(candidate) * math.prod(weight.shape[2:])


def _kernel(candidate: Candidate) -> Tensor | None:
    module, site = candidate.module, candidate.sites[0]
    if isinstance(module, nn.modules.conv._ConvNd):
        return module.weight
    weight = site.kwargs.get("weight", site.args[1] if len(site.args) > 1 else None)
    return weight if isinstance(weight, nn.Parameter) else None


def _groups(candidate: Candidate) -> int:
    module, site = candidate.module, candidate.sites[0]
    if isinstance(module, nn.modules.conv._ConvNd):
        return module.groups
    # The seventh argument of every functional convolution, transposed or not.
    groups: int = site.kwargs.get("groups", site.args[6] if len(site.args) > 6 else 1)
    return groups


PRESETS: Mapping[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            "all",
            "every site",
            "most capacity, and what both papers report on",
            _everything,
        ),
        Preset(
            "recommended",
            f"activations behind convolutions of at least {PRODUCTS_PER_OUTPUT} multiply-adds an "
            "output, and no convolution",
            "DY-ReLU gained as much as dynamic convolution where both were measured, for a third "
            "of the latency; behind thin and depthwise convolutions it costs more than they do",
            _recommended,
        ),
        Preset(
            "last-1x1",
            "the last 1x1 convolution of each bottleneck or inverted residual",
            "where arXiv 1912.03458 found one dynamic layer a block to give most; it is wide, so "
            "its bank serves many multiply-adds, and no depthwise convolution is touched",
            _last_pointwise,
        ),
        Preset(
            "balanced",
            f"every activation, and ungrouped convolutions with at least {POSITIONS_PER_EXPERT} "
            "output positions a kernel",
            "a bank is cheap where each of its weights is used at many places; depthwise "
            "convolutions lose their fast layout in onnxruntime; on mobile networks the "
            "activations double the time, --relu none leaves them out",
            _cheap,
        ),
    )
}
