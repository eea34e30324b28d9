"""Dynamic convolution beside what PyPI offers, layer by layer, as ratios to the static convolution.

    pip install timm fightingcv-attention
    python benchmarks/torch_peers.py
    python benchmarks/torch_peers.py --batch 8 --threads 1

Peers: timm's `CondConv2d` with a linear routing in front, `fightingcv_attention`'s `DynamicConv`.
Whole layers, attention included, K = 4, forward / forward and backward, in the same rounds. A cell
in bold is slower by more than 5 % than the fastest peer. Nothing else should be running.
"""

from __future__ import annotations

import argparse
import importlib
import json
from fnmatch import fnmatch
from typing import Any

import torch
from torch import Tensor, nn
from torch_layers import LAYERS, inference, training

import dynsurgeon as ds
from dynsurgeon.timing.interleave import interleaved
from dynsurgeon.timing.machine import describe_machine
from dynsurgeon.timing.noise import noise_warning

PEERS = ("timm CondConv2d", "fightingcv DynamicConv")
EXPERTS = 4


class Routed(nn.Module):
    """timm's CondConv2d as its own EfficientNet calls it: pooled, a linear layer, a sigmoid."""

    def __init__(self, conv: nn.Module, channels: int) -> None:
        super().__init__()
        self.conv, self.routing = conv, nn.Linear(channels, EXPERTS)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x, torch.sigmoid(self.routing(x.mean((2, 3)))))
        return y


def main() -> None:
    """Print the table."""
    options = parse()
    torch.set_num_threads(options.threads)
    print(json.dumps({**describe_machine(), "torch": torch.__version__, **vars(options)}))
    print(f"| layer | static ms | dynsurgeon | {' | '.join(PEERS)} |\n|---|---|---|---|---|")
    for name in LAYERS:
        if fnmatch(name, options.layers):
            print(row(name, options), flush=True)


def row(name: str, options: argparse.Namespace) -> str:
    """Measure one layer."""
    channels, out, kernel, stride, size, groups = LAYERS[name]
    layers = build(channels, out, kernel, stride, groups)
    x = torch.randn(options.batch, channels, size, size)
    for peer in PEERS:
        if not runs(layers[peer], x):  # fightingcv's takes the input's size for the output's
            del layers[peer]
    timings = [
        interleaved({k: wrap(net, x) for k, net in layers.items()}, rounds=options.rounds)
        for wrap in (inference, training)
    ]
    if noise_warning([times["static"] for times in timings]) is not None:
        name += " (noisy)"
    ratios = {k: [t[k].against(t["static"]).ratio for t in timings] for k in layers}
    static = " / ".join(f"{1e3 * times['static'].median:.2f}" for times in timings)
    return f"| {name} | {static} | {ours(ratios)} | {' | '.join(cell(ratios, p) for p in PEERS)} |"


def build(channels: int, out: int, kernel: int, stride: int, groups: int) -> dict[str, nn.Module]:
    """Build the static layer, ours and the peers'."""
    shape: dict[str, Any] = {"stride": stride, "padding": kernel // 2}
    timm, other = (
        importlib.import_module(name)
        for name in ("timm.layers", "fightingcv_attention.conv.DynamicConv")
    )
    conv = timm.CondConv2d(
        channels, out, kernel, groups=groups, num_experts=EXPERTS, **shape, bias=False
    )
    return {
        "static": nn.Conv2d(channels, out, kernel, groups=groups, bias=False, **shape),
        "dynsurgeon": ds.DynamicConv2d(
            channels, out, kernel, groups=groups, bias=False, **shape
        ),
        PEERS[0]: Routed(conv, channels),
        PEERS[1]: other.DynamicConv(
            channels, out, kernel, grounps=groups, bias=False, K=EXPERTS, **shape
        ),
    }  # fmt: skip


def runs(layer: nn.Module, x: Tensor) -> bool:
    """Whether a layer takes this input."""
    try:
        layer(x)
    except RuntimeError:
        return False
    return True


def ours(ratios: dict[str, list[float]]) -> str:
    """Our cell, bold where a peer is faster."""
    best = [min(ratios[peer][i] for peer in PEERS if peer in ratios) for i in (0, 1)]
    slower = any(
        mine > 1.05 * other for mine, other in zip(ratios["dynsurgeon"], best, strict=True)
    )
    return f"**{cell(ratios, 'dynsurgeon')}**" if slower else cell(ratios, "dynsurgeon")


def cell(ratios: dict[str, list[float]], name: str) -> str:
    """Forward / forward and backward; empty where the layer can't be built."""
    return " / ".join(f"{ratio:.2f}" for ratio in ratios[name]) if name in ratios else ""


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", default="*", help="pattern of names of torch_layers.py")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    return parser.parse_args()


if __name__ == "__main__":
    main()
