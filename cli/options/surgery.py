"""The options that say what becomes dynamic."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from typer import Option

from dynsurgeon.registry import operator_names

SURGERY = "Surgery"


class Start(StrEnum):
    """Starts of dynamic convolution on the command line."""

    IDENTICAL = "identical"
    ZERO_SUM = "zero-sum"


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
