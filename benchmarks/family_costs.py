"""What every operator costs in a runtime, beside the static network in the same rounds.

    python benchmarks/family_costs.py resnet18 mobilenet_v2 mobilenet_v3_small --files DIR
    python benchmarks/family_costs.py resnet18 --only scale,relu --batches 1 --files DIR
    python benchmarks/family_costs.py resnet18 --engine openvino --files DIR

A row an operator, a column a batch: the median, round by round, of its time over that of the
static network at the same batch. Files take any batch and hold standard operators. Those that
lie in DIR are not exported again, so a call that was cut off goes on where it stood. They are
timed, not verified. Exporting takes most of the time; all should be quiet while it times.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from datetime import date
from pathlib import Path

import torch
import torchvision
from onnx_ratios import CONFIGS, SIZE

import dynsurgeon as ds
from dynsurgeon.errors import SurgeryError
from dynsurgeon.export.exporter import write_unproven
from dynsurgeon.runtimes.onnxruntime import timed_session
from dynsurgeon.runtimes.table import RUNTIMES
from dynsurgeon.timing.interleave import interleaved
from dynsurgeon.timing.machine import describe_machine
from dynsurgeon.timing.noise import noise_warning

OPERATORS = ("relu", "relu-shift-max", "relu-se", "scale", "se", "dcd", "odconv-k1", "condconv")
MORE = {
    "odconv-k1": ds.SurgeryConfig(conv=ds.ODConvConfig(experts=1), activation=None),
    "scale+relu": ds.SurgeryConfig(conv="scale"),
    "scale+shift-max": ds.SurgeryConfig(conv="scale", activation="shift-max"),
}


def main() -> None:
    """Measure what the arguments name and print a table."""
    options = parse()
    torch.set_num_threads(options.threads)
    version = RUNTIMES[options.engine].installed_version()
    machine = {**describe_machine(), options.engine: version, "date": str(date.today())}
    print(json.dumps(machine | {"threads": options.threads, "rounds": options.rounds}))
    options.files.mkdir(parents=True, exist_ok=True)
    files = {
        network: {
            what: exported(network, what, options.files) for what in ("static", *options.only)
        }
        for network in options.networks
    }
    print("| network | operator |", " | ".join(f"batch {n}" for n in options.batches), "|")
    print("|---|---|" + "---|" * len(options.batches))
    for network, found in files.items():
        report(network, {what: path for what, path in found.items() if path}, options)


def exported(network: str, what: str, folder: Path) -> Path | None:
    """Return the file of an operator, None where the network can't have it."""
    path = folder / f"{network}-{what}.onnx"
    if path.exists():
        return path
    torch.manual_seed(0)
    model = getattr(torchvision.models, network)(weights=None).eval()
    x = torch.randn(1, *SIZE)
    try:
        if what != "static":
            model = ds.convert(model, x, (CONFIGS | MORE)[what])
        write_unproven(model, path, x, batch=None)
    except SurgeryError as error:
        print(f"note: {network} with {what}: {error}", flush=True)
        return None
    return path


def report(network: str, files: dict[str, Path], options: argparse.Namespace) -> None:
    """Time all files of a network at each batch, and print a row an operator."""
    ratios: dict[str, list[str]] = {what: [] for what in files}
    for batch in options.batches:
        x = torch.randn(batch, *SIZE)
        calls = {what: timed_call(path, x, options) for what, path in files.items()}
        rounds = max(5, options.rounds // batch)
        timings = interleaved(calls, rounds=rounds, warmup=2)
        for what, timing in timings.items():
            ratios[what].append(f"{timing.against(timings['static']).paired:.2f}")
        if warning := noise_warning(timings.values()):
            print(f"note: {network}, batch {batch}: {warning}", flush=True)
    for what, cells in ratios.items():
        print(f"| {network} | {what} |", " | ".join(cells), "|", flush=True)


def timed_call(path: Path, x: torch.Tensor, options: argparse.Namespace) -> Callable[[], object]:
    """Return a call of the file on `x` in the engine that was named."""
    if options.engine == "onnxruntime":
        return timed_session(path, [x], threads=options.threads)
    return RUNTIMES[options.engine].load(path, options.threads).bound([x])


def parse() -> argparse.Namespace:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("networks", nargs="+", metavar="NETWORK")
    parser.add_argument("--files", type=Path, required=True, help="folder of the exported files")
    parser.add_argument("--only", type=lambda text: text.split(","), default=OPERATORS)
    parser.add_argument("--batches", type=lambda t: [int(n) for n in t.split(",")], default=[1, 8])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--engine", choices=tuple(RUNTIMES), default="onnxruntime")
    return parser.parse_args()


if __name__ == "__main__":
    main()
