"""Tables and JSON on stdout; plain text where no terminal listens."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import IO, Any

from rich import box
from rich.console import Console
from rich.table import Table

PIPED_WIDTH = 1000
"""Columns where no terminal sets a limit: nothing is wrapped or cut for a program that reads."""


def console(file: IO[str] | None = None) -> Console:
    """Return a console on `file` (stdout by default): colours and boxes for a terminal alone."""
    stream = file or sys.stdout
    width = None if stream.isatty() else PIPED_WIDTH
    return Console(file=stream, width=width, highlight=False, soft_wrap=not stream.isatty())


def say(text: str) -> None:
    """Print a line on stdout, as it is."""
    print(text)


def print_json(document: Any) -> None:
    """Print one JSON document on stdout."""
    print(json.dumps(document, indent=2, allow_nan=False))


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> None:
    """Print a table; the first column is text, and so is each whose cells are not all numbers."""
    cells = [[str(cell) for cell in row] for row in rows]
    table = Table(
        title=title or None,
        title_justify="left",
        box=box.SIMPLE_HEAD if sys.stdout.isatty() else None,
        pad_edge=False,
    )
    for i, name in enumerate(header):
        numeric = all(row[i][:1].isdigit() or row[i] == "-" for row in cells) and i > 0
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in cells:
        table.add_row(*(cell.replace("[", r"\[") for cell in row))
    console().print(table)
