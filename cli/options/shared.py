"""The options that commands share, in groups."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

MODEL = "Model"


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

Report = Annotated[
    bool,
    Option("--report", help="Write report.html too, a page about all of it (extra report)."),
]

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
