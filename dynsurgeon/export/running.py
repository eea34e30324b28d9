"""Run a network in torch on inputs of other sizes than those it was given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dynsurgeon.errors import ExportError
from dynsurgeon.export.signature import tensors
from dynsurgeon.messages import first_line
from dynsurgeon.running.inputs import Inputs
from dynsurgeon.running.quiet import quiet_warnings
from dynsurgeon.running.run import copied

State = Mapping[str, Tensor]


def run(model: nn.Module, inputs: Inputs, state: State | None = None) -> Any:
    """Run `model` on copies of `inputs`, with `state` in place of its own weights.

    Raises:
        ExportError: The model can't take inputs of these shapes.
    """
    try:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # TF32 is no fp32
            return call_with(model, state or {}, inputs)
    except Exception as error:
        if not inputs.fit(model.forward):
            raise ExportError(
                f"{type(model).__name__} can't be called with these inputs: {first_line(error)}"
            ) from error
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in tensors(inputs))
        raise ExportError(
            f"{type(model).__name__} itself fails on inputs of the shape {shapes} "
            f"({first_line(error)}): the first axis of every input must be the batch, and height "
            "and width must be free if dynamic_size is asked for"
        ) from error


def call_with(model: nn.Module, state: State, inputs: Inputs) -> Any:
    """Call `model` on copies of `inputs`, with `state` in place of its own weights."""
    with replaced(model, state):
        return copied(inputs).call(model)


@contextmanager
def replaced(model: nn.Module, state: State) -> Iterator[None]:
    """Let `model` have other tensors, and on exit its own again, whatever happened.

    `torch.func.functional_call` would take the two names of a module that is registered twice for
    two places, and put back into the one place first its own tensor and then the other one.

    Args:
        model: The network.
        state: Tensors by their name; a place that has several names needs only one of them.
    """
    own: dict[tuple[int, str], tuple[dict[str, Any], Any]] = {}
    try:
        for path, module in list(model.named_modules(remove_duplicate=False)):
            for registry in (module._parameters, module._buffers):
                for name in list(registry.keys()):  # a script's has no more than that
                    key, place = f"{path}.{name}" if path else name, (id(registry), name)
                    if key in state and place not in own:
                        own[place] = registry, registry[name]
                        registry[name] = state[key]
        yield
    finally:
        for (_, name), (registry, tensor) in own.items():
            registry[name] = tensor


@contextmanager
def without_onednn() -> Iterator[None]:
    """Have torch run its own convolutions on the CPU, in all threads: they sum in another order."""
    # torch warns of a setting for other machines, which is set alike.
    with quiet_warnings(), torch.backends.mkldnn.flags(enabled=False):
        yield
