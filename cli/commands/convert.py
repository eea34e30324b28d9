"""``dynsurgeon convert``: a network in, a proven dynamic network and a verified ONNX file out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

from dynsurgeon.errors import ConfigError
from dynsurgeon.form_names import NATIVE, THIS_CPU

from ..options.budget import BudgetOptions
from ..options.onnx_file import OnnxOptions
from ..options.shared import Force, Json, ModelOptions, Report
from ..options.surgery import SurgeryOptions
from ..options.surgery_config import surgery_config
from ..options.training_data import Normalize
from ..output import check_free, default_directory, staged_directory
from ..progress import steps
from ..render import print_json, say

EXAMPLES = (
    "dynsurgeon convert resnet18",
    "dynsurgeon convert resnet50 --weights random --experts 8 --exclude 'layer1.*' -o out",
    "dynsurgeon convert timm:mobilenetv3_small_100 --relu C --smooth",
    "dynsurgeon convert resnet18 --calibrate photos --report",
    "dynsurgeon convert resnet18 --target openvino --batch 1 --runtime openvino",
    "dynsurgeon convert net.py:build --weights net.pth --input-size 1 28 28 --model-arg classes=10",
)


def run(
    model: ModelOptions,
    surgery: SurgeryOptions,
    budget: BudgetOptions,
    onnx: OnnxOptions,
    output: Annotated[
        Path | None,
        Option("--output", "-o", metavar="DIR", help="Where to write. Default: MODEL-dynamic."),
    ] = None,
    calibrate: Annotated[
        Path | None,
        Option(
            metavar="FOLDER",
            help="Fit the attention to these images, labelled or not. The function stays.",
            show_default=False,
        ),
    ] = None,
    normalize: Normalize = "auto",
    no_onnx: Annotated[bool, Option("--no-onnx", help="Write no ONNX file.")] = False,
    latency: Annotated[
        bool,
        Option(
            "--latency/--no-latency",
            help="Time the ONNX file beside the static network's in onnxruntime, for some seconds.",
        ),
    ] = True,
    report: Report = False,
    force: Force = False,
    json: Json = False,
) -> None:
    """Convert MODEL, prove that it computes what it did, and write it with an ONNX file.

    DIR gets recipe.json, model.safetensors, model.onnx and receipt.json: all of them, or nothing.
    """
    if calibrate is None and normalize != "auto":
        raise ConfigError("--normalize is for the images of --calibrate, and there are none")
    if no_onnx and onnx != OnnxOptions():
        raise ConfigError("--no-onnx writes no ONNX file, so options about it would do nothing")
    measure = {"form": onnx.form, "this_cpu": onnx.this_cpu}
    given = measure if (onnx.form, onnx.this_cpu) != (OnnxOptions.form, False) else {}
    given |= {"form": NATIVE} if onnx.target == THIS_CPU else {}
    config = surgery_config(surgery, model.seed, budget, given)
    directory = output or default_directory(model.model)
    check_free(directory, force=force)
    with steps() as step:
        from ..work.conversion import (  # imports torch, which takes seconds
            Calibration,
            convert_named,
        )
        from ..work.reporting import report_directory, require_jinja2

        if report:
            require_jinja2()
        with staged_directory(directory, force=force) as staging:
            document = convert_named(
                staging,
                model,
                config,
                None if no_onnx else onnx,
                step,
                calibration=None if calibrate is None else Calibration(calibrate, normalize),
                latency=latency,
            )
        if report:
            step("writing the report")
            report_directory(directory)
    if json:
        print_json({**document, "directory": str(directory)})
        return
    from ..work.comparison import print_attention, print_comparison
    from ..work.onnx_report import boxes, choice, latency_lines, proofs

    print_comparison(document)
    found = document["onnx"]
    told = [] if found is None else [*choice(found), *(boxes(found) or []), *proofs(found)]
    for line in told if found is None else [*told, *latency_lines(found)]:
        say(line)
    if document["calibration"] is not None:
        print_attention(document["calibration"])
    say(f"wrote {directory}; check it any time with: dynsurgeon verify {directory}")
