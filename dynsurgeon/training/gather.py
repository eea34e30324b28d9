"""What each attention sees on data, and in which direction each sample pulls the kernel.

The pull is the loss's gradient in the kernel that the sample was convolved with. It is kept as a
count sketch (Charikar, Chen and Farach-Colton, 2002): random signs, summed up in a few buckets,
which keeps the angles between samples to within the noise of the gradients themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dynsurgeon.operators import DynamicConv
from dynsurgeon.operators.attention import global_average
from dynsurgeon.operators.execution import forced_form, mix
from dynsurgeon.operators.geometry import ConvGeometry
from dynsurgeon.surgery.run import preserved
from dynsurgeon.training.feed import Batch, feed, samples_of, take_batches

SKETCH = 256
"""Buckets of the sketch of a sample's gradient."""

Loss = Callable[[Any, Batch], Tensor]


@dataclass
class Seen:
    """What one site saw, as lists of pieces in order.

    Attributes:
        features: Pooled inputs of the attention ``(N, C)``.
        pulls: Sketches of the gradients ``(N, SKETCH)``; empty without a loss.
    """

    features: list[Tensor] = field(default_factory=list)
    pulls: list[Tensor] = field(default_factory=list)


def gather(
    model: nn.Module,
    convolutions: dict[str, DynamicConv],
    batches: Iterable[Batch],
    samples: int | None,
    loss: Loss | None,
    seed: int,
) -> tuple[dict[str, Seen], int]:
    """Run the model in eval mode on data, and backwards too where there is a loss.

    Returns:
        What each site saw, and the number of samples.
    """
    seen = {name: Seen() for name in convolutions}
    names = {id(conv.weight): name for name, conv in convolutions.items()}
    count = 0
    with preserved(model, "eval"), _watched(convolutions, seen):
        for batch in take_batches(model, batches, samples):
            count += samples_of(batch)
            if loss is None:
                feed(model, batch)
                continue
            with torch.enable_grad():
                probe = torch.zeros((), requires_grad=True)
                with forced_form(partial(_pulling, probe=probe, names=names, seen=seen, seed=seed)):
                    total = loss(feed(model, batch), batch)
                torch.autograd.grad(total, probe, allow_unused=True)
    return seen, count


@contextmanager
def _watched(convolutions: dict[str, DynamicConv], seen: dict[str, Seen]) -> Iterator[None]:
    def watch(name: str, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen[name].features.append(global_average(inputs[0].detach()).double().cpu())

    handles = [
        conv.attention.register_forward_pre_hook(partial(watch, name))
        for name, conv in convolutions.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _pulling(
    x: Tensor,
    pi: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    geometry: ConvGeometry,
    *,
    probe: Tensor,
    names: dict[int, str],
    seen: dict[str, Seen],
    seed: int,
) -> Tensor:
    """Convolve as the form *grouped* does, and sketch each sample's gradient on the way back."""
    batch = len(x)
    kernels = mix(pi, weight.flatten(1)).detach()
    kernels = kernels + probe.to(kernels)  # zero, but what the gradient is asked for
    keep = partial(_keep, seen[names[id(weight)]].pulls, seed)
    kernels.register_hook(keep)  # type: ignore[no-untyped-call]
    biases = None if bias is None else mix(pi, bias).detach().view(-1)
    folded = x.reshape(1, batch * x.shape[1], *x.shape[2:])
    shaped = kernels.view(batch * weight.shape[1], *weight.shape[2:])
    y = geometry.convolve(folded, shaped, biases, batch * geometry.groups)
    return y.view(batch, -1, *y.shape[2:])


def _keep(pulls: list[Tensor], seed: int, gradient: Tensor) -> None:
    generator = torch.Generator().manual_seed(seed)
    size = gradient.shape[1]
    bucket = torch.randint(SKETCH, (size,), generator=generator)
    sign = torch.randint(2, (size,), generator=generator) * 2 - 1
    signed = gradient.detach().double().cpu() * sign
    pulls.append(signed.new_zeros(len(signed), SKETCH).index_add_(1, bucket, signed))
