"""How fast onnxruntime mixes a kernel: a bank as a matrix, and in tiles.

    python benchmarks/onnx_mix.py

Prints gigabytes of bank read a second for kernels of several sizes (K = 4), and how fast torch
reads memory, which is the limit.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from dynsurgeon.graphs.tiles import to_tiles
from dynsurgeon.runtimes.onnxruntime import timed_session
from dynsurgeon.timing.interleave import interleaved

EXPERTS = 4
KERNELS = {
    "512x512x3x3": 2_359_296,
    "128x128x3x3": 147_456,
    "160x960": 153_600,
    "64x64x3x3": 36_864,
}
COLD = 256 * 2**20
"""Bytes of banks that a run goes through, so that no cache holds them."""


def main() -> None:
    """Measure every kernel and print a table."""
    threads = torch.get_num_threads()
    big = torch.randn(COLD // 4)
    read = interleaved({"sum": lambda: big.sum()}, rounds=9)["sum"].median
    print(f"{threads} threads; torch reads {COLD / read / 1e9:.0f} GB/s")
    print("| kernel | as a matrix GB/s | in tiles GB/s |\n|---|---|---|")
    for name, size in KERNELS.items():
        with TemporaryDirectory() as folder:
            count = max(1, COLD // (4 * EXPERTS * size))
            bank = torch.randn(EXPERTS, size)
            calls = {}
            tiles = torch.from_numpy(to_tiles(bank.numpy()))
            for kind, stored in (("matrix", bank), ("tiles", tiles)):
                path = Path(folder, f"{kind}.onnx")
                onnx.save(model(stored, count), path)
                pi = torch.softmax(torch.randn(1, EXPERTS), 1)
                calls[kind] = timed_session(path, [pi], threads=threads)
            seconds = interleaved(calls, rounds=15)
        total = 4 * EXPERTS * size * count
        speeds = [total / seconds[kind].median / 1e9 for kind in ("matrix", "tiles")]
        print(f"| {name} | {speeds[0]:.0f} | {speeds[1]:.0f} |", flush=True)


def model(bank: torch.Tensor, count: int) -> onnx.ModelProto:
    """Mix `count` banks, each with its own copy of the numbers."""
    weights = [numpy_helper.from_array(bank.numpy() + i, f"bank{i}") for i in range(count)]
    nodes = [helper.make_node("MatMul", ["pi", f"bank{i}"], [f"y{i}"]) for i in range(count)]
    shape = [1, bank.shape[1]] if bank.dim() == 2 else [bank.shape[0], 1, bank.shape[2]]
    outputs = [
        helper.make_tensor_value_info(f"y{i}", TensorProto.FLOAT, shape) for i in range(count)
    ]
    pi = helper.make_tensor_value_info("pi", TensorProto.FLOAT, [1, EXPERTS])
    graph = helper.make_graph(nodes, "mix", [pi], outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


if __name__ == "__main__":
    main()
