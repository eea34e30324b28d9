"""The static twin: the original network, trained beside the dynamic one to measure the gain."""

from __future__ import annotations

from torch import nn

from dynsurgeon.errors import RestoreError
from dynsurgeon.surgery.cut.restore import restore


def static_twin(dynamic: nn.Module) -> nn.Module:
    """Return the original network of a converted one that is still at its exact start.

    Raises:
        RestoreError: The network was trained: the original can't be had from it.
        UnsupportedModelError: The network was not converted by dynsurgeon.
    """
    try:
        return restore(dynamic).train(dynamic.training)
    except RestoreError as error:
        raise RestoreError(
            "there is no static twin to train beside this network, which has left its exact "
            f"start: {error}"
        ) from error
