"""Other weights where a network's own let the signal die.

A head of a detector starts with small weights: after four such layers all anchors have the same
score to the last bit, and which of them are chosen says nothing. Only what varies is raised: if
its mean were as well, every anchor would have the score 1 of the same class.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import Any

from torch import Tensor, nn

from dynsurgeon.export.detectors.one_image import Detector
from dynsurgeon.export.perturb import State
from dynsurgeon.export.running import call_with
from dynsurgeon.operators.contract import DynamicLayer, dynamic_layers
from dynsurgeon.running.inputs import Inputs

DEAD, ALIVE = 0.1, 0.5
"""Standard deviation below which what a layer says counts as dying, and what it is raised to."""

PARTS = ("weight", "bias")
STATIC = (nn.Linear, nn.modules.conv._ConvNd)


def revived(detector: Detector, images: Inputs) -> State:
    """Return larger weights, by their key, for the layers whose output hardly varies.

    Where a layer has a bias, each channel's mean stays where it was.

    Args:
        detector: The network, in eval mode; it stays as it is.
        images: Several different images.
    """
    state: State = {}
    inside = {m for _, layer in dynamic_layers(detector) for m in layer.modules()}
    with ExitStack() as hooks:
        for path, module in detector.named_modules():
            if isinstance(module, DynamicLayer) and module.banks():
                keys = [f"{path}.{name}" for name in module.banks()]
            elif isinstance(module, STATIC) and module not in inside:
                keys = [f"{path}.{name}" for name in PARTS if getattr(module, name) is not None]
            else:
                continue
            raise_ = partial(_raise, state, keys)
            hooks.callback(module.register_forward_hook(raise_).remove)
        call_with(detector, {}, images)
    return state


def _raise(state: State, keys: list[str], module: nn.Module, args: Any, y: Tensor) -> Tensor:
    if any(key in state for key in keys):  # it was raised at an earlier call
        return _with(state, keys, module, args)
    channels = y.detach().float().transpose(0, 1).flatten(1)
    spread = float(channels.std(1, correction=0).mean())
    if not 0.0 < spread < DEAD:
        return y
    factor = ALIVE / spread
    for key in keys:
        name = key.rpartition(".")[2]
        own: Tensor = getattr(module, name).detach()
        kept = (1 - factor) * channels.mean(1) if name == "bias" else 0.0
        state[key] = factor * own + kept
    return _with(state, keys, module, args)


def _with(state: State, keys: list[str], module: nn.Module, args: Any) -> Tensor:
    local = {key.rpartition(".")[2]: state[key] for key in keys}
    registries = (module._parameters, module._buffers)
    own = [(r, name, r[name]) for r in registries for name in local if name in r]
    try:
        for registry, name, _ in own:
            registry[name] = local[name]  # type: ignore[assignment]
        y: Tensor = module.forward(*args)
    finally:
        for registry, name, tensor in own:
            registry[name] = tensor  # type: ignore[assignment]
    return y
