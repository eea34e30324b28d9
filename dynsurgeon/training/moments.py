"""Mean and variance of the channels of everything that was seen, however it came in pieces."""

from __future__ import annotations

import torch
from torch import Tensor

Estimate = tuple[Tensor, Tensor]
"""Mean and unbiased variance of each channel ``(C,)``, in float64 on the CPU."""


class Moments:
    """Pools mean and variance over pieces (Chan et al., "Updating Formulae", 1979).

    Sums of squares would lose the variance of channels whose mean is large.
    """

    def __init__(self) -> None:
        self.count = 0
        self._mean, self._squares = torch.zeros(()), torch.zeros(())

    def add(self, values: Tensor) -> None:
        """Take in values ``(N, C, ...)``."""
        if not values.numel():
            return
        values = values.detach()
        values = values if values.dtype == torch.float64 else values.float()
        across = [axis for axis in range(values.dim()) if axis != 1]
        found = torch.var_mean(values, across, correction=0)
        variance, mean = (tensor.cpu().double() for tensor in found)  # not all devices have double
        count = values.numel() // values.shape[1]
        total = self.count + count
        apart = mean - self._mean
        self._mean = self._mean + apart * (count / total)
        self._squares = (
            self._squares + count * variance + apart.square() * (self.count * count / total)
        )
        self.count = total

    @property
    def mean(self) -> Tensor:
        """Mean of each channel ``(C,)``, in float64 on the CPU; one value of it is enough."""
        return self._mean

    def estimate(self) -> Estimate:
        """Return mean and variance; there must be two values of a channel."""
        return self._mean, self._squares / (self.count - 1)
