"""Does a model that was just cut still compute what it did?"""

from __future__ import annotations

from typing import Any

from torch import nn

from dynsurgeon.errors import UnsupportedModelError
from dynsurgeon.messages import first_line
from dynsurgeon.operators.execution import forced_algorithm, one_by_one
from dynsurgeon.running.blame import model_failure
from dynsurgeon.running.copying import double_of
from dynsurgeon.running.differences import agree
from dynsurgeon.running.inputs import Inputs
from dynsurgeon.running.run import as_double, run_model

ROUNDINGS = 2**14
"""Roundings that a converted network may be off by: sums of many, in another order."""


def run_static(model: nn.Module, inputs: Inputs) -> Any:
    """Return what the model gives before the cut, to be compared with what it gives after it.

    Raises:
        ConfigError: The model itself can't run on these inputs.
    """
    try:
        return run_model(model, inputs, "eval")
    except Exception as error:
        raise model_failure(model, error, "these example inputs") from error


def check_outcome(
    original: nn.Module | None, dynamic: nn.Module, inputs: Inputs, before: Any
) -> None:
    """Compare what a converted model gives with what it gave before.

    Args:
        original: The model before, if there is a copy.
        dynamic: The converted model.
        inputs: What both run on.
        before: What the model gave.

    Raises:
        UnsupportedModelError: The converted model does not run, or computes something else.
    """
    # This algorithm repeats the static convolution's roundings. A detector that sorts boxes by
    # nearly equal scores would answer any other rounding with other boxes.
    try:
        with forced_algorithm(one_by_one):
            after = run_model(dynamic, inputs, "eval")
    except Exception as error:
        raise UnsupportedModelError(
            f"the converted model does not run: {first_line(error)}; exclude the sites that this "
            "comes from, and apply no plan of another model"
        ) from error
    same = agree(before, after, roundings=ROUNDINGS)
    if not same and not _same_in_float64(original, dynamic, inputs):
        raise UnsupportedModelError(
            "the converted model does not compute what the original does (its code reads a module "
            "that was replaced); exclude the sites around it, and apply "
            "no plan of another model"
        )


def _same_in_float64(original: nn.Module | None, dynamic: nn.Module, inputs: Inputs) -> bool:
    if original is None:
        return False
    doubled = as_double(inputs)
    try:
        one, other = (run_model(double_of(m), doubled, "eval") for m in (original, dynamic))
    except Exception:  # not every model runs in float64
        return False
    return agree(one, other, roundings=ROUNDINGS)
