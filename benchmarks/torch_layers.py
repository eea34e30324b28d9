"""What each algorithm of execution costs in PyTorch, by layer, as a ratio to the static
convolution.

    python benchmarks/torch_layers.py
    python benchmarks/torch_layers.py --layers '3x3 *' --batch 8 --channels-last --threads 1

A row a layer: forward, and forward with backward, of every algorithm that fits it; the algorithm
that `dynsurgeon.operators.execution.choice` picks is marked. All algorithms of a layer are timed in
the same rounds. Attention is left out: the same for all. Nothing else should be running.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from fnmatch import fnmatch

import torch
from torch import Tensor, nn

from dynsurgeon.operators import DynamicConv2d
from dynsurgeon.operators.execution import (
    LEAN_ALGORITHMS,
    Algorithm,
    LeanAlgorithm,
    choose,
    grouped,
    stacked,
)
from dynsurgeon.timing.interleave import interleaved
from dynsurgeon.timing.machine import describe_machine
from dynsurgeon.timing.noise import noise_warning

LAYERS = {
    "3x3 64 28x28": (64, 64, 3, 1, 28, 1),
    "3x3 64-128 28x28/2": (64, 128, 3, 2, 28, 1),
    "3x3 128 14x14": (128, 128, 3, 1, 14, 1),
    "3x3 128-256 14x14/2": (128, 256, 3, 2, 14, 1),
    "3x3 256 7x7": (256, 256, 3, 1, 7, 1),
    "3x3 256-512 7x7/2": (256, 512, 3, 2, 7, 1),
    "3x3 512 4x4": (512, 512, 3, 1, 4, 1),
    "1x1 64-128 28x28/2": (64, 128, 1, 2, 28, 1),
    "1x1 256-512 7x7/2": (256, 512, 1, 2, 7, 1),
    "1x1 96-24 28x28": (96, 24, 1, 1, 28, 1),
    "1x1 64-384 7x7": (64, 384, 1, 1, 7, 1),
    "1x1 512-2048 4x4": (512, 2048, 1, 1, 4, 1),
    "depthwise 144 28x28": (144, 144, 3, 1, 28, 144),
    "depthwise 384 7x7": (384, 384, 3, 1, 7, 384),
    "grouped 256/32 14x14": (256, 256, 3, 1, 14, 32),
    "grouped 1024/32 4x4": (1024, 1024, 3, 1, 4, 32),
    "wide 3x3 128 28x28": (128, 128, 3, 1, 28, 1),
    "wide 3x3 256 14x14": (256, 256, 3, 1, 14, 1),
    "wide 3x3 512 14x14": (512, 512, 3, 1, 14, 1),
    "small 3x3 32 7x7": (32, 32, 3, 1, 7, 1),
    "small 3x3 64 7x7": (64, 64, 3, 1, 7, 1),
    "small 3x3 128 7x7": (128, 128, 3, 1, 7, 1),
    "small 3x3 64 4x4": (64, 64, 3, 1, 4, 1),
    "small 3x3 128 4x4": (128, 128, 3, 1, 4, 1),
    "tiny 3x3 8 14x14": (8, 8, 3, 1, 14, 1),
    "tiny 3x3 16-32 7x7": (16, 32, 3, 1, 7, 1),
    "tiny 1x1 16-96 7x7": (16, 96, 1, 1, 7, 1),
}
"""Channels in and out, kernel, stride, size of the input, groups."""

PLAIN: dict[str, Algorithm] = {"grouped": grouped, "stacked": stacked}


def main() -> None:
    """Print the table."""
    options = parse()
    torch.set_num_threads(options.threads)
    settings = ("threads", "batch", "channels_last")
    print(json.dumps({**describe_machine(), **{key: getattr(options, key) for key in settings}}))
    print(f"| layer | static ms | {' | '.join([*PLAIN, *LEAN_ALGORITHMS])} |")
    print("|---|---|" + "---|" * (len(PLAIN) + len(LEAN_ALGORITHMS)))
    for name in LAYERS:
        if fnmatch(name, options.layers):
            print(row(name, options), flush=True)


def row(name: str, options: argparse.Namespace) -> str:
    """Measure one layer."""
    channels, out, kernel, stride, size, groups = LAYERS[name]
    static = nn.Conv2d(channels, out, kernel, stride, kernel // 2, groups=groups, bias=False)
    layer = DynamicConv2d(
        channels, out, kernel, stride, kernel // 2, groups=groups, bias=False
    ).requires_grad_()
    layout = torch.channels_last if options.channels_last else torch.contiguous_format
    x = torch.randn(options.batch, channels, size, size).to(memory_format=layout)
    static.to(memory_format=layout)  # type: ignore[call-overload]
    pi = torch.softmax(torch.randn(options.batch, layer.experts), 1)
    calls = {"static": (lambda v: static(v))}
    for algorithm_name, algorithm in {**PLAIN, **LEAN_ALGORITHMS}.items():
        if fits(algorithm_name, layer):
            calls[algorithm_name] = bound(algorithm, layer, pi)
    forward = interleaved({k: inference(c, x) for k, c in calls.items()}, rounds=options.rounds)
    both = interleaved({k: training(c, x) for k, c in calls.items()}, rounds=options.rounds)
    if noise_warning([forward["static"], both["static"]]) is not None:
        name += " (noisy)"
    chosen = choose(x, pi, layer.weight, layer.geometry)
    chosen_name = chosen.name if isinstance(chosen, LeanAlgorithm) else chosen.__name__
    cells = []
    for algorithm_name in {**PLAIN, **LEAN_ALGORITHMS}:
        if algorithm_name not in calls:
            cells.append("")
            continue
        ratios = [t[algorithm_name].against(t["static"]).ratio for t in (forward, both)]
        cell = " / ".join(f"{ratio:.1f}" for ratio in ratios)
        cells.append(f"**{cell}**" if algorithm_name == chosen_name else cell)
    times = " / ".join(f"{1e3 * t['static'].median:.2f}" for t in (forward, both))
    return f"| {name} | {times} | {' | '.join(cells)} |"


def fits(name: str, layer: DynamicConv2d) -> bool:
    """Whether an algorithm can run this layer."""
    if name == "pointwise":
        return layer.groups == 1 and layer.kernel_size == (1, 1)
    return layer.groups == 1 or name not in ("tiled", "outputs")


def bound(algorithm: Algorithm, layer: DynamicConv2d, pi: Tensor) -> Callable[[Tensor], Tensor]:
    """Return a call of `algorithm` that trains bank and attention."""
    share = pi.clone().requires_grad_()
    return lambda x: algorithm(x, share, layer.weight, layer.bias, layer.geometry)


def inference(call: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], Tensor]:
    """Return a call without autograd."""

    def run() -> Tensor:
        with torch.no_grad():
            return call(x)

    return run


def training(call: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], None]:
    """Return a call forward and backward."""
    leaf = x.clone().requires_grad_()
    direction = torch.randn_like(call(leaf))
    return lambda: call(leaf).backward(direction)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", default="*", help="pattern of names")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--channels-last", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
