"""Base of the layers that stand for an activation, writing into their input or not."""

from __future__ import annotations

from torch import Tensor

from dynsurgeon.operators.contract import ActivationLayer
from dynsurgeon.operators.forms import ActivationForm
from dynsurgeon.operators.overwrite import overwrite


class ActivatingLayer(ActivationLayer):
    """A layer that starts as a static activation.

    Attributes:
        form: The activation.
        channels: Channels C of the input, on axis 1.
    """

    form: ActivationForm
    channels: int

    def forward(self, x: Tensor) -> Tensor:
        if self.inplace:
            return overwrite(x, self.activate(x.clone()))
        return self.activate(x)

    def activate(self, x: Tensor) -> Tensor:
        """Compute the layer, writing nothing into `x`."""
        raise NotImplementedError
