"""Networks that fold BatchNorm into their convolutions, in the ways that libraries do it."""

from __future__ import annotations

from typing import Any

import torch
from nets import TinyNet
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights


class Block(nn.Module):
    """A convolution, BatchNorm and an activation, and a forward without the BatchNorm."""

    forward_fuse: Any

    def __init__(self, conv: nn.Module, channels: int) -> None:
        super().__init__()
        self.conv, self.bn, self.act = conv, nn.BatchNorm2d(channels), nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.bn(self.conv(x)))
        return y

    def without_norm(self, x: Tensor) -> Tensor:
        """Run what is left when BatchNorm has gone."""
        y: Tensor = self.act(self.conv(x))
        return y


class Branches(nn.Module):
    """Two convolutions of one input, added up; deployed, they are one."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv1(x) + self.conv2(x) if hasattr(self, "conv1") else self.conv(x)
        return y

    def switch_to_deploy(self) -> None:
        """Merge both into one."""
        self.conv = nn.Conv2d(8, 8, 3, padding=1)
        for name in ("weight", "bias"):
            one, other = (getattr(conv, name).data for conv in (self.conv1, self.conv2))
            getattr(self.conv, name).data = one + other
        del self.conv1, self.conv2


class Folds(TinyNet):
    """Blocks with every kind of convolution; the 4 channels are as many as the kernels of a bank.

    Args:
        fold: What folds one BatchNorm; see `by_replacing` and `by_a_new_layer`.
    """

    input_shape = (3, 12, 12)

    def __init__(self, fold: Any = None) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            Block(nn.Conv2d(3, 8, 3, padding=1, bias=False), 8),
            Block(nn.Conv2d(8, 4, 3, padding=1, stride=2), 4),
            Block(nn.Conv2d(4, 8, 1, bias=False), 8),
            Block(nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), 8),
            Block(nn.Conv2d(8, 8, 3, padding=1, groups=2, padding_mode="reflect"), 8),
            Block(nn.ConvTranspose2d(8, 8, 2, stride=2), 8),
            nn.Conv2d(8, 8, 1),
        )
        self.auxiliary: nn.Module | None = Block(nn.Conv2d(8, 8, 1), 8)
        self.fold = fold or by_replacing

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.blocks(x)
        return y if self.auxiliary is None else y + 0 * self.auxiliary(y)

    def fuse(self, verbose: bool = True) -> Folds:
        """Fold every BatchNorm, and drop the auxiliary branch."""
        self.auxiliary = None
        for module in self.modules():
            if isinstance(module, Block) and hasattr(module, "bn"):
                module.conv = self.fold(module.conv, module.bn)
                del module.bn
                module.forward = module.without_norm  # type: ignore[method-assign]
        return self


class Merges(Folds):
    """One that also merges two branches."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks.append(Branches(8))

    def fuse(self, verbose: bool = True) -> Folds:
        """Fold and merge."""
        self.blocks[-1].switch_to_deploy()  # type: ignore[operator]
        return super().fuse(verbose)


class Pyramid(TinyNet):
    """One whose `fuse` has nothing to do with weights: it is a part of the forward."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fuse([self.one(x), self.two(x)])

    def fuse(self, features: list[Tensor]) -> Tensor:
        """Add up features."""
        return features[0] + features[1]


def by_replacing(conv: Any, bn: Any) -> Any:
    """Fold as ultralytics does today: into new parameters of the same layer."""
    transposed = isinstance(conv, nn.ConvTranspose2d)
    conv.weight, conv.bias = fuse_conv_bn_weights(
        conv.weight,
        conv.bias,
        bn.running_mean,
        bn.running_var,
        bn.eps,
        bn.weight,
        bn.bias,
        transposed,
    )
    return conv.requires_grad_(False)


def by_a_new_layer(conv: Any, bn: Any) -> Any:
    """Fold as it did before: into a layer that takes the place of the old one."""
    if isinstance(conv, nn.ConvTranspose2d):
        return by_replacing(conv, bn)
    names = ("stride", "padding", "dilation", "groups", "padding_mode")
    geometry: dict[str, Any] = {name: getattr(conv, name) for name in names}
    new = nn.Conv2d(conv.in_channels, conv.out_channels, conv.kernel_size, bias=True, **geometry)
    scale = bn.weight.div((bn.eps + bn.running_var).sqrt())
    rows = conv.weight.clone().view(conv.out_channels, -1)
    new.weight.data.copy_((torch.diag(scale) @ rows).view(new.weight.shape))
    bias = torch.zeros(conv.out_channels) if conv.bias is None else conv.bias
    new.bias.data.copy_(scale * (bias - bn.running_mean) + bn.bias)  # type: ignore[union-attr]
    return new.requires_grad_(False)
