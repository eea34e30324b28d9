"""What a static activation is, in DY-ReLU's terms: ``max_k(a_k x + b_k)`` and what surrounds it.

ReLU is max(x, 0); LeakyReLU(s) and PReLU(s) are max(x, s x) while s <= 1; ReLU6 is
min(max(x, 0), 6). Hardswish, SiLU and GELU are no maximum of lines, nor is a PReLU that is steeper
below zero than above, but act(x) + DY-ReLU(x) - ReLU(x) starts at act(x).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

SMOOTH_FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "hardswish": F.hardswish,
    "silu": F.silu,
    "gelu": F.gelu,
}


@dataclass(frozen=True)
class ActivationForm:
    """A static activation that a DY-ReLU can start from.

    Attributes:
        function: Its name in `torch.nn.functional`: ``relu``, ``relu6``, ``leaky_relu``, ``prelu``,
            ``hardswish``, ``silu`` or ``gelu``.
        slope: Slope below zero, one number or (PReLU) one a channel.
        ceiling: Largest output (ReLU6), or None.
        options: Further arguments of a smooth function, such as GELU's ``approximate``.
    """

    function: str = "relu"
    slope: float | tuple[float, ...] = 0.0
    ceiling: float | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def smooth(self) -> bool:
        """Whether this is a smooth function."""
        return self.function in SMOOTH_FUNCTIONS

    def compute(self, x: Tensor, slopes: Tensor | None = None) -> Tensor:
        """Compute the static activation.

        Args:
            x: Its input.
            slopes: The slopes of a PReLU, where they are a parameter.
        """
        if self.smooth:
            return SMOOTH_FUNCTIONS[self.function](x, **self.options)
        if slopes is not None:
            return F.prelu(x, slopes)
        if isinstance(self.slope, tuple):
            return F.prelu(x, torch.tensor(self.slope, dtype=x.dtype, device=x.device))
        if self.ceiling is not None:
            return F.hardtanh(x, 0.0, self.ceiling)
        return F.relu(x) if self.slope == 0 else F.leaky_relu(x, self.slope)

    @property
    def slopes(self) -> tuple[float, ...]:
        """The slopes below zero: one, or one a channel."""
        return self.slope if isinstance(self.slope, tuple) else (self.slope,)

    @property
    def steep(self) -> bool:
        """Whether a slope is above 1: max(x, s x) is the activation upside down then."""
        return any(slope > 1 for slope in self.slopes)

    @property
    def beside(self) -> bool:
        """Whether this is no maximum of lines, and is computed beside one that starts as a ReLU."""
        return self.smooth or self.steep

    def obstacle(self) -> str | None:
        """Return why no DY-ReLU starts at this activation, or None if one does."""
        strange = [slope for slope in self.slopes if not math.isfinite(slope)]
        return f"slope {strange[0]:g} below zero is no finite number" if strange else None
