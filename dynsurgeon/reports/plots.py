"""Where the marks of a chart lie, in percent of its width and height.

Marks are placed by percent and text is HTML beside them, so that a chart fills any width and its
text keeps its size: scaled as one picture, it could not be read on a telephone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Tick:
    """A number on an axis.

    Attributes:
        at: Its place in percent, from the axis's low end.
        text: How it reads.
    """

    at: float
    text: str


@dataclass(frozen=True)
class Axis:
    """A range of numbers, spread over 100 percent.

    Attributes:
        low: The number at 0 percent.
        high: The number at 100 percent.
        ticks: The numbers that are written.
        log: Whether it is logarithmic.
    """

    low: float
    high: float
    ticks: tuple[Tick, ...] = ()
    log: bool = False

    def at(self, value: float) -> float:
        """Return where a number lies, in percent, at most 100 and at least 0."""
        low, high, place = self.low, self.high, value
        if self.log:
            low, high, place = (math.log10(max(n, self.low)) for n in (low, high, value))
        share = (place - low) / (high - low) if high > low else 0.5
        return round(100 * min(max(share, 0.0), 1.0), 2)


@dataclass(frozen=True)
class Mark:
    """A point of a chart.

    Attributes:
        x: In percent from the left.
        y: In percent from the bottom.
        text: What it stands for.
        kind: Class of its colour and shape.
    """

    x: float
    y: float
    text: str
    kind: str = ""

    @property
    def down(self) -> float:
        """In percent from the top, as SVG counts."""
        return round(100 - self.y, 2)


@dataclass(frozen=True)
class Line:
    """A line through points.

    Attributes:
        marks: Its points.
        kind: Class of its colour and dashes.
        label: What it stands for.
    """

    marks: tuple[Mark, ...]
    kind: str
    label: str

    @property
    def points(self) -> str:
        """The points as SVG's ``polyline`` takes them, in a view box of 100 by 100."""
        return " ".join(f"{mark.x},{mark.down}" for mark in self.marks)


@dataclass(frozen=True)
class Plot:
    """A chart: axes, lines and points.

    Attributes:
        x: The horizontal axis.
        y: The vertical axis.
        x_label: What the horizontal axis counts.
        y_label: What the vertical axis counts.
        lines: Its lines.
        marks: Its points.
        limit: A level that is drawn across, as `Tick`, or None.
    """

    x: Axis
    y: Axis
    x_label: str
    y_label: str
    lines: tuple[Line, ...] = ()
    marks: tuple[Mark, ...] = ()
    limit: Tick | None = None


def linear_axis(values: Iterable[float], *, percent: bool = False, room: float = 0.08) -> Axis:
    """Return an axis with round numbers, that leaves some room around the values."""
    values = list(values)
    low, high = min(values), max(values)
    spread = (high - low) or abs(high) or 1.0
    low, high = low - room * spread, high + room * spread
    if percent:
        low, high = max(low, 0.0), min(high, 1.0)
    step = _step((high - low) / 4)
    first = math.ceil(low / step - 1e-9)
    numbers = [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]
    axis = Axis(low, high)
    text = _percent if percent else "{:.4g}".format
    return Axis(low, high, tuple(Tick(axis.at(n), text(n)) for n in numbers))


def count_axis(count: int, *, most: int = 6) -> Axis:
    """Return an axis over 1 to `count`, each in the middle of its share of the width."""
    step = max(1, round(_step(count / most)))
    numbers = sorted({1, *range(step, count + 1, step)})
    axis = Axis(0.5, count + 0.5)
    return Axis(0.5, count + 0.5, tuple(Tick(axis.at(n), str(n)) for n in numbers))


def decade_axis(values: Sequence[float], *, most: int = 5) -> Axis:
    """Return a logarithmic axis of whole decades around positive values."""
    low = math.floor(math.log10(min(values)) - 0.1)
    high = max(math.ceil(math.log10(max(values)) + 0.1), low + 1)
    axis = Axis(10.0**low, 10.0**high, log=True)
    step = -(-(high - low) // most)
    ticks = (Tick(axis.at(10.0**n), f"1e{n}") for n in range(low, high + 1, step))
    return Axis(axis.low, axis.high, tuple(ticks), log=True)


def _step(wanted: float) -> float:
    scale = 10.0 ** math.floor(math.log10(wanted))
    return next(step * scale for step in STEPS if step * scale >= wanted * 0.999)


def _percent(value: float) -> str:
    return f"{100 * value:.4g} %"
