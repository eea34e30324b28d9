"""Calibrate a converted network on the user's data: route samples apart before training starts.

From identical kernels and a weak random attention the kernels hardly separate. An attention fitted
to the data gives every kernel its own kind of sample from the first step; and since the kernels
are identical, it changes nothing of what the network computes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

import torch
from torch import Tensor, nn

from dynsurgeon.checks import require_count, require_number, require_positive
from dynsurgeon.errors import ConfigError, UnsupportedModelError
from dynsurgeon.operators import KernelMixture
from dynsurgeon.progress import counted
from dynsurgeon.recipe import mark_fitted
from dynsurgeon.training.clusters import cluster, principal
from dynsurgeon.training.feed import Batch
from dynsurgeon.training.fitting import fit_attention
from dynsurgeon.training.gather import Statistics, gather
from dynsurgeon.training.report import AttentionReport, dynamic_convolutions, summarize

COMPONENTS = 8
"""Clusters are sought among so many principal components."""


def calibrate(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    entropy: float = 0.65,
    temperature: float | None = 1.0,
    shrinkage: float = 0.5,
    samples: int | None = 4096,
    seed: int = 0,
    statistics: Statistics = "batch",
) -> AttentionReport:
    """Fit every kernel attention of a freshly converted network to data, in place.

    Each attention learns to tell K clusters of samples apart, by the pooled input of its
    convolution. The network computes what it computed before, since its kernels are still
    identical. Its recipe records that it was fitted.

    Args:
        model: A converted network whose kernels are identical (``start="identical"``).
        batches: Tensors; tuples whose first entry is the input, as data loaders yield them; or
            mappings of keyword arguments. A few thousand samples of the training data will do.
        entropy: Mean entropy of the attention to reach, over log K; 1 is flat, 0 is one-hot.
        temperature: The temperature at which the attention is to have that entropy; it is set. For
            a schedule, give its last temperature. None for the one that each attention has.
        shrinkage: Share of the mean variance of a site's features that is added to each channel's.
            Directions in which samples hardly differ need large weights, and then a little drift of
            the features in training makes the attention one-hot for good: so it was with 0.05.
        samples: Stop after about so many samples; None reads all batches.
        seed: Seed of the clusters' starts.
        statistics: By what BatchNorm normalises meanwhile: ``"batch"`` as in training, with batches
            of 32 samples or more; ``"running"`` as in eval mode, where training does so too. On
            images unlike those that a network was pretrained on the two are far apart, and an
            attention that was fitted to one is one-hot under the other.

    Returns:
        The attention of every site, as fitted.

    Raises:
        UnsupportedModelError: The model has no dynamic convolution, or kernels that differ.
        ConfigError: An argument is not valid, or there is no batch.
    """
    _check(entropy, temperature, shrinkage, samples, statistics)
    convolutions = dynamic_convolutions(model)
    _require_identical(convolutions)
    seen, count = gather(model, convolutions, batches, samples, statistics)
    if not count:
        raise ConfigError(
            "each batch holds a single sample, which has no statistics: give larger batches, or "
            "statistics='running'"
        )
    notes, attention = [], {}
    for name, conv in counted(convolutions.items(), "attentions"):
        if not (pieces := seen.pop(name)):
            continue
        if temperature is not None:
            conv.attention.temperature.fill_(temperature)
        features = torch.cat(pieces).double()
        if reason := _calibrate_site(conv, features, entropy, shrinkage, seed):
            notes.append(f"{name}: attention left as it was, {reason}")
        attention[name] = _attention_on(conv, features)
    if len(notes) < len(attention):
        mark_fitted(model)
    return summarize(convolutions, attention, count, tuple(notes))


def _calibrate_site(
    conv: KernelMixture, features: Tensor, entropy: float, shrinkage: float, seed: int
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
    labels = cluster(principal(standard, COMPONENTS), conv.experts, generator)
    fit_attention(conv.attention, features, labels, entropy, shrinkage, generator)
    return None


@torch.no_grad()
def _attention_on(conv: KernelMixture, features: Tensor) -> Tensor:
    weight = conv.attention.fc1.weight
    pi: Tensor = conv.attention(features.to(weight))
    return pi.double().cpu()


def _require_identical(convolutions: dict[str, KernelMixture]) -> None:
    differing = [name for name, conv in convolutions.items() if not conv.has_identical_kernels]
    if differing:
        shown = ", ".join(differing[:3]) + (" …" if len(differing) > 3 else "")
        raise UnsupportedModelError(
            f"the kernels of {shown} differ, so another attention would change the function: "
            "calibrate right after convert with start='identical'"
        )


def _check(
    entropy: float,
    temperature: float | None,
    shrinkage: float,
    samples: int | None,
    statistics: str,
) -> None:
    require_number("entropy", entropy)
    if not 0 < entropy < 1:
        raise ConfigError(f"entropy must be between 0 and 1, got {entropy!r}")
    if temperature is not None:
        require_positive("temperature", temperature)
    require_positive("shrinkage", shrinkage)
    if samples is not None:
        require_count("samples", samples)
    if statistics not in get_args(Statistics):
        raise ConfigError(f"statistics must be 'batch' or 'running', got {statistics!r}")
