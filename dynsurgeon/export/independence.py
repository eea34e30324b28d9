"""Check that a network treats the samples of a batch one by one, as a Scan over them does."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dynsurgeon.errors import ExportError
from dynsurgeon.export.running import run
from dynsurgeon.export.signature import Signature, tensors
from dynsurgeon.proof.inputs import batch_size, fresh_inputs, take_samples
from dynsurgeon.surgery.inputs import Inputs

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

    Raises:
        ExportError: An input or output has no leading batch axis, or a sample's output depends on
            the others.
    """
    inputs = fresh_inputs(example_inputs, SAMPLES, generator)
    for name, tensor in zip(signature.inputs, tensors(inputs), strict=True):
        _check_axis(f"input {name!r}", tensor, batch_size(inputs) or SAMPLES)
    together = tensors(run(model, inputs))
    for name, tensor in zip(signature.outputs, together, strict=True):
        _check_axis(f"output {name!r}", tensor, SAMPLES)
    for i in range(SAMPLES):
        alone = tensors(run(model, take_samples(inputs, torch.tensor([i]))))
        for name, whole, part in zip(signature.outputs, together, alone, strict=True):
            _check_sample(name, whole[i : i + 1], part)


def _check_axis(what: str, tensor: Tensor, samples: int) -> None:
    if tensor.dim() == 0 or tensor.shape[0] != samples:
        raise ExportError(
            f"{what} has the shape {tuple(tensor.shape)} for {samples} samples, without a leading "
            f"batch axis, so no Scan can run over the samples: {WAYS_OUT}"
        )


def _check_sample(name: str, expected: Tensor, found: Tensor) -> None:
    if expected.shape != found.shape or not torch.allclose(
        expected.double(), found.double(), rtol=0, atol=_allowed(expected), equal_nan=True
    ):
        raise ExportError(
            f"output {name!r} of a sample depends on the other samples of its batch, so no Scan "
            f"can run over the samples: {WAYS_OUT}"
        )


def _allowed(expected: Tensor) -> float:
    if not expected.is_floating_point() or not expected.numel():
        return 0.0
    share = max(TOLERANCE, ROUNDINGS * torch.finfo(expected.dtype).eps)
    return share * float(expected.double().nan_to_num().abs().max())
