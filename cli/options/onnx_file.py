"""The options that say how an ONNX file is written, and where it is proven."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from typer import Option

ONNX = "ONNX"

Runtimes = Annotated[
    list[str],
    Option(
        "--runtime",
        metavar="openvino|tract|web",
        help="Prove the file in this runtime too, in a process of its own. Can be repeated.",
        rich_help_panel=ONNX,
        show_default=False,
    ),
]


@dataclass(frozen=True)
class OnnxOptions:
    """How the ONNX file is written."""

    batch: Annotated[
        int | None,
        Option(
            min=1,
            metavar="N",
            help="A fixed batch in the ONNX file, instead of a free one.",
            rich_help_panel=ONNX,
            show_default=False,
        ),
    ] = None
    dynamic_size: Annotated[
        bool,
        Option("--dynamic-size", help="Leave height and width free too.", rich_help_panel=ONNX),
    ] = False
    opset: Annotated[
        int | None,
        Option(min=1, metavar="N", help="ONNX opset.", rich_help_panel=ONNX, show_default=False),
    ] = None
    form: Annotated[
        str,
        Option(
            metavar="NAME",
            help="Layout of the file: scan, portable or native (any batch), plain (batch 1), "
            "grouped (a fixed batch); rule takes the one that suits the batch, auto times every "
            "layer and the whole files on this machine and takes the fastest.",
            rich_help_panel=ONNX,
        ),
    ] = "rule"
    this_cpu: Annotated[
        bool,
        Option(
            "--this-cpu",
            help="Let --form auto choose native too: several times faster where depthwise "
            "convolutions are dynamic, but for onnxruntime on CPUs like this one alone.",
            rich_help_panel=ONNX,
        ),
    ] = False
    half: Annotated[
        bool,
        Option(
            "--half",
            help="The same as --bank half.",
            rich_help_panel=ONNX,
        ),
    ] = False
    bank: Annotated[
        str | None,
        Option(
            metavar="half|int8",
            help="Store the kernel banks in 16 or 8 bits: a half or a quarter of the file; "
            "computed in single precision. By default as the network has them.",
            rich_help_panel=ONNX,
            show_default=False,
        ),
    ] = None
    precision: Annotated[
        str | None,
        Option(
            metavar="fp16",
            help="Compute all in half precision, for GPUs; inputs and outputs stay as they are.",
            rich_help_panel=ONNX,
            show_default=False,
        ),
    ] = None
    target: Annotated[
        str | None,
        Option(
            metavar="NAME",
            help="What the file is for, instead of --form: onnxruntime, openvino, tract, web, "
            "tensorrt, portable (any runtime) or this-cpu (onnxruntime on CPUs like this one "
            "alone).",
            rich_help_panel=ONNX,
            show_default=False,
        ),
    ] = None
    runtimes: Runtimes = ()  # type: ignore[assignment] # none, in a form that nobody can add to

    def __post_init__(self) -> None:
        object.__setattr__(self, "runtimes", tuple(self.runtimes))
