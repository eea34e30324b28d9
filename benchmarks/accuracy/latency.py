"""What the networks of `photo_run.py` cost in onnxruntime: one JSON line a network and variant.

    python benchmarks/accuracy/latency.py signs --classes 10 \
        lite0:static lite1:static lite2:static lite0:relu-b lite0:scale
    python benchmarks/accuracy/latency.py cifar --classes 10 --weights FOLDER \
        resnet20:static resnet32:static resnet20:relu-b

Every file is of batch 1, in standard operators; all are timed in the same rounds, and the first is
what the others are compared with. Dynamic networks are as converted: training changes no shape;
and their files are timed, not verified.
Nothing else should be running. The lines go to `results/latency-<name>.jsonl`, in place of those
that were there; `plot.py` reads them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from making import surgery
from pretrained import SIZES, load_pretrained
from run import HERE
from variants import VARIANTS

import dynsurgeon as ds
from dynsurgeon.export.exporter import write_unproven
from dynsurgeon.runtimes.onnxruntime import timed_session
from dynsurgeon.timing.interleave import interleaved
from dynsurgeon.timing.machine import describe_machine
from dynsurgeon.timing.noise import noise_warning, others_load


def main() -> None:
    """Export, time, write."""
    options = parse()
    torch.set_num_threads(options.threads)
    load = others_load()
    with TemporaryDirectory() as folder:
        calls = {subject: exported(subject, Path(folder), options) for subject in options.subjects}
        timings = interleaved(calls, rounds=options.rounds, warmup=5)
    base = timings[options.subjects[0]]
    machine = {**describe_machine(), "threads": options.threads, "rounds": options.rounds}
    rows = []
    for subject, timing in timings.items():
        network, variant = subject.split(":")
        ratio = timing.against(base).paired
        row = {"network": network, "variant": variant, "size": size(network, options)}
        row |= {"ms": round(1e3 * timing.median, 3), "ratio": round(ratio, 3)}
        rows.append(row | machine)
        print(f"{subject}: {1e3 * timing.median:.2f} ms, {ratio:.2f}", flush=True)
    if warning := noise_warning(timings.values(), load):
        print(f"note: {warning}")
    path = options.results / f"latency-{options.name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def exported(subject: str, folder: Path, options: argparse.Namespace) -> Callable[[], Any]:
    """Write a network's file and return a call that runs it on one image."""
    network, name = subject.split(":")
    variant, pixels = VARIANTS[name], size(network, options)
    x = torch.randn(1, 3, pixels, pixels)
    model = load_pretrained(network, options.classes, options.weights).eval()
    if name != "static":
        model = ds.convert(model, x, surgery(variant, 0))
    path = folder / f"{network}-{name}.onnx"
    write_unproven(model, path, x, batch=1)
    return timed_session(path, [x], threads=options.threads)


def size(network: str, options: argparse.Namespace) -> int:
    """Return the pixels of an image's side."""
    return int(options.size or SIZES[network])


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="of the results")
    parser.add_argument("subjects", nargs="+", help="network:variant, the static one first")
    parser.add_argument("--classes", type=int, required=True)
    parser.add_argument("--weights", type=Path, help="checkout of pytorch_resnet_cifar10")
    parser.add_argument("--size", type=int, help="pixels, if not those that it was trained with")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--results", type=Path, default=HERE / "results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
