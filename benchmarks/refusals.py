"""What dynsurgeon says of each kind of model that it can't take as it is.

python benchmarks/refusals.py > docs/refusals.md
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import nn
from torch.nn.utils import parametrize

import dynsurgeon as ds

X = torch.randn(2, 3, 8, 8)


def net() -> nn.Module:
    """Return a net that converts."""
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8))


def parametrized() -> nn.Module:
    """Return a net whose second convolution has a parametrized weight."""
    model = net()
    parametrize.register_parametrization(model[2], "weight", nn.Identity())  # type: ignore[index]
    return model


def weight_normed() -> nn.Module:
    """Return a net with weight_norm of the old style."""
    model = net()
    nn.utils.weight_norm(model[2])  # type: ignore[index]
    return model


def tied() -> nn.Module:
    """Return a net of two convolutions on one weight."""
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3))
    model[2].weight = model[1].weight
    return model


class Overwritten(nn.Module):
    """A net that writes into the input of a ReLU after the call."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run."""
        x = self.conv(x)
        y: torch.Tensor = self.relu(x)
        x += 1.0
        return x + y


REFUSED: dict[str, Callable[[], nn.Module]] = {
    "nn.DataParallel": lambda: nn.DataParallel(net()),
    "torch.compile'd": lambda: torch.compile(net()),  # type: ignore[return-value]
    "ScriptModule": lambda: torch.jit.script(net()),
    "lazy": lambda: nn.Sequential(nn.LazyConv2d(8, 3), nn.ReLU()),
    "meta device": lambda: net().to("meta"),
    "quantized": lambda: nn.Sequential(torch.ao.nn.quantized.Conv2d(3, 8, 3)),
    "already dynamic": lambda: ds.convert(net(), X),
    "without a site": lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 2)),
}
SITES: dict[str, Callable[[], nn.Module]] = {
    "parametrized weight": parametrized,
    "weight_norm, old style": weight_normed,
    "tied weights": tied,
    "frozen parameters": lambda: net().requires_grad_(False),
    "input of a ReLU overwritten": lambda: nn.Sequential(nn.Conv2d(3, 3, 1), Overwritten()),
    "half precision": lambda: net().half(),
}


def main() -> None:
    """Print the messages as Markdown."""
    warnings.filterwarnings("ignore")
    print("# Forms that are refused, and sites that stay static\n")
    print("Made by `python benchmarks/refusals.py`. DistributedDataParallel and")
    print("FullyShardedDataParallel are refused as DataParallel is.\n")
    print("| model | error | message |\n|---|---|---|")
    for name, build in REFUSED.items():
        try:
            ds.convert(build(), X)
            print(f"| {name} | none | converts |")
        except ds.SurgeryError as error:
            print(f"| {name} | {type(error).__name__} | {error} |")
    print("\n| model | sites |\n|---|---|")
    for name, build in SITES.items():
        model = build()
        inputs = X.to(next(model.parameters()).dtype)
        rows = [f"`{s.name}`: {s.operator or s.reason}" for s in ds.plan(model, inputs).sites]
        print(f"| {name} | {'; '.join(rows)} |")


if __name__ == "__main__":
    main()
