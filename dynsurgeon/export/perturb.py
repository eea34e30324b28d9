"""Weights far from the start, so that a mixed-up kernel, sample or channel can't stay unseen.

At the exact start all kernels of a bank are equal and every DY-ReLU is its static activation: a
file that mixed up the attention would still give the right numbers there. A network with random
weights may even give the same output for every input. So kernels, attention, lines and BatchNorm
factors are drawn anew, and the BatchNorm statistics follow from them, which keeps the signal alive
from end to end and rounding errors small.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dynsurgeon.export.running import call_with, without_onednn
from dynsurgeon.export.signature import tensors
from dynsurgeon.operators.answers import Head
from dynsurgeon.operators.contract import DynamicLayer, dynamic_layers, mixes_kernels
from dynsurgeon.operators.execution import forced_algorithm, grouped, stacked
from dynsurgeon.running.differences import difference
from dynsurgeon.running.inputs import Inputs

State = dict[str, Tensor]
Changes = dict[Tensor, Tensor]
"""New tensors by the registered ones in whose place they are: what a parametrization computes anew
at each access is none of these."""
BatchNorm = nn.modules.batchnorm._BatchNorm

KERNEL_SPREAD = 0.1
"""Standard deviation of a kernel's change, relative to that of its bank."""
NORM_SPREAD = 0.3
"""Standard deviation of the change of BatchNorm's factors and offsets."""
LEAST_SPREAD = 0.1
"""Channels that vary less than this share of their layer's mean count as varying that much."""
ATTEMPTS = ((1.0, 2.0), (1.0, 4.0), (1.0, 6.0), (1.0, 8.0), (0.3, None), (0.1, None))
"""Strength and damping; the next one where the network blows rounding errors up."""
LEAST_LENGTH = 1e-3
"""Hidden layers shorter than this count as this long."""
ROUNDINGS = 12
"""Roundings, of the largest output, that two exact algorithms in torch may differ by."""


def stable_perturbation(
    model: nn.Module, batches: Sequence[Inputs], generator: torch.Generator
) -> State:
    """Return the strongest perturbation under which rounding errors stay small.

    Where they are large under each, it is the one of the least errors for its strength.

    Args:
        model: The network, in eval mode; it stays as it is.
        batches: Inputs, one or more times. The weights are fitted to the last, of
            several different samples; errors must be small on all, for a network that is tame
            where it was fitted may be wild elsewhere.
        generator: Source of the random numbers, on the CPU.
    """
    state: State = {}
    draws, swings = [], []
    for strength, damping in ATTEMPTS:
        state.clear()  # one such copy of a large bank is enough
        draws.append(generator.get_state())
        state = perturbed_state(model, batches[-1], generator, strength, damping)
        swing = _swing(model, state, batches)
        if swing <= ROUNDINGS:
            return state
        swings.append(swing / strength)
    best = swings.index(min(swings))
    if swings[best] == float("inf"):
        return state
    # Roundings grow however gently it is changed: what counts is how far a fault would stand out.
    state.clear()
    generator.set_state(draws[best])
    return perturbed_state(model, batches[-1], generator, *ATTEMPTS[best])


def perturbed_state(
    model: nn.Module,
    inputs: Inputs,
    generator: torch.Generator,
    strength: float = 1.0,
    damping: float | None = 1.0,
) -> State:
    """Return other weights for `model`, which must be in eval mode and stays as it is.

    Args:
        model: The network.
        inputs: Inputs of several different samples, to see what its layers see.
        generator: Source of the random numbers, on the CPU.
        strength: Factor on every change.
        damping: Each BatchNorm's output varies by one over this; None leaves BatchNorm alone.

    Returns:
        The new tensors by their key in the state_dict, one with several keys under each of them.
    """
    draw = _Draw(generator, strength)
    changes: Changes = {}
    for module in model.modules():
        if isinstance(module, DynamicLayer):
            _change_banks(module, draw, changes)
        elif damping is not None and isinstance(module, BatchNorm):
            _change_norm(module, draw, changes)
    sizes = _run_and_fit(model, changes, inputs, damping)
    for _, layer in dynamic_layers(model):
        for head in layer.heads():
            _change_head(head, sizes, draw, changes)
    _run_and_fit(model, changes, inputs, damping)
    return _by_key(model, changes)


class _Draw:
    """Draws changes on the CPU, in the dtype and on the device of what they change."""

    def __init__(self, generator: torch.Generator, strength: float) -> None:
        self.generator, self.strength = generator, strength

    def __call__(self, like: Tensor, std: float) -> Tensor:
        noise = torch.randn(like.shape, generator=self.generator)
        return (noise * std * self.strength).to(like)


def _registered(module: nn.Module, *names: str) -> Iterator[Tensor]:
    for registry in (module._parameters, module._buffers):
        found: Iterable[Tensor | None] = (registry.get(name) for name in names)
        yield from (tensor for tensor in found if tensor is not None)


def _change_banks(layer: DynamicLayer, draw: _Draw, changes: Changes) -> None:
    for bank in _registered(layer, *layer.banks()):
        spread = float(bank.detach().float().std(correction=0))
        changes[bank] = bank.detach() + draw(bank, KERNEL_SPREAD * spread)


def _change_norm(norm: BatchNorm, draw: _Draw, changes: Changes) -> None:
    for tensor in _registered(norm, "weight", "bias"):
        changes[tensor] = tensor.detach() + draw(tensor, NORM_SPREAD)
    for buffer in _registered(norm, "running_mean", "running_var"):
        changes[buffer] = buffer.clone()


def _change_head(head: Head, sizes: dict[nn.Module, float], draw: _Draw, changes: Changes) -> None:
    # What goes into the last layer has about the length of the hidden one, or of as many numbers
    # of size 1.
    usual = 1.0 if head.hidden is not None else head.last.in_features**0.5
    length = usual if head.hidden is None else sizes.get(head.hidden, usual)
    for weight in _registered(head.last, "weight"):
        changes[weight] = draw(weight, head.reach / length)
    for bias in _registered(head.last, "bias") if head.biased else ():
        changes[bias] = draw(bias, head.reach)


def _run_and_fit(
    model: nn.Module, changes: Changes, inputs: Inputs, damping: float | None
) -> dict[nn.Module, float]:
    """Run once; fit each BatchNorm to what it sees, and return the hidden layers' lengths."""
    lengths: dict[nn.Module, float] = {}
    with ExitStack() as hooks:
        for hidden in _hidden_layers(model):
            note = partial(_note_length, lengths)
            hooks.callback(hidden.register_forward_hook(note).remove)
        for module in model.modules():
            if damping is not None and isinstance(module, BatchNorm):
                fit = partial(_fit_norm, damping)
                hooks.callback(module.register_forward_pre_hook(fit).remove)
        call_with(model, _by_key(model, changes), inputs)
    return lengths


def _hidden_layers(model: nn.Module) -> list[nn.Module]:
    heads = [head for _, layer in dynamic_layers(model) for head in layer.heads()]
    return [head.hidden for head in heads if head.hidden is not None]


def _note_length(lengths: dict[nn.Module, float], layer: nn.Module, _: Any, hidden: Tensor) -> None:
    length = torch.relu(hidden).float().square().sum(1).mean().sqrt()
    lengths[layer] = max(float(length.detach()), LEAST_LENGTH)


def _fit_norm(damping: float, norm: nn.Module, args: tuple[Tensor, ...]) -> None:
    """Set the statistics of a BatchNorm, in eval mode, so that its output varies by 1/damping."""
    assert isinstance(norm, BatchNorm)
    if norm.running_mean is None or norm.running_var is None:
        return
    x = args[0].float().transpose(0, 1).flatten(1)
    norm.running_mean.copy_(x.mean(1))
    spread = x.var(1, correction=0) + x.square().mean(1)  # a small one would magnify rounding
    # A channel that is dead on these samples would be magnified without bound on others.
    least = LEAST_SPREAD * float(spread.mean())
    norm.running_var.copy_(spread.clamp(min=least) * damping**2)


def _swing(model: nn.Module, state: State, batches: Sequence[Inputs]) -> float:
    """Return by how many roundings two exact ones differ; infinite if a number is not finite."""
    worst = 0.0
    for inputs in reversed(batches):
        worst = max(worst, _swing_on(model, state, inputs))
        if worst == float("inf"):
            break
    return worst


def _swing_on(model: nn.Module, state: State, inputs: Inputs) -> float:
    # Where every kernel is a constant, the two are one: then torch sums in another order.
    ways: list[AbstractContextManager[None]] = [
        forced_algorithm(grouped),
        forced_algorithm(stacked),
    ]
    if not mixes_kernels(model):
        ways[1] = without_onednn()
    runs = []
    for way in ways:
        with way:
            runs.append(tensors(call_with(model, state, inputs)))
    pairs = [(a, b) for a, b in zip(*runs, strict=True) if a.is_floating_point() and a.numel()]
    return max((_roundings_between(a, b) for a, b in pairs), default=0.0)


def _roundings_between(a: Tensor, b: Tensor) -> float:
    if not bool(a.isfinite().all() and b.isfinite().all()):
        return float("inf")
    return difference(a, b).relative / torch.finfo(a.dtype).eps


def _by_key(model: nn.Module, changes: Changes) -> State:
    named = [
        *model.named_parameters(remove_duplicate=False),
        *model.named_buffers(remove_duplicate=False),
    ]
    return {name: changes[tensor] for name, tensor in named if tensor in changes}
