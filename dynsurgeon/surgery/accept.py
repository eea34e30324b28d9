"""Refuse, by name and with the mend, the kinds of model that can't be operated on."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from dynsurgeon.compat import compiled_in_place
from dynsurgeon.errors import ConfigError, UnsupportedModelError
from dynsurgeon.operators.contract import dynamic_layers

_WRAPPERS = {
    "DataParallel": "pass `model.module`, and wrap the converted model again",
    "DistributedDataParallel": "pass `model.module`, and wrap the converted model again",
    "FullyShardedDataParallel": "convert before sharding",
    "OptimizedModule": "pass `model._orig_mod`, and compile the converted model",
}


def check_model(model: nn.Module) -> None:
    """Raise unless `model` is a plain, materialised, static `nn.Module`.

    Raises:
        ConfigError: It is no module at all.
        UnsupportedModelError: It is a wrapper, a script, lazy, on the meta device, quantized or
            already dynamic. The message says what to do.
    """
    if not isinstance(model, nn.Module):
        raise ConfigError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    for obstacle in _obstacles(model):
        raise UnsupportedModelError(obstacle)


def check_static(model: nn.Module) -> None:
    """Raise `UnsupportedModelError` if the model was converted before."""
    count = sum(1 for _ in dynamic_layers(model))
    if count:
        raise UnsupportedModelError(
            f"the model is already dynamic ({count} dynamic layers): convert the static model once "
            "with all the settings, or undo the first conversion with dynsurgeon.restore(model)"
        )


def check_numbers(model: nn.Module) -> None:
    """Raise where a model holds what no network computes with: nothing could be proven on it.

    Other buffers may hold anything: masks of attention hold minus infinity, tables NaN for none.

    Raises:
        UnsupportedModelError: A parameter or a running statistic holds NaN, or a parameter is
            infinite. The message names the first.
    """
    for name, parameter in model.named_parameters():
        if not _is_finite(parameter):
            what = "NaN" if _has_nan(parameter) else "infinite numbers"
            raise UnsupportedModelError(f"the parameter {name!r} holds {what}: {_LOAD}")
    for name, buffer in model.named_buffers():
        is_statistic = name.rpartition(".")[2] in ("running_mean", "running_var")
        if is_statistic and not _is_finite(buffer) and _has_nan(buffer):
            raise UnsupportedModelError(f"the buffer {name!r} holds NaN: {_LOAD}")


_LOAD = "load weights of a network that computes something"


def _is_finite(tensor: Tensor) -> bool:
    tensor = tensor.detach()
    if tensor.is_meta or not (tensor.is_floating_point() or tensor.is_complex()):
        return True
    # One pass without a mask, at the speed of memory. A sum that overflows is looked at closely.
    wide = tensor.float() if tensor.dtype.itemsize == 1 else tensor
    return bool(wide.sum().isfinite()) or bool(wide.isfinite().all())


def _has_nan(tensor: Tensor) -> bool:
    wide = tensor.detach().float() if tensor.dtype.itemsize == 1 else tensor.detach()
    return bool(wide.isnan().any())


def _obstacles(model: nn.Module) -> Iterator[str]:
    if isinstance(model, torch.jit.ScriptModule):
        yield "a ScriptModule can't be converted: convert the Python model, then export that"
    mend = _WRAPPERS.get(type(model).__name__)
    if mend is not None:
        yield f"the model is wrapped in {type(model).__name__}: {mend}"
    for name, module in model.named_modules():
        kind = type(module)
        if kind.__name__ in _WRAPPERS and name:
            yield f"{name!r} is wrapped in {kind.__name__}: {_WRAPPERS[kind.__name__]}"
        if _is_quantized(kind):
            yield f"{name!r} is a quantized {kind.__name__}: convert the float model, then quantize"
        if compiled_in_place(module):
            yield f"{name or type(model).__name__!r} was compiled in place: convert, then compile"
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if is_lazy(tensor):
            yield f"{name!r} is lazy: run the model once on a real input, then convert it"
        if tensor.is_meta:
            yield f"{name!r} is on the meta device: load real weights first"


def _is_quantized(kind: type[nn.Module]) -> bool:
    # The functionals of a quantizable model lie beside the quantized modules, and are float.
    quantized = kind.__module__.startswith("torch.ao.") and ".quantized" in kind.__module__
    return quantized and kind.__name__ not in ("FloatFunctional", "FXFloatFunctional")
