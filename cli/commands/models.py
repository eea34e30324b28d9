"""``dynsurgeon models``: the names that convert takes."""

from __future__ import annotations

from typing import Annotated, Any

from typer import Argument, Option

from ..progress import steps
from ..render import print_json, print_table, say

EXAMPLES = (
    "dynsurgeon models",
    "dynsurgeon models 'resnet*' --costs",
    "dynsurgeon models timm:mobilenetv3",
)


def run(
    pattern: Annotated[
        str | None,
        Argument(
            metavar="PATTERN",
            help="A name, a part of one, or a glob; timm:… for timm's models.",
            show_default=False,
        ),
    ] = None,
    costs: Annotated[
        bool,
        Option(
            "--costs",
            help="Build and plan each model: sites, parameters and MACs before and after (seconds "
            "a model).",
        ),
    ] = False,
    json: Annotated[bool, Option("--json", help="Print one JSON document, not a table.")] = False,
) -> None:
    """List the models by name, with what they take and hold."""
    with steps() as step:
        step("listing")
        from ..work.listing import describe, find_names, measure

        rows: list[dict[str, Any]] = []
        names = find_names(pattern)
        for i, name in enumerate(names, 1):
            step(f"{name} ({i} of {len(names)})")
            rows.append(measure(name) if costs else describe(name))
    if json:
        print_json(rows)
        return
    header = list(rows[0])
    print_table(header, [[_cell(row[key]) for key in header] for row in rows])
    say(f"{len(rows)} models")


def _cell(value: Any) -> str:
    from dynsurgeon.surgery.decide.plan_table import human

    if isinstance(value, list):
        return "x".join(map(str, value))
    if isinstance(value, int):
        return human(value)
    return "-" if value is None else str(value)
