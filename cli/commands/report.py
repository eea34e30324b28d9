"""``dynsurgeon report``: what lies in a directory, as one page to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

from ..options.shared import Directory, Json
from ..progress import steps
from ..render import print_json, say

EXAMPLES = (
    "dynsurgeon report resnet18-dynamic",
    "dynsurgeon report resnet18-dynamic-finetuned --output gain.html",
)


def run(
    directory: Directory,
    output: Annotated[
        Path | None,
        Option("--output", "-o", metavar="FILE", help="Where to write. Default: DIR/report.html."),
    ] = None,
    json: Json = False,
) -> None:
    """Write a page about the network in DIR: one file of HTML that loads nothing.

    It shows what became dynamic, what that costs, how near the outputs are, the curves of a
    training, and what inspect found. It takes the extra report.
    """
    with steps() as step:
        step(f"reading {directory}")
        from ..work.reporting import report_directory

        path = report_directory(directory, output)
    if json:
        print_json({"report": str(path), "bytes": path.stat().st_size})
        return
    say(f"wrote {path} ({path.stat().st_size / 1000:,.0f} kB); open it in a browser")
