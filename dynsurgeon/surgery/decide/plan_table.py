"""A plan as a plain-text table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from dynsurgeon.surgery.decide.rows import Latency, Site

HEADER = ("site", "operation", "input", "becomes", "params", "MACs")
MEASURED = "adds"


class Totals(NamedTuple):
    """Parameters and multiply-accumulates of a whole model, now and after conversion."""

    params_before: int
    params_after: int
    macs_before: int
    macs_after: int


def plan_table(rows: Sequence[tuple[str, ...]], notes: Iterable[str]) -> str:
    """Lay out the cells of `plan_rows`, and the notes below them."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    first, *middle, last = [_line(row, widths) for row in rows]
    line = "-" * max(len(first), len(last))
    lines = [first, line, *middle, line, last]
    return "\n".join([*lines, *(f"note: {note}" for note in notes)])


def plan_rows(
    sites: Sequence[Site], totals: Totals, latency: Latency | None = None
) -> list[tuple[str, ...]]:
    """Return the table's cells: the header, every site, and the totals.

    There is a column of measured milliseconds if a budget had them measured.
    """
    rows = [HEADER, *(_row(site) for site in sites), _total_row(sites, totals)]
    if all(site.measured_ms is None for site in sites):
        return rows
    adds = [MEASURED, *(_milliseconds(site) for site in sites), _latency(latency)]
    return [(*row, added) for row, added in zip(rows, adds, strict=True)]


def human(count: int) -> str:
    """Return a count with a metric suffix: ``11.7M``."""
    for power, suffix in enumerate(("", "k", "M", "G")):
        text = f"{count / 1000**power:.3g}"
        if float(text) < 1000:  # 999,999 rounds to the next suffix
            return text + suffix
    return f"{count / 10**12:.3g}T"


def _row(site: Site) -> tuple[str, ...]:
    shape = "-" if site.input_shape is None else "x".join(map(str, site.input_shape))
    becomes = site.operator or f"static: {site.reason}"
    if site.operator is not None and site.experts is not None:
        becomes += f" (K = {site.experts})"
    return (
        site.name,
        site.operation,
        shape,
        becomes,
        _change(site.params_before, site.params_after),
        _change(site.macs_before, site.macs_after),
    )


def _total_row(sites: Sequence[Site], totals: Totals) -> tuple[str, ...]:
    converted = f"{sum(site.is_converted for site in sites)} of {len(sites)} sites"
    params = _change(totals.params_before, totals.params_after)
    return ("total", "", "", converted, params, _change(totals.macs_before, totals.macs_after))


def _milliseconds(site: Site) -> str:
    return "-" if site.measured_ms is None else f"{site.measured_ms:+.3f} ms"


def _latency(found: Latency | None) -> str:
    return "" if found is None else f"{found.static_ms:.2f} -> {found.dynamic_ms:.2f} ms"


def _change(before: int, after: int) -> str:
    return human(before) if before == after else f"{human(before)} -> {human(after)}"


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
    return "  ".join(cells).rstrip()
