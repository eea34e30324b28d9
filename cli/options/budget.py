"""The options that choose sites by what they cost."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from typer import Option

BUDGET = "Budget"


class Preset(StrEnum):
    """Presets on the command line."""

    ALL = "all"
    RECOMMENDED = "recommended"
    LAST_POINTWISE = "last-1x1"
    BALANCED = "balanced"


@dataclass(frozen=True)
class BudgetOptions:
    """Which sites to begin from, and what they may cost. None means: as the file says, or any."""

    preset: Annotated[
        Preset | None,
        Option(
            help="Sites to begin from: all; recommended, the activations that cost little beside "
            "the convolution before them; last-1x1, the last 1x1 convolution of each bottleneck "
            "(the papers' cheapest gain); balanced, every activation and the convolutions whose "
            "bank is cheap. Default: all.",
            rich_help_panel=BUDGET,
            show_default=False,
        ),
    ] = None
    latency_budget: Annotated[
        float | None,
        Option(
            metavar="RATIO",
            help="Choose the sites that give most while the whole takes at most RATIO times the "
            "static network's time, measured on this machine in onnxruntime at batch 1, as in "
            "1.15.",
            rich_help_panel=BUDGET,
            show_default=False,
        ),
    ] = None
    macs_budget: Annotated[
        float | None,
        Option(
            metavar="RATIO",
            help="The same for multiply-adds, as in 1.10; nothing is measured.",
            rich_help_panel=BUDGET,
            show_default=False,
        ),
    ] = None
    params_budget: Annotated[
        float | None,
        Option(
            metavar="RATIO",
            help="The same for parameters, as in 2.",
            rich_help_panel=BUDGET,
            show_default=False,
        ),
    ] = None
    latency_threads: Annotated[
        int | None,
        Option(
            min=1,
            metavar="N",
            help="Threads that latency is measured with. Default: the machine's cores.",
            rich_help_panel=BUDGET,
            show_default=False,
        ),
    ] = None
