"""What dynamic networks cost in onnxruntime, as ratios to the static ones in the same process.

    python benchmarks/onnx_ratios.py resnet18:conv mobilenet_v2:conv --forms plain,native
    python benchmarks/onnx_ratios.py resnet18:both --forms native --batches 1,8 --profile

A row a network and form, at batch 1 with the fixed batch and with the free one, then at larger
batches with the free one. All files of a network are timed in the same rounds. Nothing else should
be running.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import onnxruntime as ort
import torch
import torchvision
from torch import nn

import dynsurgeon as ds
from dynsurgeon.measure.interleave import interleaved
from dynsurgeon.measure.machine import describe_machine
from dynsurgeon.measure.noise import noise_warning, others_load
from dynsurgeon.measure.session import timed_session

CONFIGS = {
    "conv": ds.SurgeryConfig(activation=None),
    "relu": ds.SurgeryConfig(conv=None),
    "both": ds.SurgeryConfig(),
}
SIZE = (3, 224, 224)
FREE = {"plain": "scan"}
"""The form of a free batch that goes with a form of batch 1."""


def main() -> None:
    """Measure what the arguments name and print a table."""
    options = parse()
    torch.set_num_threads(options.threads)
    print(json.dumps({**describe_machine(), "onnxruntime": ort.__version__,
                      "threads": options.threads, "rounds": options.rounds}))  # fmt: skip
    load = others_load()
    print("| network | what | form | batch of the file | batch | static ms | dynamic ms | ratio | "
          "ratio of the least | ms an image |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|---|")
    for subject in options.subjects:
        with TemporaryDirectory() as folder:
            measure(subject, Path(folder), options, load)


def measure(subject: str, folder: Path, options: argparse.Namespace, load: float | None) -> None:
    """Print the rows of one network."""
    name, what = subject.split(":")
    torch.manual_seed(0)
    static = getattr(torchvision.models, name)(weights=None).eval()
    x = torch.randn(1, *SIZE)
    dynamic = ds.convert(static, x, CONFIGS[what])
    files = {("static", 1): export(static, folder / "static.onnx", x, 1, "rule")}
    for form in options.forms:
        files[form, 1] = export(dynamic, folder / f"{form}.onnx", x, 1, form)
        free = FREE.get(form, form)
        files[form, None] = export(dynamic, folder / f"{form}-any.onnx", x, None, free)
    for batch in options.batches:
        report(name, what, batch, files, options, load)
    if options.profile:
        for form in ("static", *options.forms):
            print(f"{name} {what} {form}:", profile(files[form, 1], options.threads))


def export(model: nn.Module, path: Path, x: torch.Tensor, batch: int | None, form: str) -> Path:
    """Write one verified file."""
    return ds.export_onnx(model, path, x, batch=batch, form=form).path


def report(
    name: str,
    what: str,
    batch: int,
    files: dict[tuple[str, int | None], Path],
    options: argparse.Namespace,
    load: float | None,
) -> None:
    """Time all files at one batch and print a row each; files of batch 1 run there alone."""
    x = torch.randn(batch, *SIZE)
    usable = {key: path for key, path in files.items() if key[1] in (None, batch)}
    one = {("static", 1): files["static", 1]}
    calls = {
        key: timed_session(path, [x if key in usable else x[:1]], threads=options.threads)
        for key, path in (one | usable).items()
    }
    timings = interleaved(calls, rounds=max(5, options.rounds // batch), warmup=5)  # type: ignore[arg-type,var-annotated]
    base = timings["static", 1]  # type: ignore[index]
    for key in usable:
        if key[0] == "static":
            continue
        found = timings[key]  # type: ignore[index]
        against = found.against(base)
        per_image = 1e3 * found.median / batch
        cells = [name, what, key[0], key[1] or "any", batch, f"{1e3 * base.median:.2f}"]
        cells += [f"{1e3 * found.median:.2f}", f"{against.ratio / batch:.2f}"]
        cells += [f"{against.least / batch:.2f}", f"{per_image:.2f}"]
        print("|", " | ".join(map(str, cells)), "|", flush=True)
    if warning := noise_warning(timings.values(), load):
        print(f"note: {warning}", flush=True)


def profile(path: Path, threads: int, runs: int = 20) -> str:
    """Return milliseconds a run by operator, the dearest first."""
    settings = ort.SessionOptions()
    settings.intra_op_num_threads, settings.enable_profiling = threads, True
    settings.log_severity_level = 3
    settings.profile_file_prefix = str(path.with_suffix(""))
    session = ort.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: torch.randn(1, *SIZE).numpy()}
    for _ in range(runs):
        session.run(None, feed)
    events = json.loads(Path(session.end_profiling()).read_text())
    spent: Counter[str] = Counter()
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("kernel_time"):
            spent[event["args"]["op_name"]] += event["dur"]
    return ", ".join(f"{op} {us / runs / 1e3:.2f}" for op, us in spent.most_common(8))


def parse() -> argparse.Namespace:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("subjects", nargs="+", metavar="NETWORK:conv|relu|both")
    parser.add_argument("--forms", type=lambda text: text.split(","), default=["plain", "native"])
    parser.add_argument("--batches", type=lambda t: [int(n) for n in t.split(",")], default=[1])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--profile", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
