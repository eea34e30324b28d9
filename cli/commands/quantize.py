"""``dynsurgeon quantize``: a dynamic network's file in 8 bits, calibrated on a folder of images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

from dynsurgeon.errors import StorageError

from ..options.shared import Callable, Directory, Force, Json
from ..options.training_data import Normalize
from ..output import INT8
from ..progress import steps
from ..render import print_json, say
from ..work.quantization_report import told

EXAMPLES = (
    "dynsurgeon quantize resnet18-dynamic --data photos",
    "dynsurgeon quantize resnet18-dynamic-finetuned --data photos --images 256 --json",
    "dynsurgeon quantize mynet-dynamic --data photos --model net.py:build -o small.onnx",
)


def run(
    directory: Directory,
    data: Annotated[
        Path,
        Option(
            metavar="FOLDER",
            help="Images to calibrate and to measure on. A folder of images for each class gives "
            "the accuracy, where the classes are the network's; else answers are compared.",
            show_default=False,
        ),
    ],
    images: Annotated[
        int, Option("--images", min=1, metavar="N", help="Images to calibrate on.")
    ] = 128,
    normalize: Normalize = "auto",
    output: Annotated[
        Path | None,
        Option("--output", "-o", metavar="FILE", help="The file. Default: DIR/model.int8.onnx."),
    ] = None,
    model: Callable = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Write the dynamic network in DIR as ONNX in 8 bits, and say what that costs and saves.

    Convolutions and linear layers compute in 8 bits; attentions and lines of a DY-ReLU stay in
    single precision.
    """
    path = output or directory / INT8
    if path.exists() and not force:
        raise StorageError(f"'{path}' is already there; pass --force to replace it, or another -o")
    with steps() as step:
        from ..work.loading import reload_subject
        from ..work.quantization import quantize_subject

        step(f"loading {directory}")
        subject = reload_subject(directory, model)
        step(f"quantising, calibrated on the images in {data}")
        document = quantize_subject(subject, directory, path, data, images, normalize)
    if json:
        print_json(document)
        return
    for line in told(document):
        say(line)
