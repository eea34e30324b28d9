"""How the time of plan and convert, and the memory of convert, grow with the number of sites.

    python benchmarks/scaling.py            # a chain of residual blocks, 8 to 128 of them
    python benchmarks/scaling.py resnet152 wide_resnet101_2

Memory is the peak resident size of a process of its own, less what it held before convert, over the
size of the original's and the converted model's tensors.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from typing import Any

import torch
from torch import nn
from torchvision.models import get_model
from torchvision.models.resnet import BasicBlock

import dynsurgeon as ds

DEPTHS = (8, 16, 32, 64, 128)
MEGABYTE = 2**20


def main() -> None:
    """Measure each size, or each named model, in a process of its own."""
    names = sys.argv[1:]
    if names[:1] == ["--child"]:
        print(json.dumps(measure(names[1])))
        return
    print("network           sites  plan s  convert s  ms a site  tensors MB  peak/tensors")
    for name in names or [f"chain-{depth}" for depth in DEPTHS]:
        command = [sys.executable, __file__, "--child", name]
        row = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        print(
            f"{name:16} {row['sites']:6} {row['plan']:7.2f} {row['convert']:10.2f} "
            f"{1000 * row['convert'] / row['sites']:10.1f} {row['tensors']:11.0f} "
            f"{row['peak'] / row['tensors']:13.2f}"
        )


def measure(name: str) -> dict[str, Any]:
    """Plan and convert one network, and return seconds, sites and megabytes."""
    model, inputs = build(name)
    model.eval()
    with torch.no_grad():
        model(inputs)  # what torch sets up at its first run is no part of convert
    original = _megabytes(model)
    before = _resident() - original
    start = time.perf_counter()
    dynamic = ds.convert(model, inputs)
    converted = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before
    start = time.perf_counter()
    plan = ds.plan(model, inputs)
    return {
        "sites": len(plan.converted),
        "plan": time.perf_counter() - start,
        "convert": converted,
        "tensors": original + _megabytes(dynamic),
        "peak": peak,
    }


def build(name: str) -> tuple[nn.Module, torch.Tensor]:
    """Build a chain of residual blocks, or a torchvision model without weights."""
    if name.startswith("chain-"):
        blocks = [BasicBlock(64, 64) for _ in range(int(name.removeprefix("chain-")))]
        return nn.Sequential(nn.Conv2d(3, 64, 1), *blocks), torch.randn(1, 3, 16, 16)
    return get_model(name, weights=None), torch.randn(1, 3, 64, 64)


def _megabytes(model: nn.Module) -> float:
    tensors = [*model.parameters(), *model.buffers()]
    return sum(t.numel() * t.element_size() for t in tensors) / MEGABYTE


def _resident() -> float:
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
