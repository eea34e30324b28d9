"""BatchNorm statistics that fit the weights: averaged over data, not followed by momentum.

Running statistics lag behind weights that change fast, the more the smaller BatchNorm's momentum:
what was learned is there in train mode, and not in eval mode.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dynsurgeon.checks import require_count
from dynsurgeon.errors import ConfigError, TrainingError
from dynsurgeon.running.run import preserved
from dynsurgeon.training.feed import Batch, feed, samples_of, take_batches
from dynsurgeon.training.moments import Estimate, Moments

BatchNorm = nn.modules.batchnorm._BatchNorm
Layers = dict[str, BatchNorm]
Estimates = dict[str, Estimate]
"""By the layer's name."""


@dataclass(frozen=True)
class BatchNormReport:
    """What became of the running statistics.

    Attributes:
        lag: How far each layer's output was off in eval mode: root mean square over the channels,
            in standard deviations. A momentum of 0.1 leaves less than 0.1 after some tens of steps
            at a low rate.
        samples: Number of samples that the statistics are of.
        unreached: Layers that did not run on them, left as they were.
    """

    lag: dict[str, float]
    samples: int
    unreached: tuple[str, ...] = ()

    @property
    def worst(self) -> float:
        """The largest lag of a layer; 0 where there is none."""
        return max(self.lag.values(), default=0.0)


def update_batch_norm(
    model: nn.Module, batches: Iterable[Batch], *, samples: int | None = 2048
) -> BatchNormReport:
    """Re-estimate the running statistics of BatchNorm on data, with the present weights, in place.

    Call it after training, or after averaging weights, on training inputs without random
    augmentation, as the network will see them in use (arXiv 1906.06423). Then every BatchNorm has
    mean and variance of all values that reached it, pooled (arXiv 2105.07576, section 3): of a
    layer's inputs it makes no difference how they came in batches, large or small, while the mean
    of the batches' variances, which momentum approaches, leaves out how the batches' means differ.
    Meanwhile each layer normalises by the statistics of its batch, as in training, so that the old
    ones play no part; give batches of 32 samples or more. All else is in eval mode: the statistics
    are those of the network as it is used, without drop-out.

    Layers without running statistics are left alone, and so are frozen ones: `FrozenBatchNorm2d`,
    and in a network in train mode whatever is in eval mode. (Frozen weights and biases don't matter
    here: such a layer normalises by its batch in training all the same.) Modes, momenta, counts of
    batches and the random state stay.

    Args:
        model: A network, converted or not.
        batches: Tensors; tuples whose first entry is the input, as data loaders yield them; or
            mappings of keyword arguments.
        samples: Stop after about so many samples; None reads all batches.

    Returns:
        What changed.

    Raises:
        ConfigError: An argument is not valid, there is no batch, or one holds a single value of
            some layer's channels.
        TrainingError: The statistics are no finite numbers; the network is left as it was.
    """
    if samples is not None:
        require_count("samples", samples)
    layers = tracked_layers(model)
    if not layers:
        return BatchNormReport({}, 0)
    found, count = estimate(model, layers, batches, samples)
    if broken := broken_layer(found):
        raise TrainingError(
            f"the BatchNorm statistics of '{broken}' are no finite numbers, nothing was changed: "
            "the weights have diverged, or there are such numbers in the batches"
        )
    unreached = tuple(name for name in layers if name not in found)
    report = BatchNormReport(lags(layers, found), count, unreached)
    put(layers, found)
    return report


def estimate(
    model: nn.Module, layers: Layers, batches: Iterable[Batch], samples: int | None
) -> tuple[Estimates, int]:
    """Return the statistics of these layers on data, and the number of samples; nothing changes.

    Raises:
        ConfigError: There is no batch, or one holds a single value of a layer's channels.
    """
    count = 0
    with gathering(model, layers) as moments:
        for batch in take_batches(model, batches, samples):
            feed(model, batch)
            count += samples_of(batch)
    return estimates_of(layers, moments), count


def tracked_layers(model: nn.Module) -> Layers:
    """Return the BatchNorm layers whose running statistics follow the data in training."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, BatchNorm)
        and module.track_running_stats
        and module.running_mean is not None
        and (module.training or not model.training)
    }


@contextmanager
def batch_statistics(model: nn.Module, layers: Layers) -> Iterator[None]:
    """Let these layers normalise by their batch, and all else be in eval mode; nothing is kept."""
    with preserved(model, "eval"):
        try:
            for layer in layers.values():
                layer.training, layer.track_running_stats = True, False
            yield
        finally:
            for layer in layers.values():
                layer.track_running_stats = True


@contextmanager
def gathering(model: nn.Module, layers: Layers) -> Iterator[dict[str, Moments]]:
    """Pool what reaches these layers while the block runs the network.

    Raises:
        ConfigError: A batch holds a single value of a layer's channels.
    """
    moments = {name: Moments() for name in layers}
    handles = [
        layer.register_forward_pre_hook(partial(_watch, name, moments[name]), with_kwargs=True)
        for name, layer in layers.items()
    ]
    try:
        with batch_statistics(model, layers):
            yield moments
    finally:
        for handle in handles:
            handle.remove()


def _watch(
    name: str, moments: Moments, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    values: Tensor = args[0] if args else kwargs["input"]
    if values.dim() > 1 and values.numel() == values.shape[1]:
        raise ConfigError(
            f"a batch holds one value of each channel of '{name}', which has no variance: give "
            "batches of two samples or more, and leave out a last one of a single sample"
        )
    moments.add(values)


def estimates_of(layers: Layers, moments: Mapping[str, Moments]) -> Estimates:
    """Return the statistics of the layers that ran, as their own buffers will hold them."""
    return {
        name: (_stored(mean, layers[name].running_mean), _stored(var, layers[name].running_var))
        for name, (mean, var) in ((n, m.estimate()) for n, m in moments.items() if m.count)
    }


def _stored(value: Tensor, buffer: Tensor | None) -> Tensor:
    assert buffer is not None
    return value.to(buffer.dtype)


def broken_layer(estimates: Estimates) -> str | None:
    """Return the first layer whose statistics are no finite numbers."""
    finite = {name: all(bool(t.isfinite().all()) for t in pair) for name, pair in estimates.items()}
    return next((name for name, fine in finite.items() if not fine), None)


def lags(layers: Layers, estimates: Estimates) -> dict[str, float]:
    """Return how far each layer's present statistics make its output differ, in deviations.

    Where `estimates` would give mean 0 and deviation 1, the present ones give a mean ``m`` and a
    deviation ``s``: the root of the mean of ``m^2 + (s - 1)^2``.
    """
    return {name: _lag(layers[name], *pair) for name, pair in estimates.items()}


def _lag(layer: BatchNorm, mean: Tensor, variance: Tensor) -> float:
    assert layer.running_mean is not None
    assert layer.running_var is not None
    scale = (layer.running_var.cpu().double() + layer.eps).sqrt()
    shift = (mean.double() - layer.running_mean.cpu().double()) / scale
    stretch = (variance.double() + layer.eps).sqrt() / scale - 1
    return float((shift.square() + stretch.square()).mean().sqrt())


@torch.no_grad()
def put(layers: Layers, estimates: Estimates) -> None:
    """Give the layers these running statistics."""
    for name, (mean, variance) in estimates.items():
        layer = layers[name]
        assert layer.running_mean is not None
        assert layer.running_var is not None
        layer.running_mean.copy_(mean)
        layer.running_var.copy_(variance)


def present(layers: Layers) -> Estimates:
    """Return copies of the running statistics that the layers have."""
    return {
        name: (layer.running_mean.clone(), layer.running_var.clone())
        for name, layer in layers.items()
        if layer.running_mean is not None and layer.running_var is not None
    }
