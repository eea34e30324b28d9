"""The options that say what is trained on, and how images are normalised."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from typer import Option

DATA = "Data"


class Augment(StrEnum):
    """How training images are varied."""

    AUTO = "auto"
    NONE = "none"
    FLIP = "flip"
    CROP = "crop"


Normalize = Annotated[
    str,
    Option(
        metavar="auto|imagenet|data|none|MEANS/DEVIATIONS",
        help="What images are normalised with: auto takes what the model's weights were trained "
        "with, or else the data's own mean and deviation.",
        rich_help_panel=DATA,
    ),
]


@dataclass(frozen=True)
class DataOptions:
    """What is trained on."""

    data: Annotated[
        Path,
        Option(
            metavar="FOLDER",
            help="A folder of images for each class, below train and val or not; or one with the "
            "idx files of MNIST or Fashion-MNIST.",
            rich_help_panel=DATA,
            show_default=False,
        ),
    ]
    val_share: Annotated[
        float,
        Option(
            metavar="S",
            help="Share of each class set aside where there is no val folder.",
            rich_help_panel=DATA,
        ),
    ] = 0.1
    augment: Annotated[
        Augment,
        Option(
            help="Random variation of the training images; auto is crop, or none for idx files.",
            rich_help_panel=DATA,
        ),
    ] = Augment.AUTO
    normalize: Normalize = "auto"
    reset_head: Annotated[
        str | None,
        Option(
            "--reset-head",
            metavar="N|auto",
            help="Put a new last layer of N classes, or of as many as the data has, in its place.",
            rich_help_panel=DATA,
            show_default=False,
        ),
    ] = None
