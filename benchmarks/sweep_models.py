"""Convert, prove, save, reload and export every model of a zoo; one JSON line a model.

    python benchmarks/sweep_models.py torchvision parity --output docs/sweep/torchvision.jsonl
    python benchmarks/sweep_models.py torchvision onnx --output docs/sweep/torchvision.onnx.jsonl
    python benchmarks/sweep_models.py timm parity --output docs/sweep/timm.jsonl
    python benchmarks/sweep_table.py models docs/sweep/torchvision.jsonl docs/sweep/timm.jsonl

A line that is there already is not made again, so an interrupted sweep goes on where it stopped.
`benchmarks/sweep_table.py` writes docs/models.md from the lines.
"""

from __future__ import annotations

import argparse
import gc
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from sweep_names import TIMM_NAMES
from sweeping import (
    Record,
    Row,
    append_row,
    config_for,
    convert,
    export,
    perturb_statistics,
    prove,
    read_rows,
)
from torch import nn

import dynsurgeon as ds
from dynsurgeon.models.examples import DETECTORS, example_inputs
from dynsurgeon.models.names import build_model, torchvision_names
from dynsurgeon.running.inputs import Inputs
from dynsurgeon.running.run import run_model, tensors_of


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
            append_row(options.output, sweep(name, options.stage))
            gc.collect()


def sweep(name: str, stage: str) -> Row:
    """Take one model through one stage; what fails is in the row, by name."""
    record = Record({"name": name})
    with record.measured():
        record.enter("build")
        torch.manual_seed(0)
        model = build(name)
        perturb_statistics(model)
        record.enter("run")
        inputs = runnable_inputs(name, model)
        record.row["input"] = str([tuple(t.shape) for t in tensors_of(inputs)][:2])
        if stage == "parity":
            dynamic = convert(record, model, inputs, config_for(model))
            if dynamic is not None:
                prove(record, model, dynamic, inputs)
        else:
            record.enter("export")
            record.row |= _export(model, inputs)
    return record.row


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


def _export(model: nn.Module, inputs: Inputs) -> Row:
    """Export the converted model, or a detector's converted backbone."""
    config = config_for(model)
    if isinstance(model, DETECTORS) and hasattr(model, "backbone"):
        side = 320 if type(model).__name__ == "SSD" else 96
        model, inputs = model.backbone, Inputs(torch.randn(2, 3, side, side))
    return export(ds.convert(model.eval(), inputs, config), inputs)


if __name__ == "__main__":
    main()
