"""What dynamic networks cost in onnxruntime, as ratios to the static ones in the same process.

    python benchmarks/onnx_ratios.py resnet18:conv mobilenet_v2:conv --forms plain,native
    python benchmarks/onnx_ratios.py resnet18:both --forms native --batches 1,8 --profile
    python benchmarks/onnx_ratios.py resnet18:conv-k1 resnet18:conv-k2 --forms native
    python benchmarks/onnx_ratios.py resnet18:scale resnet18:relu-shift-max --forms rule
    python benchmarks/onnx_ratios.py resnet50:last-1x1 resnet50:balanced --forms native --files DIR

A row a network and form, at batch 1 with the fixed batch and with the free one, then at larger
batches with the free one. All files of a network are timed in the same rounds. Nothing else should
be running; with `--files` what was exported is kept, so that a second call does nothing but time.
*Paired* is the median of the ratios round by round, in which the machine's drift cancels; *least*
is the ratio of the fastest rounds.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import onnxruntime as ort
import torch
import torchvision

import dynsurgeon as ds
from dynsurgeon.runtimes.onnxruntime import timed_session
from dynsurgeon.timing.interleave import interleaved
from dynsurgeon.timing.machine import describe_machine
from dynsurgeon.timing.noise import noise_warning, others_load

CONFIGS = {
    "conv": ds.SurgeryConfig(activation=None),
    "relu": ds.SurgeryConfig(conv=None),
    "both": ds.SurgeryConfig(),
    "last-1x1": ds.SurgeryConfig(preset="last-1x1"),
    "balanced": ds.SurgeryConfig(preset="balanced"),
    "recommended": ds.SurgeryConfig(preset="recommended"),
} | {
    f"conv-k{experts}": ds.SurgeryConfig(
        activation=None, conv=ds.DynamicConvConfig(experts=experts)
    )
    for experts in (1, 2, 4, 8)
}
CONFIGS |= {
    name: ds.SurgeryConfig(conv=name, activation=None)
    for name in ("scale", "dcd", "se", "condconv", "odconv")
} | {
    f"relu-{name}": ds.SurgeryConfig(conv=None, activation=name)
    for name in ("shift-max", "se", "A")
}
SIZE = (3, 224, 224)
FREE = {"plain": "scan"}
"""The form of a free batch that goes with a form of batch 1."""


def main() -> None:
    """Measure what the arguments name and print a table."""
    options = parse()
    torch.set_num_threads(options.threads)
    machine = {**describe_machine(), "onnxruntime": ort.__version__, "date": str(date.today())}
    print(json.dumps(machine | {"threads": options.threads, "rounds": options.rounds}))
    load = others_load()
    print("| network | what | form | batch of the file | batch | static ms | dynamic ms | ratio | "
          "paired | least | ms an image |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for subject in options.subjects:
        with TemporaryDirectory() as folder:
            measure(subject, options.files or Path(folder), options, load)


def measure(subject: str, folder: Path, options: argparse.Namespace, load: float | None) -> None:
    """Print the rows of one network."""
    name, what = subject.split(":")
    files = paths(name, what, folder, options.forms)
    if options.fixed:
        files = {key: path for key, path in files.items() if key[1] is not None}
    if not all(path.exists() for path in files.values()):
        export(name, what, files)
    if options.export_only:
        return
    for batch in options.batches:
        report(name, what, batch, files, options, load)
    if options.profile:
        for form in ("static", *options.forms):
            print(f"{name} {what} {form}:", profile(files[form, 1], options.threads))


def paths(
    name: str, what: str, folder: Path, forms: list[str]
) -> dict[tuple[str, int | None], Path]:
    """Return each file by its form and batch."""
    files: dict[tuple[str, int | None], Path] = {("static", 1): folder / f"{name}.onnx"}
    for form in forms:
        files[form, 1] = folder / f"{name}-{what}-{form}.onnx"
        files[form, None] = folder / f"{name}-{what}-{form}-any.onnx"
    return files


def export(name: str, what: str, files: dict[tuple[str, int | None], Path]) -> None:
    """Write the files that are missing, each verified."""
    torch.manual_seed(0)
    static = getattr(torchvision.models, name)(weights=None).eval()
    x = torch.randn(1, *SIZE)
    dynamic = ds.convert(static, x, CONFIGS[what])
    for (form, batch), path in files.items():
        model, chosen = (static, "rule") if form == "static" else (dynamic, form)
        chosen = FREE.get(form, form) if batch is None else chosen
        if not path.exists():
            ds.export_onnx(model, path, x, batch=batch, form=chosen)


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
    timings = interleaved(calls, rounds=max(5, options.rounds // batch), warmup=5)  # type: ignore[arg-type]
    base = timings["static", 1]  # type: ignore[index]
    for key in usable:
        if key[0] == "static":
            continue
        found = timings[key]  # type: ignore[index]
        against = found.against(base)
        per_image = 1e3 * found.median / batch
        cells = [name, what, key[0], key[1] or "any", batch, f"{1e3 * base.median:.2f}"]
        cells += [f"{1e3 * found.median:.2f}"]
        ratios = (against.ratio, against.paired, against.least)
        cells += [f"{ratio / batch:.2f}" for ratio in ratios] + [f"{per_image:.2f}"]
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
    trace = Path(session.end_profiling())
    events = json.loads(trace.read_text())
    trace.unlink()
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
    parser.add_argument("--fixed", action="store_true", help="only files of batch 1")
    parser.add_argument("--files", type=Path, help="folder in which to keep the exported files")
    parser.add_argument("--export-only", action="store_true", help="time nothing")
    return parser.parse_args()


if __name__ == "__main__":
    main()
