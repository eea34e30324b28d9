"""What each form of a file costs in each runtime, as ratios to the static network's file there.

    python benchmarks/runtimes.py resnet18:both mobilenet_v2:both --runtimes openvino,web
    python benchmarks/runtimes.py resnet18:both --forms plain:1,scan:any --threads 2 --files DIR

A row a network, runtime, form and batch of the file; *paired* is the median of the ratios to the
static network, round by round, an image; *difference* the largest one from torch, over the largest
output. All files of a runtime are timed in the same rounds, each in a process of its own. With
`--files` what was exported is kept; a file that lies there is timed, whatever its form.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

import dynsurgeon as ds
from dynsurgeon.messages import first_line
from dynsurgeon.running.differences import difference
from dynsurgeon.runtimes.contract import LoadedFile
from dynsurgeon.runtimes.table import RUNTIMES, find_runtimes
from dynsurgeon.timing.interleave import Timing, interleaved
from dynsurgeon.timing.machine import describe_machine
from dynsurgeon.timing.noise import noise_warning, others_load

CONFIGS = {
    "conv": ds.SurgeryConfig(activation=None),
    "relu": ds.SurgeryConfig(conv=None),
    "both": ds.SurgeryConfig(),
}
FORMS = "plain:1,scan:any,portable:1,portable:any,native:any"
SIZE = (3, 224, 224)
STATIC = "static"
HEADER = ("network", "what", "runtime", "form", "batch of the file", "batch", "ms an image")
HEADER += ("ratio", "paired", "difference")

Key = tuple[str, str]
"""Form and batch of a file."""


def main() -> None:
    """Measure what the arguments name and print a table."""
    options = parse()
    torch.set_num_threads(options.threads)
    found = {runtime.name: runtime.version() for runtime in find_runtimes(options.runtimes)}
    machine = {**describe_machine(), **found, "date": str(date.today())}
    print(json.dumps(machine | {"threads": options.threads, "rounds": options.rounds}))
    print("|", " | ".join(HEADER), "|")
    print("|---" * len(HEADER) + "|")
    for subject in options.subjects:
        with TemporaryDirectory() as folder:
            measure(subject, options.files or Path(folder), options)


def measure(subject: str, folder: Path, options: argparse.Namespace) -> None:
    """Print the rows of one network."""
    name, what = subject.split(":")
    static, dynamic = networks(name, what)
    files = {key: folder / f"{name}-{what}-{'-'.join(key)}.onnx" for key in options.forms}
    files[STATIC, "1"] = folder / f"{name}-static-1.onnx"
    for (form, batch), path in files.items():
        model, chosen = (static, "rule") if form == STATIC else (dynamic, form)
        if not path.exists():
            size = None if batch == "any" else int(batch)
            ds.export_onnx(model, path, torch.randn(2, *SIZE), batch=size, form=chosen)
    for runtime in options.runtimes:
        for batch in options.batches:
            report((name, what, runtime), files, dynamic, batch, options)


def networks(name: str, what: str) -> tuple[nn.Module, nn.Module]:
    """Return a static network and its dynamic form, whose kernels differ.

    Of equal ones a runtime may run a single one, as OpenVINO does.
    """
    torch.manual_seed(0)
    static = getattr(torchvision.models, name)(weights=None).eval()
    dynamic = ds.convert(static, torch.randn(1, *SIZE), CONFIGS[what])
    with torch.no_grad():
        for layer in dynamic.modules():
            if isinstance(layer, ds.DynamicConv):
                layer.weight.add_(1e-3 * layer.weight.std() * torch.randn_like(layer.weight))
    return static, dynamic


def report(
    place: tuple[str, str, str],
    files: Mapping[Key, Path],
    dynamic: nn.Module,
    batch: int,
    options: argparse.Namespace,
) -> None:
    """Time all files that take a batch in one runtime, and print a row each."""
    load = others_load()
    x = torch.randn(batch, *SIZE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = dynamic(x)
    usable = {key: path for key, path in files.items() if key[1] in ("any", str(batch))}
    usable[STATIC, "1"] = files[STATIC, "1"]
    opened = dict(sessions(place[2], usable, x, options.threads))
    ready = {key: found for key, found in opened.items() if not isinstance(found, str)}
    calls = {key: found.bound([fed(key, x)]) for key, found in ready.items()}
    times: dict[Any, Timing] = interleaved(calls, rounds=options.rounds)  # type: ignore[arg-type]
    for key, found in opened.items():
        cells = [*place, *key, str(batch)]
        if isinstance(found, str):
            cells += [found, "", "", ""]
        elif key[0] != STATIC or batch == 1:
            samples = len(fed(key, x))
            against = times[key].against(times[STATIC, "1"])
            cells += [f"{1e3 * times[key].median / samples:.1f}"]
            cells += [f"{ratio / samples:.2f}" for ratio in (against.ratio, against.paired)]
            cells += ["" if key[0] == STATIC else off(found, x, expected)]
        else:
            continue
        print("|", " | ".join(cells), "|", flush=True)
    if warning := noise_warning(times.values(), load):
        print(f"note: {warning}", flush=True)


def sessions(
    runtime: str, files: Mapping[Key, Path], x: Tensor, threads: int
) -> Iterator[tuple[Key, LoadedFile | str]]:
    """Yield each file as the runtime has loaded it, or what it says of it."""
    for key, path in files.items():
        try:
            loaded = RUNTIMES[runtime].load(path, threads)
            loaded.run([fed(key, x)])
            yield key, loaded
        except Exception as error:
            yield key, first_line(error, limit=200)


def fed(key: Key, x: Tensor) -> Tensor:
    """Return what a file is given: one image, where it takes no more."""
    return x[:1] if key[1] == "1" else x


def off(loaded: LoadedFile, x: Tensor, expected: Tensor) -> str:
    """Return how far a file is from torch, of the largest output."""
    (found,) = loaded.run([x])
    return f"{difference(expected, found).relative_or_gap:.1e}"


def parse() -> argparse.Namespace:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("subjects", nargs="+", metavar="NETWORK:conv|relu|both")
    parser.add_argument("--runtimes", type=lambda t: t.split(","), default=list(RUNTIMES))
    parser.add_argument("--forms", type=_forms, default=_forms(FORMS), metavar="FORM:BATCH,…")
    parser.add_argument("--batches", type=lambda t: [int(n) for n in t.split(",")], default=[1])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--files", type=Path, help="folder in which to keep the exported files")
    return parser.parse_args()


def _forms(text: str) -> list[Key]:
    pairs = (word.partition(":") for word in text.split(","))
    return [(form, batch) for form, _, batch in pairs]


if __name__ == "__main__":
    main()
