"""``dynsurgeon inspect``: what the dynamic sites do with images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

from ..options.shared import Callable, Directory, Json
from ..options.training_data import Normalize
from ..progress import steps
from ..render import print_json, print_table, say

EXAMPLES = (
    "dynsurgeon inspect resnet18-dynamic-finetuned --images photos",
    "dynsurgeon inspect mynet-dynamic --model net.py:build --images photos --samples 1000",
)
HEADER = ("site", "operator", "the input decides", "median", "varies by", "entropy")


def run(
    directory: Directory,
    images: Annotated[
        Path,
        Option(
            metavar="FOLDER",
            help="Images to run on; where they lie in folders, each folder is a class.",
            show_default=False,
        ),
    ],
    model: Callable = None,
    normalize: Normalize = "auto",
    samples: Annotated[
        int, Option(min=2, metavar="N", help="Images to take, evenly from all.")
    ] = 256,
    pictures: Annotated[
        int, Option(min=0, metavar="N", help="Sites to draw: those that vary most.")
    ] = 12,
    json: Json = False,
) -> None:
    """Run the network in DIR on images, and show what each dynamic site does with them.

    DIR/inspection gets pictures and findings.json, and replaces an earlier one. dynsurgeon report
    shows them too. Pictures take the extra report.
    """
    with steps() as step:
        step(f"loading {directory}")
        from ..work.inspecting import inspect_directory

        done = inspect_directory(
            directory,
            images,
            model=model,
            normalize=normalize,
            samples=samples,
            pictures=pictures,
            step=step,
        )
    if json:
        print_json({**done.found.to_dict(), "directory": str(done.directory)})
        return
    rows = [
        (
            row["site"],
            row["operator"],
            row["what"],
            f"{row['q50']:.3f}",
            f"{row['variation']:.2g}",
            "-" if row["entropy"] is None else f"{row['entropy']:.0%}",
        )
        for row in done.found.records()
    ]
    print_table(HEADER, rows)
    for note in done.found.notes:
        say(f"note: {note}")
    classes = len(done.found.classes)
    of_classes = f" of {classes} classes" if classes > 1 else ""
    say(f"{done.found.samples} images{of_classes}; wrote {done.directory}, {done.drawn} pictures")
    say(f"next: dynsurgeon report {directory}")
