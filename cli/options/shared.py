"""The options that commands share, in groups."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from dynsurgeon.registry import operator_names

MODEL, SURGERY, ONNX = "Model", "Surgery", "ONNX"


class Start(StrEnum):
    """Starts of dynamic convolution on the command line."""

    IDENTICAL = "identical"
    ZERO_SUM = "zero-sum"


InputSize = Annotated[
    str | None,
    Option(
        "--input-size",
        metavar="N N N",
        help="Shape of one sample, as in 3 224 224. By default what the model is known to take.",
        rich_help_panel=MODEL,
    ),
]

Json = Annotated[bool, Option("--json", help="Print one JSON document instead of tables.")]

Force = Annotated[bool, Option("--force", help="Replace what an earlier run left there.")]

Directory = Annotated[
    Path, Argument(metavar="DIR", help="A directory that convert wrote.", show_default=False)
]

Callable = Annotated[
    str | None,
    Option(
        "--model",
        metavar="SPEC",
        help="The model's package.module:callable or file.py:callable, named again: a recipe "
        "never makes dynsurgeon run code.",
        rich_help_panel=MODEL,
    ),
]


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
class ModelOptions:
    """Which network, with which weights, on which inputs."""

    model: Annotated[
        str,
        Argument(
            metavar="MODEL",
            help="A torchvision name, timm:NAME, package.module:callable or file.py:callable.",
            show_default=False,
        ),
    ]
    weights: Annotated[
        str | None,
        Option(
            metavar="DEFAULT|NAME|random|FILE",
            help="torchvision's or timm's default weights, others by name, none, or a state_dict "
            "(.pth, .safetensors). A callable's model keeps its own by default.",
            rich_help_panel=MODEL,
            show_default=False,
        ),
    ] = None
    model_arg: Annotated[
        list[str] | None,
        Option(
            "--model-arg",
            metavar="KEY=VALUE",
            help="An argument for the model's builder, as in num_classes=10. Can be repeated.",
            rich_help_panel=MODEL,
            show_default=False,
        ),
    ] = None
    input_size: InputSize = None
    seed: Annotated[
        int | None,
        Option(
            metavar="N",
            help="Seed of random weights, attention and inputs. Default: 0.",
            rich_help_panel=MODEL,
            show_default=False,
        ),
    ] = None


@dataclass(frozen=True)
class SurgeryOptions:
    """What becomes dynamic, and how. None means: as the file or the defaults say."""

    experts: Annotated[
        int | None,
        Option(
            metavar="N",
            help="Kernels of a dynamic convolution. Default: 4.",
            rich_help_panel=SURGERY,
            show_default=False,
        ),
    ] = None
    conv: Annotated[
        str | None,
        Option(
            metavar="|".join([*operator_names("conv"), "none"]),
            help="What convolutions become, or none to leave them alone. Default: dynamic.",
            rich_help_panel=SURGERY,
            show_default=False,
        ),
    ] = None
    relu: Annotated[
        str | None,
        Option(
            metavar="|".join([*operator_names("activation"), "none"]),
            help="What activations become (a kind of DY-ReLU), or none to leave them alone. "
            "Default: B.",
            rich_help_panel=SURGERY,
            show_default=False,
        ),
    ] = None
    no_conv: Annotated[
        bool, Option("--no-conv", help="The same as --conv none.", rich_help_panel=SURGERY)
    ] = False
    include: Annotated[
        list[str] | None,
        Option(
            metavar="PATTERN",
            help="Convert only these sites: a glob on their names ('layer4.*'), 're:…', or a class "
            "name. Can be repeated.",
            rich_help_panel=SURGERY,
            show_default=False,
        ),
    ] = None
    exclude: Annotated[
        list[str] | None,
        Option(
            metavar="PATTERN",
            help="Leave these sites alone; wins over --include. Can be repeated.",
            rich_help_panel=SURGERY,
            show_default=False,
        ),
    ] = None
    start: Annotated[
        Start | None,
        Option(
            help="Start of dynamic convolutions; both compute what the original computes. "
            "Default: identical.",
            rich_help_panel=SURGERY,
            show_default=False,
        ),
    ] = None
    reduction: Annotated[
        int | None,
        Option(
            metavar="N",
            help="Channels over the hidden width of a convolution's attention. Default: 4.",
            rich_help_panel=SURGERY,
            show_default=False,
        ),
    ] = None
    relu_reduction: Annotated[
        int | None,
        Option(
            metavar="N",
            help="The same for DY-ReLU. Default: 8.",
            rich_help_panel=SURGERY,
            show_default=False,
        ),
    ] = None
    temperature: Annotated[
        float | None,
        Option(
            metavar="T",
            help="Softmax temperature of the attention at the start. Default: 30.",
            rich_help_panel=SURGERY,
            show_default=False,
        ),
    ] = None
    smooth: Annotated[
        bool,
        Option(
            "--smooth",
            help="Convert Hardswish, SiLU and GELU too, as act(x) + DY-ReLU(x) - ReLU(x).",
            rich_help_panel=SURGERY,
        ),
    ] = False
    config: Annotated[
        Path | None,
        Option(
            metavar="FILE.toml",
            help="Settings from a file, by the names of SurgeryConfig. Options win over it.",
            rich_help_panel=SURGERY,
            show_default=False,
        ),
    ] = None


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
            help="What the file is for, instead of --form: onnxruntime, openvino, web, tensorrt, "
            "portable (any runtime) or this-cpu (onnxruntime on CPUs like this one alone).",
            rich_help_panel=ONNX,
            show_default=False,
        ),
    ] = None
    runtimes: Runtimes = ()  # type: ignore[assignment] # none, in a form that nobody can add to

    def __post_init__(self) -> None:
        object.__setattr__(self, "runtimes", tuple(self.runtimes))
