"""What a report shows of the attention: as inspected on images, or else as it was fitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dynsurgeon.reports.contents import Contents
from dynsurgeon.reports.plots import linear_axis

HEAT_ROWS = 40
"""Classes that a heat map shows at most."""


def attention_view(contents: Contents) -> dict[str, Any] | None:
    """Return what the section about attention shows, or None where nothing is known."""
    found = contents.inspection
    if found is not None:
        return {
            "finding": _finding(found["sites"], found["samples"]),
            "classes": list(enumerate(found["classes"])),
            "rows": [site["kernels"]["report"] for site in found["sites"] if site["kernels"]],
            "sites": [_site(site, found["classes"]) for site in _ordered(found["sites"])],
            "notes": found["notes"],
        }
    training = contents.training or {}
    fitted = training.get("calibration") or contents.receipt.get("calibration")
    if not fitted:
        return None
    return {
        "finding": f"The attention was fitted to {fitted['samples']} images before training",
        "classes": [],
        "rows": fitted["sites"],
        "sites": [],
        "notes": fitted["notes"],
    }


def _finding(sites: Sequence[Mapping[str, Any]], samples: int) -> str:
    mixing = [site["kernels"]["report"] for site in sites if site["kernels"]]
    if not mixing:
        return f"What {len(sites)} dynamic sites do with {samples} images"
    spread = sum(1 - site["entropy"] > 0.1 for site in mixing)
    return (
        f"On {samples} images, {spread} of {len(mixing)} attentions prefer some kernels "
        "(entropy below 90 %)"
    )


def _ordered(sites: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(sites, key=lambda site: -float(site["moves"]))


def _site(site: Mapping[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    kernels = site["kernels"]
    return {
        **site,
        "kernels": {"pictures": [], **kernels} if kernels else None,  # the first sites have some
        "others": [one for one in site["factors"] if not (kernels and one["name"] == "kernels")],
        "heat": _heat(kernels["by_class"], classes) if kernels else [],
        "charts": [_chart(site["curves"]["x"], one) for one in site["curves"]["channels"]]
        if site["curves"]
        else [],
    }


def _heat(
    rows: Sequence[Sequence[float | None]], classes: Sequence[str]
) -> list[tuple[str, list[tuple[float, float]]]]:
    """Return each class's name, its numbers, and how strong their colour is; without empty ones."""
    filled = [
        (name, [value for value in row if value is not None])
        for name, row in zip(classes, rows, strict=True)
        if None not in row
    ]
    values = [value for _, row in filled for value in row]
    low, high = min(values), max(values)
    scale = (high - low) or 1.0
    return [
        (name, [(value, round(0.75 * (value - low) / scale, 3)) for value in row])
        for name, row in filled[:HEAT_ROWS]
    ]


def _chart(x: Sequence[float], channel: Mapping[str, Any]) -> dict[str, Any]:
    """Return a channel's curves in a view box of 100 by 100, each with its class's number."""
    across = linear_axis(x, room=0)
    curves = [(number, y) for number, y in enumerate(channel["y"]) if None not in y]
    up = linear_axis([value for _, y in curves for value in y] + [0.0])
    lines = [
        (number, " ".join(
            f"{across.at(a)},{round(100 - up.at(b), 2)}" for a, b in zip(x, y, strict=True)
        ))
        for number, y in curves
    ]  # fmt: skip
    return {
        "channel": channel["channel"],
        "lines": lines,
        "zero": (across.at(0.0), round(100 - up.at(0.0), 2)),
        "x": (x[0], x[-1]),
        "y": (up.low, up.high),
    }
