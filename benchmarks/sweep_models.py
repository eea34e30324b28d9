"""Convert, prove, save, reload and export every model of a zoo; one JSON line a model.

    python benchmarks/sweep_models.py torchvision parity --output docs/sweep/torchvision.jsonl
    python benchmarks/sweep_models.py torchvision onnx --output docs/sweep/torchvision.onnx.jsonl
    python benchmarks/sweep_models.py timm parity --output docs/sweep/timm.jsonl
    python benchmarks/sweep_table.py docs/sweep/torchvision.jsonl docs/sweep/timm.jsonl

A line that is there already is not made again, so an interrupted sweep goes on where it stopped.
`benchmarks/sweep_table.py` writes docs/models.md from the lines.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import resource
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from sweep_names import TIMM_NAMES
from torch import nn

import dynsurgeon as ds
from dynsurgeon.inputs import DETECTORS, example_inputs
from dynsurgeon.models import build_model, torchvision_names
from dynsurgeon.surgery.inputs import Inputs
from dynsurgeon.surgery.run import run_model, tensors_of

Row = dict[str, Any]
LARGE = 250_000_000
"""Models above this many parameters get 2 kernels instead of 4: two banks must fit beside them."""


def main() -> None:
    """Sweep the zoo that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("zoo", choices=("torchvision", "timm"))
    parser.add_argument("stage", choices=("parity", "onnx"))
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=[], help="names to sweep instead of all")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    names = options.only or (torchvision_names() if options.zoo == "torchvision" else TIMM_NAMES)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    done = {row["name"] for row in read_rows(options.output)}
    for name in names:
        if name not in done:
            row = sweep(name, options.stage)
            with options.output.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)
            gc.collect()


def read_rows(path: Path) -> list[Row]:
    """Read the lines that a sweep has written."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def sweep(name: str, stage: str) -> Row:
    """Take one model through one stage; what fails is in the row, by name."""
    row: Row = {"name": name}
    start = time.perf_counter()
    try:
        torch.manual_seed(0)
        model = build(name)
        perturb_statistics(model)
        inputs = runnable_inputs(name, model)
        row["input"] = str([tuple(t.shape) for t in tensors_of(inputs)][:2])
        config = _config(model)
        if stage == "parity":
            _convert_and_prove(row, model, inputs, config)
        else:
            row |= export(model, inputs, config)
    except Exception as error:
        row["error"] = f"{type(error).__name__}: {str(error).splitlines()[0][:300]}"
    row["seconds"] = round(time.perf_counter() - start, 1)
    row["peak_gib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 1)
    return row


def build(name: str) -> nn.Module:
    """Build a model without weights; detectors on small images and few proposals."""
    small = {"min_size": 96, "max_size": 160}
    few = {"rpn_post_nms_top_n_train": 50, "rpn_post_nms_top_n_test": 50}
    for arguments in ({**small, **few}, small):
        try:
            return build_model(name, "random", arguments)
        except ds.SurgeryError:
            continue
    return build_model(name, "random")


def perturb_statistics(model: nn.Module) -> None:
    """Make running statistics as uneven as training makes them."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_var is not None:
            assert module.running_mean is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)


def runnable_inputs(name: str, model: nn.Module) -> Inputs:
    """Return the smallest usual inputs that the model runs on in both modes."""
    error: Exception | None = None
    for inputs in _attempts(name, model):
        try:
            for mode in ("eval", "train"):
                run_model(model, inputs, mode)
            return inputs
        except Exception as failure:
            error = failure
    raise error or RuntimeError("no inputs to try")


def _attempts(name: str, model: nn.Module) -> Iterator[Inputs]:
    if isinstance(model, DETECTORS):
        (images,) = example_inputs(name, model, (3, 96, 96)).args
        yield Inputs(images, [_target(model) for _ in images])
        return
    for size in ((3, 96, 96), (3, 128, 128), (3, 8, 64, 64), (3, 16, 112, 112)):
        try:
            yield example_inputs(name, model, size)
        except ds.SurgeryError:
            continue
    yield example_inputs(name, model)


def _target(model: nn.Module) -> dict[str, torch.Tensor]:
    target = {
        "boxes": torch.tensor([[10.0, 10.0, 60.0, 70.0], [30.0, 20.0, 80.0, 90.0]]),
        "labels": torch.tensor([1, 1]),
    }
    if type(model).__name__ == "MaskRCNN":
        target["masks"] = torch.ones(2, 96, 96, dtype=torch.uint8)
    if type(model).__name__ == "KeypointRCNN":
        target["keypoints"] = torch.rand(2, 17, 3) * 40 + 20
    return target


def _config(model: nn.Module) -> ds.SurgeryConfig:
    large = sum(p.numel() for p in model.parameters()) > LARGE
    return ds.SurgeryConfig(conv=ds.DynamicConvConfig(experts=2 if large else 4))


def _convert_and_prove(
    row: Row, model: nn.Module, inputs: Inputs, config: ds.SurgeryConfig
) -> None:
    plan = ds.plan(model, inputs, config)
    row["sites"], row["converted"] = len(plan.sites), len(plan.converted)
    row["skips"] = Counter(str(site.reason) for site in plan.skipped)
    row["notes"] = list(plan.notes)
    for total in ("params_before", "params_after", "macs_before", "macs_after"):
        row[total] = getattr(plan, total)
    row["experts"] = config.conv.experts if config.conv else 0
    if not plan.converted:
        row["outcome"] = "no site"
        return
    dynamic, row["convert_seconds"] = timed(lambda: ds.convert(model, inputs, config))
    receipt = ds.check_parity(model, dynamic, inputs)
    row["passed"], row["parity"] = receipt.passed, {}
    row["max_rel"], row["parity_notes"] = receipt.max_rel, list(receipt.notes)
    for mode in receipt.modes:
        sites = [site.max_rel for site in receipt.sites if site.mode == mode]
        row["parity"][mode] = [receipt.output_rel[mode], max(sites, default=0.0)]
    row["reload_equal"] = _reloads_equal(model, dynamic, inputs)
    row["outcome"] = "converted"


def timed(run: Callable[[], Any]) -> tuple[Any, float]:
    """Run and return the result with the seconds it took."""
    start = time.perf_counter()
    result = run()
    return result, round(time.perf_counter() - start, 1)


def _reloads_equal(model: nn.Module, dynamic: nn.Module, inputs: Inputs) -> bool:
    before = tensors_of(run_model(dynamic, inputs, "eval"))
    with tempfile.TemporaryDirectory() as directory:
        ds.save(dynamic, directory)
        reloaded = ds.load(directory, copy.deepcopy(model), copy=False)
    after = tensors_of(run_model(reloaded, inputs, "eval"))
    return all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def export(model: nn.Module, inputs: Inputs, config: ds.SurgeryConfig) -> Row:
    """Export the converted model, or a detector's converted backbone, and verify it."""
    if isinstance(model, DETECTORS) and hasattr(model, "backbone"):
        side = 320 if type(model).__name__ == "SSD" else 96
        model, inputs = model.backbone, Inputs(torch.randn(2, 3, side, side))
    dynamic = ds.convert(model.eval(), inputs, config)
    with tempfile.TemporaryDirectory() as directory:
        result = ds.export_onnx(dynamic, Path(directory) / "model.onnx", inputs)
    return {"passed": result.passed, "max_rel": result.max_rel, "form": result.form}


if __name__ == "__main__":
    main()
