"""Fit a kernel attention so that it routes samples by given labels, at a given mean entropy."""

from __future__ import annotations

import torch
from torch import Tensor

from dynsurgeon.operators import KernelAttention
from dynsurgeon.training.report import entropy_of

RIDGE = 1e-3


@torch.no_grad()
def fit_attention(
    attention: KernelAttention,
    features: Tensor,
    labels: Tensor,
    entropy: float,
    shrinkage: float,
    generator: torch.Generator,
) -> None:
    """Set both layers of `attention`, in closed form.

    The hidden layer reads the directions that tell the labels apart best (linear discriminants),
    each with both signs, as a ReLU keeps one; what is left of it reads random directions. The last
    layer is the ridge regression of the labels, scaled to the entropy and balanced so that every
    kernel gets the same share of the samples.

    Args:
        attention: The attention; its temperature is the one in force.
        features: Its pooled inputs ``(N, C)``, in float64.
        labels: The kernel that each sample should lead to ``(N,)``.
        entropy: Mean entropy to reach, over log K.
        shrinkage: Share of the mean variance that is added to every channel's.
        generator: Source of the random directions, on the CPU.
    """
    experts = attention.fc2.out_features
    targets = torch.nn.functional.one_hot(labels, experts).to(features)
    weight, bias = _hidden_layer(attention, features, targets, shrinkage, generator)
    hidden = torch.relu(features @ weight.T + bias)
    scores, slope, offset = _ridge(hidden, targets)
    scale, balance = _sharpen(scores, entropy)
    tau = float(attention.temperature)
    for parameter, value in (
        (attention.fc1.weight, weight),
        (attention.fc1.bias, bias),
        (attention.fc2.weight, tau * scale * slope),
        (attention.fc2.bias, tau * (scale * offset + balance)),
    ):
        parameter.copy_(value)


def _hidden_layer(
    attention: KernelAttention,
    features: Tensor,
    targets: Tensor,
    shrinkage: float,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    mean = features.mean(0)
    centred = features - mean
    covariance = centred.T @ centred / len(features)
    covariance += shrinkage * covariance.diagonal().mean() * torch.eye(len(covariance)).to(mean)
    factor = torch.linalg.cholesky(covariance)
    # Columns of the whitened cross-covariance: its left singular vectors are the discriminants.
    white = torch.linalg.solve_triangular(factor, centred.T, upper=False)
    cross = white @ (targets - targets.mean(0)) / len(features)
    width, half = attention.fc1.out_features, attention.fc1.out_features // 2
    known = torch.linalg.svd(cross, full_matrices=False).U[:, : min(half, targets.shape[1] - 1)]
    extra = torch.randn(len(mean), half - known.shape[1], generator=generator).to(mean)
    extra = extra - known @ (known.T @ extra)
    directions = torch.cat([known, extra / extra.norm(dim=0).clamp(min=1e-12)], dim=1)
    rows = torch.linalg.solve_triangular(factor.T, directions, upper=True).T
    rows = rows / (centred @ rows.T).std(0, correction=0).clamp(min=1e-12).unsqueeze(1)
    rows = torch.cat([rows, -rows, rows[: width - 2 * half]])
    return rows, -rows @ mean


def _ridge(hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    mean, target_mean = hidden.mean(0), targets.mean(0)
    centred = hidden - mean
    gram = centred.T @ centred / len(hidden) + RIDGE * torch.eye(hidden.shape[1]).to(hidden)
    slope = torch.linalg.solve(gram, centred.T @ (targets - target_mean) / len(hidden)).T
    return centred @ slope.T, slope, -slope @ mean


def _sharpen(scores: Tensor, entropy: float) -> tuple[float, Tensor]:
    """Find the scale of the scores and the offsets of the kernels: by halves, and in turn."""
    low, high = 0.0, 1e4
    balance = scores.new_zeros(scores.shape[1])
    for _ in range(60):
        scale = (low * high) ** 0.5 if low > 0 else min(high / 2, 1.0)
        balance = _balanced(scale * scores, balance)
        if entropy_of(torch.softmax(scale * scores + balance, dim=1)) > entropy:
            low = scale
        else:
            high = scale
    return scale, balance


def _balanced(logits: Tensor, balance: Tensor) -> Tensor:
    """Move the offsets until each kernel has the same mean share."""
    for _ in range(20):
        share = torch.softmax(logits + balance, dim=1).mean(0)
        balance = balance - (share * len(share)).clamp(min=1e-6).log()
        balance = balance - balance.mean()
    return balance
