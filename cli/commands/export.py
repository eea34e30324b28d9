"""``dynsurgeon export``: a saved dynamic network to ONNX, in another form."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

from dynsurgeon.errors import ConfigError, StorageError

from ..options.onnx_file import OnnxOptions
from ..options.shared import Callable, Directory, Force, Json
from ..options.training_data import Normalize
from ..output import ONNX
from ..progress import steps
from ..render import print_json, say
from ..work.onnx_report import told

EXAMPLES = (
    "dynsurgeon export resnet18-dynamic --batch 1 -o resnet18-batch1.onnx",
    "dynsurgeon export resnet18-dynamic --form auto --this-cpu -o fastest-here.onnx",
    "dynsurgeon export resnet18-dynamic --bank int8 --data photos --force",
    "dynsurgeon export resnet18-dynamic --target web --batch 1 --runtime web -o web.onnx",
    "dynsurgeon export mynet-dynamic --model net.py:build",
)


def run(
    directory: Directory,
    onnx: OnnxOptions,
    output: Annotated[
        Path | None,
        Option("--output", "-o", metavar="FILE", help="The file. Default: DIR/model.onnx."),
    ] = None,
    data: Annotated[
        Path | None,
        Option(
            metavar="FOLDER",
            help="Count on these images too, labelled or not, how often the file and the network "
            "give the same answer.",
            show_default=False,
        ),
    ] = None,
    normalize: Normalize = "auto",
    model: Callable = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Write the dynamic network in DIR as ONNX, verified in onnxruntime."""
    path = output or directory / ONNX
    if path.exists() and not force:
        raise StorageError(f"'{path}' is already there; pass --force to replace it, or another -o")
    if data is None and normalize != "auto":
        raise ConfigError("--normalize is for the images of --data, and there are none")
    with steps() as step:
        from dynsurgeon.export.detectors.one_image import takes_images
        from dynsurgeon.workflow.receipt import update_receipt

        from ..work.agreement import agreement_on, boxes_on, images_in
        from ..work.conversion import export_named, export_settings
        from ..work.loading import reload_subject

        settings = export_settings(onnx)
        step(f"loading {directory}")
        subject = reload_subject(directory, model)
        images = None if data is None else images_in(data, subject, normalize)
        step(f"exporting to ONNX, and verifying in {', '.join(('onnxruntime', *onnx.runtimes))}")
        document = export_named(subject, path, settings)
        if images is not None:
            step(f"comparing answers on the images in {data}")
            if takes_images(subject.inputs):
                document["boxes"] = boxes_on(images, subject, path)
            else:
                document["agreement"] = agreement_on(images, subject, path)
        if path.resolve() == (directory / ONNX).resolve():
            update_receipt(directory, {"onnx": document})
    if json:
        print_json({**document, "path": str(path)})
        return
    for line in told(document, path):
        say(line)
