"""Images as the field gives them: noisy, blurred, pale, inverted or turned, each in one way."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def corrupt(x: Tensor, seed: int) -> Tensor:
    """Give each image of ``(N, C, H, W)`` in [0, 1] one corruption, drawn by `seed`; 1 in 6 none.

    Kinds: noise, blur, low contrast, inversion, rotation.
    """
    generator = torch.Generator().manual_seed(seed)
    kind = torch.randint(len(CORRUPTIONS) + 1, (len(x),), generator=generator)
    result = x.clone()
    for index, change in enumerate(CORRUPTIONS, start=1):
        chosen = kind == index
        result[chosen] = change(x[chosen], generator).clamp(0, 1)
    return result


def _noise(x: Tensor, generator: torch.Generator) -> Tensor:
    return x + 0.3 * torch.randn(x.shape, generator=generator)


def _blur(x: Tensor, generator: torch.Generator) -> Tensor:
    line = torch.exp(-torch.linspace(-3, 3, 7).pow(2) / (2 * 1.5**2))
    line = line / line.sum()
    maps = x.flatten(0, 1).unsqueeze(1)
    maps = F.conv2d(F.conv2d(maps, line.view(1, 1, 7, 1), padding=(3, 0)), line.view(1, 1, 1, 7),
                    padding=(0, 3))  # fmt: skip
    return maps.view_as(x)


def _contrast(x: Tensor, generator: torch.Generator) -> Tensor:
    return 0.4 + 0.2 * x


def _invert(x: Tensor, generator: torch.Generator) -> Tensor:
    return 1 - x


def _rotate(x: Tensor, generator: torch.Generator) -> Tensor:
    angle = (torch.rand(len(x), generator=generator) * 2 - 1) * math.pi / 2
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros(len(x))
    turn = torch.stack([cos, -sin, zero, sin, cos, zero], dim=1).view(-1, 2, 3)
    grid = F.affine_grid(turn, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)


CORRUPTIONS: tuple[Callable[[Tensor, torch.Generator], Tensor], ...] = (
    _noise, _blur, _contrast, _invert, _rotate,
)  # fmt: skip
