"""The call sites as a report shows them: rows of its table, and cells of its map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dynsurgeon.reports.contents import Contents
from dynsurgeon.surgery.decide.plan_table import human

HUES = 6
"""Colours for operators; further operators share the last."""


@dataclass(frozen=True)
class SiteRow:
    """One call site.

    Attributes:
        number: Its place in the plan, from 1.
        name: Its dotted name.
        operation: What it was, such as ``"Conv2d"``.
        shape: Shape of its input in words.
        operator: What it became; empty if it stayed.
        reason: Why it stayed; empty if it did not.
        hue: Number of its operator's colour from 1 on; 0 if it stayed.
        params: Parameters before and after.
        macs: Multiply-adds before and after.
        adds_ms: Milliseconds that it was measured to add, or None.
        differences: Largest relative difference by mode, where it was compared.
    """

    number: int
    name: str
    operation: str
    shape: str
    operator: str
    reason: str
    hue: int
    params: tuple[int, int]
    macs: tuple[int, int]
    adds_ms: float | None
    differences: Mapping[str, float]

    @property
    def cost(self) -> str:
        """What it costs, in words."""
        params, macs = (_change(*pair) for pair in (self.params, self.macs))
        return f"{params} parameters, {macs} MACs"

    @property
    def worst(self) -> float | None:
        """The larger difference of all modes, or None where nothing was compared."""
        return max(self.differences.values(), default=None)

    @property
    def becomes(self) -> str:
        """What it became, or why it stayed."""
        return self.operator or f"static: {self.reason or 'not selected'}"


@dataclass(frozen=True)
class Block:
    """Call sites that lie in one module.

    Attributes:
        name: The module's dotted name; empty for the network itself.
        rows: Its sites.
    """

    name: str
    rows: tuple[SiteRow, ...]


def site_rows(contents: Contents) -> tuple[SiteRow, ...]:
    """Return every call site of the plan; of a receipt without one, the recipe's sites."""
    found = contents.receipt.get("sites") or [
        {"name": site.name, "operator": site.operator} for site in contents.recipe.sites
    ]
    parity: dict[str, dict[str, float]] = {}
    for site in (contents.parity or {}).get("sites", ()):
        parity.setdefault(site["name"], {})[site["mode"]] = site["max_rel"]
    known = operators_of(found)
    return tuple(_row(i, site, parity, known) for i, site in enumerate(found, 1))


def operators_of(sites: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the operators that sites became, in the order of their first use."""
    return list(dict.fromkeys(site["operator"] for site in sites if site.get("operator")))


def blocks_of(rows: Sequence[SiteRow]) -> list[tuple[str, list[Block]]]:
    """Group sites by the first part of their names, and then by the second.

    A part that all of them share, as of a network that is wrapped, is left out of the grouping.
    """
    skip = _shared_parts([row.name for row in rows])
    groups: dict[str, dict[str, list[SiteRow]]] = {}
    for row in rows:
        owner = row.name.split(".")[:-1]
        top = ".".join(owner[: skip + 1])
        groups.setdefault(top, {}).setdefault(".".join(owner[: skip + 2]), []).append(row)
    return [
        (top, [Block(name, tuple(inside)) for name, inside in blocks.items()])
        for top, blocks in groups.items()
    ]


def _shared_parts(names: Sequence[str]) -> int:
    split = [name.split(".")[:-1] for name in names]
    count = 0
    while split and all(len(parts) > count + 1 for parts in split):
        if len({parts[count] for parts in split}) > 1:
            break
        count += 1
    return count


def _row(
    number: int,
    site: Mapping[str, Any],
    parity: Mapping[str, Mapping[str, float]],
    known: Sequence[str],
) -> SiteRow:
    shape, operator = site.get("input_shape"), site.get("operator") or ""
    return SiteRow(
        number=number,
        name=site["name"],
        operation=site.get("operation") or "",
        shape="x".join(map(str, shape)) if shape else "",
        operator=operator,
        reason=site.get("reason") or "",
        hue=min(known.index(operator) + 1, HUES) if operator else 0,
        params=(site.get("params_before", 0), site.get("params_after", 0)),
        macs=(site.get("macs_before", 0), site.get("macs_after", 0)),
        adds_ms=site.get("measured_ms"),
        differences=parity.get(site["name"], {}),
    )


def _change(before: int, after: int) -> str:
    return human(before) if before == after else f"{human(before)} → {human(after)}"
