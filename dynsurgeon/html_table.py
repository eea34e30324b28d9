"""Values as tables of HTML, for notebooks: no template engine, everything escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

STYLE = "text-align:left;white-space:nowrap;padding:2px 12px 2px 0"
NUMBER = "text-align:right;white-space:nowrap;padding:2px 12px 2px 0"

LONGEST = 60
"""Rows that are shown; of more, the first and the last."""


def html_table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    title: str = "",
    total: Sequence[str] | None = None,
    notes: Iterable[str] = (),
) -> str:
    """Return a table as a notebook shows it, in the notebook's own colours.

    Args:
        header: Names of the columns.
        rows: The cells; columns of numbers are set to the right.
        title: What was found, in a line above.
        total: A last row.
        notes: Lines below.
    """
    body = [tuple(map(str, row)) for row in rows]
    numeric = [
        i > 0 and all(row[i][:1].isdigit() or row[i][:1] in "-+" for row in body)
        for i in range(len(header))
    ]
    parts = [f"<p><strong>{escape(title)}</strong></p>"] if title else []
    parts += ["<table>", "<thead>", _row("th", header, numeric), "</thead>", "<tbody>"]
    hidden = len(body) - LONGEST
    shown = body if hidden <= 0 else [*body[: LONGEST - 10], *body[-10:]]
    for i, row in enumerate(shown):
        if hidden > 0 and i == LONGEST - 10:
            parts.append(f'<tr><td colspan="{len(header)}">… {hidden} more</td></tr>')
        parts.append(_row("td", row, numeric))
    if total is not None:
        parts.append(_row("th", total, numeric))
    parts += ["</tbody>", "</table>", *(f"<p>note: {escape(note)}</p>" for note in notes)]
    return "\n".join(parts)


def _row(tag: str, cells: Sequence[str], numeric: Sequence[bool]) -> str:
    styles = (NUMBER if right else STYLE for right in numeric)
    inside = (
        f'<{tag} style="{style}">{escape(cell)}</{tag}>'
        for style, cell in zip(styles, cells, strict=True)
    )
    return f"<tr>{''.join(inside)}</tr>"
