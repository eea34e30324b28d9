"""A network divided among processes, and its state whole: what is saved knows no processes.

The whole network is one unit of `torch.distributed.fsdp.fully_shard`: between steps each process
holds its share of the parameters and of the optimizer's state, and during a step all parameters.
Smaller units would hold less during a step, but only modules that are called can be units, and
networks that step through a container call its children alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from dynsurgeon.compat import tree_map

if TYPE_CHECKING:
    from accelerate import Accelerator

State = dict[str, Any]
"""Tensors and numbers by their names, as a state_dict holds them."""


def shard(model: nn.Module, device: torch.device, world: int) -> None:
    """Divide the parameters of `model` among `world` processes, in place."""
    mesh = init_device_mesh(device.type, (world,))
    fully_shard(model, mesh=mesh, reshard_after_forward=True)


def of_first(tensor: Tensor, accelerator: Accelerator) -> Tensor:
    """Return what the first process has in this place; all processes call it."""
    if accelerator.num_processes == 1:
        return tensor
    from accelerate.utils import broadcast

    shared: Tensor = broadcast(tensor.to(accelerator.device))
    return shared


def whole(state: Any) -> Any:
    """Copy nested state to the CPU, with sharded tensors put together; all processes call it."""

    def gather(leaf: Any) -> Any:
        if isinstance(leaf, DTensor):
            leaf = leaf.full_tensor()
        return leaf.detach().cpu().clone() if isinstance(leaf, Tensor) else leaf

    return tree_map(gather, state)


def divided(value: Tensor, like: Tensor) -> Tensor:
    """Return a whole tensor in the form of `like`: on its device, sharded if that is."""
    value = value.to(device=like.device, dtype=like.dtype)
    if isinstance(like, DTensor):
        return distribute_tensor(value, like.device_mesh, like.placements)
    return value


@torch.no_grad()
def fill(target: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    """Copy whole tensors by name into those of a state_dict."""
    for name, tensor in target.items():
        tensor.copy_(divided(values[name], tensor))


def load_optimizer(optimizer: Optimizer, state: State) -> None:
    """Load an optimizer's whole state."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]

    def suit(index: int, value: Any) -> Any:
        parameter = parameters[index]
        if isinstance(value, Tensor) and value.shape == parameter.shape and value.dim():
            return divided(value, parameter.detach())
        return value

    entries = {
        index: {key: suit(index, value) for key, value in entry.items()}
        for index, entry in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": entries})
