"""k-means with k-means++ starts (Arthur and Vassilvitskii, 2007), in float64 on the CPU."""

from __future__ import annotations

import torch
from torch import Tensor

RESTARTS = 8
ITERATIONS = 50


def cluster(points: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Cluster points ``(N, D)`` and return the label ``(N,)`` of each, the best of 8 starts.

    The clusters are evened out at the end, to about as many points in each: a kernel that a few
    samples lead to would learn little.
    """
    runs = [_lloyd(points, _start(points, count, generator)) for _ in range(RESTARTS)]
    return _evened(points, min(runs, key=lambda run: run[1])[0])


def principal(points: Tensor, most: int) -> Tensor:
    """Return at most `most` principal components ``(N, D)`` of centred points, at their scale."""
    centred = points - points.mean(0)
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(points))
    kept = values.flip(0)[:most] > 1e-9 * values[-1].clamp(min=1e-30)
    components: Tensor = centred @ vectors.flip(1)[:, :most][:, kept]
    return components


def _start(points: Tensor, count: int, generator: torch.Generator) -> Tensor:
    chosen = [points[torch.randint(len(points), (1,), generator=generator)[0]]]
    for _ in range(count - 1):
        nearest = torch.cdist(points, torch.stack(chosen)).pow(2).amin(1)
        weights = nearest if nearest.sum() > 0 else torch.ones_like(nearest)
        chosen.append(points[torch.multinomial(weights, 1, generator=generator)[0]])
    return torch.stack(chosen)


def _evened(points: Tensor, centres: Tensor) -> Tensor:
    """Assign points to centres at prices that make all clusters about equally large (Sinkhorn)."""
    costs = torch.cdist(points, centres).pow(2)
    softness = 0.05 * costs.mean().clamp(min=1e-30)
    price = costs.new_zeros(len(centres))
    for _ in range(200):
        share = torch.softmax(-(costs + price) / softness, dim=1).mean(0)
        price = price + softness * (share * len(share)).clamp(min=1e-6).log()
    return (costs + price).argmin(1)


def _lloyd(points: Tensor, centres: Tensor) -> tuple[Tensor, float]:
    """Move the centres until no point changes its own; return them and the squared distances."""
    labels = torch.cdist(points, centres).argmin(1)
    for _ in range(ITERATIONS):
        sums = torch.zeros_like(centres).index_add_(0, labels, points)
        sizes = torch.bincount(labels, minlength=len(centres)).unsqueeze(1)
        centres = torch.where(sizes > 0, sums / sizes.clamp(min=1), centres)
        before, labels = labels, torch.cdist(points, centres).argmin(1)
        if torch.equal(before, labels):
            break
    return centres, float((points - centres[labels]).pow(2).sum())
