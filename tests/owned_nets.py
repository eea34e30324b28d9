"""Tiny networks that hold a module or a tensor in more than one place, or write into their own."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from nets import TinyNet
from torch import Tensor, nn


class Twice(TinyNet):
    """A module under two names, the later of which comes first in the alphabet."""

    input_shape = (3, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.b = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.PReLU(8))
        self.a = nn.ModuleList([self.b])

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.a[0](torch.relu(self.stem(x)))
        return y


class TwiceFunctional(TinyNet):
    """A module under two names whose own forward is rewritten, which gives it a new child."""

    input_shape = (3, 8, 8)

    class Inner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(self.conv(x))

    def __init__(self) -> None:
        super().__init__()
        self.b = self.Inner()
        self.a = self.b

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.b(x)
        return y


class SkipStack(TinyNet):
    """A U-Net that nests its levels, and lists their parts again under other names."""

    input_shape = (3, 8, 8)

    class Level(nn.Module):
        def __init__(self, down: nn.Module, inner: nn.Module, up: nn.Module) -> None:
            super().__init__()
            self.down, self.inner, self.up = down, inner, up

        def forward(self, x: Tensor) -> Tensor:
            below = self.inner(F.max_pool2d(self.down(x), 2))
            y: Tensor = self.up(torch.cat([x, F.interpolate(below, scale_factor=2.0)], 1))
            return y

    def __init__(self) -> None:
        super().__init__()
        self.downsamples = nn.ModuleList([self.block(3, 4), self.block(4, 4)])
        self.upsamples = nn.ModuleList([self.block(8, 4), self.block(7, 4)])
        self.bottleneck = self.block(4, 4)
        inner = self.Level(self.downsamples[1], self.bottleneck, self.upsamples[0])
        self.a_skip_layers = self.Level(self.downsamples[0], inner, self.upsamples[1])
        self.tied = nn.Conv2d(4, 4, 1)
        self.heads = nn.ModuleList([nn.Conv2d(4, 4, 1), self.tied])
        self.heads[0].weight = self.tied.weight

    @staticmethod
    def block(inputs: int, outputs: int) -> nn.Module:
        conv = nn.Conv2d(inputs, outputs, 3, padding=1)
        return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.LeakyReLU(0.01, inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.heads[0](self.tied(self.a_skip_layers(x)))
        return y


class Writer(TinyNet):
    """Writes into all that a model can hold, and reads what it wrote, in both modes."""

    input_shape = (3, 8, 8)
    steps: Tensor
    wide: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act = nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()
        self.table = nn.Embedding(4, 4, max_norm=0.1)  # writes into its weight
        self.scale = nn.Parameter(torch.ones(4), requires_grad=False)
        self.clipped = nn.Parameter(torch.ones(4))
        self.swapped = nn.Parameter(torch.ones(4), requires_grad=False)
        self.average, self.rebound, self.count = torch.ones(4), torch.ones(4), 1
        self.queue: dict[str, list[Tensor]] = {"seen": [torch.ones(4)]}
        self.register_buffer("steps", torch.ones(()))
        self.register_buffer("wide", torch.ones(1).expand(4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.conv(x))
        mean = x.detach().mean((0, 2, 3))
        with torch.no_grad():
            self.scale.mul_(0.9).add_(mean)
            self.clipped.data.clamp_(max=0.5)
            self.swapped.data = self.swapped.data * 0.5
            self.average.mul_(0.5).add_(mean)
        self.rebound, self.count, self.steps = self.rebound * 2, self.count + 1, self.steps + 1
        self.queue["seen"][0].mul_(0.5)
        self.queue["seen"].append(mean)
        self.fresh, self.wide = mean, self.wide * 2
        learned = (self.scale, self.clipped, self.swapped, self.average, self.rebound)
        held = torch.stack([*learned, self.wide, *self.queue["seen"]]).sum(0) * self.steps
        factor = held + self.count + self.table(torch.arange(4)).mean(1)
        y: Tensor = x * factor.view(4, 1, 1)
        return y
