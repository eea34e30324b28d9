"""Whole detectors as ONNX files, against torch, on two photographs: the table of docs/export.md.

    python benchmarks/detectors.py
    python benchmarks/detectors.py ssd300_vgg16 --side 320

Random weights (seed 0), every convolution and ReLU that can be dynamic, K = 4. The photographs are
those of scikit-learn. Counted are the boxes with weights far from the start, at the threshold that
the verification lays: with its own random weights a detector finds nothing, or ties.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
from sklearn.datasets import load_sample_images
from torch import Tensor
from torch.nn.functional import interpolate

import dynsurgeon as ds
from dynsurgeon.export.detectors.matching import total
from dynsurgeon.models.names import build_model

NETWORKS = (
    "fasterrcnn_resnet50_fpn",
    "retinanet_resnet50_fpn",
    "fcos_resnet50_fpn",
    "ssd300_vgg16",
    "ssdlite320_mobilenet_v3_large",
)


def photographs(side: int) -> list[Tensor]:
    """Return two photographs of ``(3, side, side)`` in [0, 1]."""
    images = [
        torch.from_numpy(image).permute(2, 0, 1) / 255 for image in load_sample_images().images
    ]
    return [interpolate(image[None], (side, side), mode="bilinear")[0] for image in images]


def row(name: str, side: int) -> str:
    """Convert, export and verify one detector, and say how its boxes match."""
    torch.manual_seed(0)
    sized = {} if name.startswith("ssd") else {"min_size": side, "max_size": side}
    model = build_model(name, "random", sized).eval()
    images = photographs(side)
    dynamic = ds.convert(model, (images,))
    with tempfile.TemporaryDirectory() as folder:
        try:
            result = ds.export_onnx(dynamic, Path(folder) / "model.onnx", (images,))
        except ds.SurgeryError as error:
            return f"| {name} | {type(error).__name__}: {error} |"
    far = [c.boxes for c in result.checks if c.boxes and c.name.startswith("perturbed")]
    found = total(far)
    return (
        f"| {name} | {max(found.expected, found.found)} | {found.matched} | {found.pixels:.1g} | "
        f"{found.score:.1g} |"
    )


def main() -> None:
    """Print a row for each network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--side", type=int, default=320)
    arguments = parser.parse_args()
    print("| network | boxes | matched | largest difference, pixels | in score |")
    print("|---|---|---|---|---|")
    for name in arguments.networks:
        print(row(name, arguments.side), flush=True)


if __name__ == "__main__":
    main()
