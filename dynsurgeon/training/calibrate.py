"""Calibrate a converted network on the user's data: route samples apart before training starts.

From identical kernels and a weak random attention the kernels hardly separate. An attention fitted
to the data gives every kernel its own kind of sample from the first step; and since the kernels
are identical, it changes nothing of what the network computes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynsurgeon.checks import require_choice, require_count, require_number, require_positive
from dynsurgeon.errors import ConfigError, UnsupportedModelError
from dynsurgeon.operators import DynamicConv
from dynsurgeon.training.clusters import cluster, principal
from dynsurgeon.training.feed import Batch
from dynsurgeon.training.fitting import fit_attention
from dynsurgeon.training.gather import Loss, Seen, gather
from dynsurgeon.training.report import AttentionReport, dynamic_convolutions, summarize

Aim = Literal["features", "gradients"]
COMPONENTS = 8
"""Clusters are sought among so many principal components."""


def calibrate(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    by: Aim = "features",
    loss: Loss | None = None,
    entropy: float = 0.65,
    temperature: float = 1.0,
    shrinkage: float = 0.5,
    samples: int | None = 4096,
    seed: int = 0,
) -> AttentionReport:
    """Fit every kernel attention of a freshly converted network to data, in place.

    Each attention learns to tell K clusters of samples apart. The network computes what it computed
    before, since its kernels are still identical.

    Args:
        model: A converted network whose kernels are identical (``start="identical"``).
        batches: Tensors; tuples whose first entry is the input, as data loaders yield them; or
            mappings of keyword arguments. A few thousand samples of the training data will do.
        by: What is clustered: ``"features"``, the pooled input of each convolution; or
            ``"gradients"``, the direction in which a sample pulls the kernel, as far as the pooled
            input can tell it.
        loss: For ``"gradients"``: a function of the outputs and the batch; the cross entropy
            against ``batch[1]`` when None.
        entropy: Mean entropy of the attention to reach, over log K; 1 is flat, 0 is one-hot.
        temperature: The temperature at which the attention is to have that entropy; it is set. For
            a schedule, give its last temperature.
        shrinkage: Share of the mean variance of a site's features that is added to each channel's.
            Directions in which samples hardly differ need large weights, and then a little drift of
            the features in training makes the attention one-hot for good: so it was with 0.05.
        samples: Stop after about so many samples; None reads all batches.
        seed: Seed of the clusters' starts.

    Returns:
        The attention of every site, as fitted.

    Raises:
        UnsupportedModelError: The model has no dynamic convolution, or kernels that differ.
        ConfigError: An argument is not valid, or there is no batch.
    """
    _check(by, entropy, temperature, samples)
    require_positive("shrinkage", shrinkage)
    convolutions = dynamic_convolutions(model)
    _require_identical(convolutions)
    if by == "gradients" and loss is None:
        loss = cross_entropy
    pulling = loss if by == "gradients" else None
    seen, count = gather(model, convolutions, batches, samples, pulling, seed)
    notes = []
    attention = {}
    for name, conv in convolutions.items():
        if not seen[name].features:
            continue
        conv.attention.temperature.fill_(temperature)
        features = torch.cat(seen[name].features)
        if reason := _calibrate_site(conv, features, seen[name], entropy, shrinkage, seed):
            notes.append(f"{name}: attention left as it was, {reason}")
        attention[name] = _attention_on(conv, features)
    return summarize(convolutions, attention, count, tuple(notes))


def cross_entropy(outputs: Tensor, batch: Batch) -> Tensor:
    """The default loss: cross entropy of ``(N, classes)`` against ``batch[1]``, summed up."""
    if not isinstance(batch, (tuple, list)) or len(batch) < 2:
        raise ConfigError("by='gradients' needs batches of (inputs, labels), or a loss")
    return F.cross_entropy(outputs, batch[1], reduction="sum")


def _calibrate_site(
    conv: DynamicConv,
    features: Tensor,
    seen: Seen,
    entropy: float,
    shrinkage: float,
    seed: int,
) -> str | None:
    """Fit one attention; return why it can't be done, or None."""
    if conv.experts == 1:
        return "K is 1"
    if len(features) <= conv.experts:
        return f"{len(features)} samples are too few"
    generator = torch.Generator().manual_seed(seed)
    scale = features.std(0, correction=0)
    if not scale.max() > 1e-9 * features.abs().max():
        return "its input does not vary"
    standard = (features - features.mean(0)) / (scale + 1e-3 * scale.max())
    points = principal(standard, COMPONENTS)
    if seen.pulls:
        points = principal(_predictable(standard, torch.cat(seen.pulls)), COMPONENTS)
    labels = cluster(points, conv.experts, generator)
    fit_attention(conv.attention, features, labels, entropy, shrinkage, generator)
    return None


def _predictable(features: Tensor, pulls: Tensor) -> Tensor:
    """Return that part of the gradients ``(N, M)`` that features ``(N, C)`` predict, by ridge."""
    basis = torch.cat([features, features.abs()], dim=1)
    basis = basis - basis.mean(0)
    gram = basis.T @ basis / len(basis)
    gram += 0.01 * gram.diagonal().mean() * torch.eye(len(gram)).to(gram)
    slope = torch.linalg.solve(gram, basis.T @ (pulls - pulls.mean(0)) / len(basis))
    predicted: Tensor = basis @ slope
    return predicted


@torch.no_grad()
def _attention_on(conv: DynamicConv, features: Tensor) -> Tensor:
    weight = conv.attention.fc1.weight
    pi: Tensor = conv.attention(features.to(weight))
    return pi.double().cpu()


def _require_identical(convolutions: dict[str, DynamicConv]) -> None:
    differing = [
        name
        for name, conv in convolutions.items()
        if any(
            bank is not None and bool((bank != bank[:1]).any()) for bank in (conv.weight, conv.bias)
        )
    ]
    if differing:
        shown = ", ".join(differing[:3]) + (" …" if len(differing) > 3 else "")
        raise UnsupportedModelError(
            f"the kernels of {shown} differ, so another attention would change the function: "
            "calibrate right after convert with start='identical'"
        )


def _check(by: str, entropy: float, temperature: float, samples: int | None) -> None:
    require_choice("by", by, get_args(Aim))
    require_number("entropy", entropy)
    if not 0 < entropy < 1:
        raise ConfigError(f"entropy must be between 0 and 1, got {entropy!r}")
    require_positive("temperature", temperature)
    if samples is not None:
        require_count("samples", samples)
