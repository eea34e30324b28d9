"""The options of ``bench``: what is timed, and how often."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from typer import Argument, Option

from .shared import ModelOptions

TIMING = "Timing"


@dataclass(frozen=True)
class BenchModelOptions(ModelOptions):
    """A directory or a network, with its weights and inputs."""

    model: Annotated[
        str,
        Argument(
            metavar="DIR|MODEL",
            help="A directory that convert wrote; or a torchvision name, timm:NAME, "
            "package.module:callable or file.py:callable, which is converted first.",
            show_default=False,
        ),
    ]


@dataclass(frozen=True)
class TimingOptions:
    """What is timed, and how often."""

    batch: Annotated[
        list[int] | None,
        Option(
            min=1,
            metavar="N",
            help="Samples in a batch. Can be repeated. Default: 1.",
            rich_help_panel=TIMING,
            show_default=False,
        ),
    ] = None
    threads: Annotated[
        list[int] | None,
        Option(
            min=1,
            metavar="N",
            help="Threads of an operator. Can be repeated. Default: the machine's cores.",
            rich_help_panel=TIMING,
            show_default=False,
        ),
    ] = None
    engine: Annotated[
        list[str] | None,
        Option(
            metavar="eager|compile|onnxruntime|openvino|tract|web",
            help="What runs the networks. Can be repeated. Default: the first three.",
            rich_help_panel=TIMING,
            show_default=False,
        ),
    ] = None
    rounds: Annotated[
        int, Option(min=1, metavar="N", help="Timed rounds a row.", rich_help_panel=TIMING)
    ] = 30
    form: Annotated[
        str | None,
        Option(
            metavar="NAME",
            help="Layout of the dynamic network's ONNX file, as export takes it. Default: the file "
            "in DIR, or the one that suits the batch.",
            rich_help_panel=TIMING,
            show_default=False,
        ),
    ] = None
    this_cpu: Annotated[
        bool,
        Option(
            "--this-cpu",
            help="The fastest form there is, native among them: --form auto for CPUs like this.",
            rich_help_panel=TIMING,
        ),
    ] = False
