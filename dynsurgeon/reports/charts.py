"""The charts of a report, from what its directory holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from dynsurgeon.reports.plots import (
    Line,
    Mark,
    Plot,
    Tick,
    count_axis,
    decade_axis,
    linear_axis,
)
from dynsurgeon.reports.sites import SiteRow

ARMS = ("dynamic", "static")


def parity_plot(rows: Sequence[SiteRow], tolerance: float) -> Plot | None:
    """Draw each compared site's difference on a logarithmic axis, with the tolerance.

    A site that is bit-equal has no place on such an axis: it lies on its lower edge.
    """
    compared = [row for row in rows if row.differences]
    if not compared:
        return None
    found = [value for row in compared for value in row.differences.values() if value > 0]
    y = decade_axis([*found, tolerance, tolerance / 1e3])
    x = count_axis(len(rows))
    marks = tuple(
        Mark(x.at(row.number), y.at(value), _told(row, mode, value), f"{mode} hue-{row.hue}")
        for row in compared
        for mode, value in row.differences.items()
    )
    y = replace(y, ticks=(Tick(0, "0"), *y.ticks[1:]))
    limit = Tick(y.at(tolerance), f"tolerance {tolerance:g}")
    return Plot(
        x, y, "call site, in the order of the plan", "relative difference", (), marks, limit
    )


def _told(row: SiteRow, mode: str, value: float) -> str:
    return f"{row.name}, {mode} mode: {difference(value)}"


def difference(value: float) -> str:
    """Say how far two outputs are apart."""
    return "bit-equal" if value == 0 else f"{value:.2g}"


def milliseconds(value: float) -> str:
    """Say how long something took, with three digits or all whole ones."""
    return f"{value:,.0f} ms" if value >= 999.5 else f"{value:.3g} ms"


def fixed(value: float) -> str:
    """Return a number with three decimals, and no sign where they are all 0."""
    text = f"{value:.3f}"
    return text.removeprefix("-") if float(text) == 0 else text


def training_plot(training: Mapping[str, Any]) -> Plot | None:
    """Draw the accuracy of each network over the epochs, on both sets."""
    history = training.get("history") or ()
    if not history:
        return None
    scores = [
        score["accuracy"] for epoch in history for part in ("val", "train")
        for score in epoch[part].values()
    ]  # fmt: skip
    x, y = count_axis(len(history)), linear_axis(scores, percent=True)
    lines = []
    for arm in (name for name in ARMS if name in history[0]["val"]):
        for part, words in (("val", "validation"), ("train", "in training")):
            points = [(epoch["number"], epoch[part][arm]["accuracy"]) for epoch in history]
            marks = tuple(
                Mark(x.at(n), y.at(v), f"{arm}, epoch {n}, {words}: {v:.2%}", f"{arm} {part}")
                for n, v in points
            )
            lines.append(Line(marks, f"{arm} {part}", f"{arm}, {words}"))
    dots = tuple(mark for line in lines if line.kind.endswith("val") for mark in line.marks)
    return Plot(x, y, "epoch", "accuracy", tuple(lines), dots)


def tradeoff_plot(training: Mapping[str, Any]) -> Plot | None:
    """Draw accuracy over latency, one point for each network; None without both measured."""
    cost, scores = training.get("cost"), training.get("val") or {}
    if not cost or any(arm not in scores for arm in ARMS):
        return None
    times = {arm: cost[f"{arm}_ms"] for arm in ARMS}
    x = linear_axis([0.0, *times.values()])
    y = linear_axis([scores[arm]["accuracy"] for arm in ARMS], percent=True, room=0.6)
    marks = tuple(
        Mark(
            x.at(times[arm]),
            y.at(scores[arm]["accuracy"]),
            f"{arm}: {scores[arm]['accuracy']:.2%} in {milliseconds(times[arm])}",
            arm,
        )
        for arm in ARMS
    )
    return Plot(x, y, "milliseconds for one sample, PyTorch", "accuracy", (), marks)
