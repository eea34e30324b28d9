"""From what a site said of each sample to what a person reads."""

from __future__ import annotations

import torch
from torch import Tensor

from dynsurgeon.inspection.results import (
    QUANTILES,
    Curves,
    Factor,
    KernelUse,
    Places,
    SiteInspection,
)
from dynsurgeon.inspection.watch import KERNELS, Watch
from dynsurgeon.operators import KernelMixture
from dynsurgeon.training.moments import Moments
from dynsurgeon.training.report import describe

LEADERS, CHANNELS, POINTS = 5, 4, 61
REACH = 3.0
"""Curves are drawn over so many standard deviations of what comes in."""


def summarize_site(name: str, watch: Watch, classes: int) -> SiteInspection:
    """Describe one site that ran.

    Args:
        name: Its dotted name.
        watch: What it said.
        classes: Number of classes of the samples; without labels they are all of class 0.
    """
    factors = tuple(_factor(kind, watch) for kind in watch.values)
    return SiteInspection(
        name=name,
        operator=type(watch.layer).__name__,
        moves=max(factor.variation for factor in factors),
        kernels=_kernels(name, watch, classes),
        factors=factors,
        curves=_curves(watch, classes),
        places=_places(watch),
    )


def _factor(kind: str, watch: Watch) -> Factor:
    values = torch.cat(watch.values[kind]).flatten().double()
    levels = torch.tensor(QUANTILES, dtype=torch.float64)
    # `quantile` refuses more than 16 million numbers.
    found = torch.quantile(values[:: max(1, values.numel() // 1_000_000)], levels)
    return Factor(kind, tuple(found.tolist()), _deviation(watch.spread[kind]))


def _deviation(moments: Moments) -> float:
    if moments.count < 2:
        return 0.0
    return float(moments.estimate()[1].mean().sqrt())


def _kernels(name: str, watch: Watch, classes: int) -> KernelUse | None:
    layer = watch.layer
    if not (watch.weights and isinstance(layer, KernelMixture) and layer.mixes):
        return None
    weights = torch.cat(watch.weights)
    order = torch.argsort(weights, dim=0, descending=True, stable=True)[:LEADERS]
    return KernelUse(
        report=describe(name, layer, weights),
        weights=weights,
        by_class=watch.means(KERNELS, classes),
        distances=_distances(layer.weight),
        leaders=tuple(tuple(column) for column in order.T.tolist()),
    )


def _distances(bank: Tensor) -> tuple[float, ...]:
    flat = bank.detach().double().cpu().flatten(1)
    scale = flat[0].pow(2).mean().sqrt().clamp(min=1e-30)
    return tuple(((flat - flat[:1]).pow(2).mean(1).sqrt() / scale).tolist())


def _curves(watch: Watch, classes: int) -> Curves | None:
    if not watch.inputs.count > 1:
        return None
    mean, variance = (float(tensor) for tensor in watch.inputs.estimate())
    reach = abs(mean) + REACH * variance**0.5 or 1.0
    parameter = next(watch.layer.parameters(), torch.zeros(()))
    x = torch.linspace(-reach, reach, POINTS, dtype=torch.float64).to(parameter)
    means = {kind: watch.means(kind, classes).to(parameter) for kind in watch.by_class}
    with torch.no_grad():
        y = watch.layer.curves(x, means)
    if y is None:
        return None
    y = y.double().cpu()
    apart = _apart(y)
    channels = apart.argsort(descending=True, stable=True)[:CHANNELS].tolist()
    return Curves(x.double().cpu(), tuple(channels), y[:, channels].transpose(0, 1))


def _apart(y: Tensor) -> Tensor:
    """Return how far the classes' curves ``(classes, C, P)`` are apart in each channel."""
    there = y[~y.isnan().flatten(1).any(1)]
    return there.var(0, correction=0).mean(-1)


def _places(watch: Watch) -> Places | None:
    maps = {number: found for number, found in watch.maps.items() if found.dim() == 2}
    return Places(tuple(maps), torch.stack(list(maps.values()))) if maps else None
