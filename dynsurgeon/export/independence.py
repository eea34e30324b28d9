"""Check that a network treats the samples of a batch one by one, as a Scan over them does."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dynsurgeon.errors import ExportError, UnsupportedModelError
from dynsurgeon.export.running import run
from dynsurgeon.export.signature import Signature, tensors
from dynsurgeon.messages import first_line
from dynsurgeon.running.copying import double_of
from dynsurgeon.running.differences import is_within
from dynsurgeon.running.fresh import first_axis, fresh_inputs, take_samples
from dynsurgeon.running.inputs import Inputs
from dynsurgeon.running.run import as_double

SAMPLES = 3
TOLERANCE = 1e-3
"""Of the largest output. Wide: the same sum in another order is no dependence."""
ROUNDINGS = 50
"""How many roundings of a coarse dtype are no dependence either."""

WAYS_OUT = "export it with a fixed batch=N, or form='portable'"


def check_independence(
    model: nn.Module, example_inputs: Inputs, signature: Signature, generator: torch.Generator
) -> None:
    """Compare a batch with its samples one at a time, in torch; `model` is in eval mode.

    Some networks blow roundings up, which are others in a batch: what differs is judged in float64.

    Raises:
        ExportError: An input or output has no leading batch axis, or a sample's output depends on
            the others, or on random numbers.
    """
    inputs = fresh_inputs(example_inputs, SAMPLES, generator)
    for name, tensor in zip(signature.inputs, tensors(inputs), strict=True):
        _check_axis(f"input {name!r}", tensor, first_axis(inputs) or SAMPLES)
    together = tensors(run(model, inputs))
    for name, tensor in zip(signature.outputs, together, strict=True):
        _check_axis(f"output {name!r}", tensor, SAMPLES)
    found = _dependent(model, inputs, signature, together)
    if found is None:
        return
    again = tensors(run(model, inputs))
    if not all(_is_same(one, other) for one, other in zip(together, again, strict=True)):
        raise ExportError(
            f"output {found!r} is another one each time: the model draws random numbers in eval "
            "mode, so no file can be verified against it: export the part of it that draws none"
        )
    try:
        exact = _dependent(double_of(model), as_double(inputs), signature)
    except UnsupportedModelError as error:  # not every model runs in float64
        raise ExportError(
            f"output {found!r} of a sample is another one with the other samples of its batch, and "
            f"the model can't say in float64 whether that is rounding ({first_line(error)}), so no "
            f"Scan can run over the samples: {WAYS_OUT}"
        ) from error
    if exact is not None:
        raise ExportError(
            f"output {exact!r} of a sample depends on the other samples of its batch, so no Scan "
            f"can run over the samples: {WAYS_OUT}"
        )


def _dependent(
    model: nn.Module, inputs: Inputs, signature: Signature, together: list[Tensor] | None = None
) -> str | None:
    """Return the name of an output that is another one for a sample alone, or None."""
    together = tensors(run(model, inputs)) if together is None else together
    for i in range(SAMPLES):
        alone = tensors(run(model, take_samples(inputs, torch.tensor([i]))))
        for name, whole, part in zip(signature.outputs, together, alone, strict=True):
            if not _is_same(whole[i : i + 1], part):
                return name
    return None


def _check_axis(what: str, tensor: Tensor, samples: int) -> None:
    if tensor.dim() == 0 or tensor.shape[0] != samples:
        raise ExportError(
            f"{what} has the shape {tuple(tensor.shape)} for {samples} samples, without a leading "
            f"batch axis, so no Scan can run over the samples: {WAYS_OUT}"
        )


def _is_same(expected: Tensor, found: Tensor) -> bool:
    rounding = torch.finfo(expected.dtype).eps if expected.is_floating_point() else 0.0
    return is_within(expected, found, (max(TOLERANCE, ROUNDINGS * rounding), 0.0))
