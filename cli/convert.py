"""``dynsurgeon convert``: a network in, a proven dynamic network and a verified ONNX file out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

from dynsurgeon.errors import ConfigError

from .options import Force, Json, ModelOptions, OnnxOptions, SurgeryOptions
from .output import check_free, default_directory, staged_directory
from .render import print_json, say, steps
from .settings import surgery_config

EXAMPLES = (
    "dynsurgeon convert resnet18",
    "dynsurgeon convert resnet50 --weights random --experts 8 --exclude 'layer1.*' -o out",
    "dynsurgeon convert timm:mobilenetv3_small_100 --relu C --smooth",
    "dynsurgeon convert net.py:build --weights net.pth --input-size 1 28 28 --model-arg classes=10",
)


def run(
    model: ModelOptions,
    surgery: SurgeryOptions,
    onnx: OnnxOptions,
    output: Annotated[
        Path | None,
        Option("--output", "-o", metavar="DIR", help="Where to write. Default: MODEL-dynamic."),
    ] = None,
    no_onnx: Annotated[bool, Option("--no-onnx", help="Write no ONNX file.")] = False,
    force: Force = False,
    json: Json = False,
) -> None:
    """Convert MODEL, prove that it computes what it did, and write it with an ONNX file.

    DIR gets recipe.json, model.safetensors, model.onnx and receipt.json: all of them, or nothing.
    """
    if no_onnx and onnx != OnnxOptions():
        raise ConfigError("--no-onnx writes no ONNX file, so options about it would do nothing")
    config = surgery_config(surgery, model.seed)
    directory = output or default_directory(model.model)
    check_free(directory, force=force)
    with staged_directory(directory, force=force) as staging, steps() as step:
        from .conversion import convert_into  # imports torch, which takes seconds

        document = convert_into(staging, model, config, None if no_onnx else onnx, step)
    if json:
        print_json({**document, "directory": str(directory)})
        return
    from .comparison import print_comparison

    print_comparison(document)
    say(f"wrote {directory}; check it any time with: dynsurgeon verify {directory}")
