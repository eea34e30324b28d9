"""Draw accuracy over latency: static networks of one family, and dynamic ones beside them.

    python benchmarks/accuracy/plot.py signs --title "EfficientNet-Lite on hand signs" \
        --output docs/images/accuracy-latency-signs.svg

Reads `results/photos-<name>.jsonl` and `results/latency-<latencies>.jsonl`; each network at the
learning rate with the best mean. Bars are standard errors over seeds; one seed has none, and is
drawn hollow.
"""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from run import HERE, read_rows

STATIC, DYNAMIC = "#3d6fb4", "#c8553d"


@dataclass(frozen=True)
class Point:
    """A network: how long it takes, and how many images it gets right, in percent."""

    network: str
    variant: str
    ratio: float
    accuracy: float
    error: float | None


def main() -> None:
    """Draw what the arguments name."""
    options = parse()
    latencies = read_rows(HERE / "results" / f"latency-{options.latencies or options.name}.jsonl")
    rows = read_rows(HERE / "results" / f"photos-{options.name}.jsonl")
    chosen = [r for r in rows if options.train is None or r["train_images"] == options.train]
    points = joined(chosen, latencies)
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    draw(axes, points)
    axes.set(xlabel="latency in onnxruntime, over the smallest static network",
             ylabel="test accuracy, %", title=options.title)  # fmt: skip
    figure.savefig(options.output, metadata={"Date": None})
    for point in points:
        print(point)


def joined(rows: list[dict[str, Any]], latencies: list[dict[str, Any]]) -> list[Point]:
    """Return a point for each network that was both trained and timed."""
    points = []
    for cost in latencies:
        runs: dict[float, list[float]] = defaultdict(list)
        for row in rows:
            if (row["network"], row["variant"]) == (cost["network"], cost["variant"]):
                runs[row["lr"]] += [row["test"]] if row["test"] is not None else []
        best = max((values for values in runs.values() if values), key=mean, default=None)
        if best:
            error = stdev(best) / math.sqrt(len(best)) if len(best) > 1 else None
            points.append(Point(cost["network"], cost["variant"], cost["ratio"], mean(best), error))
    return points


def draw(axes: Axes, points: list[Point]) -> None:
    """Draw the static networks as a line, and the dynamic ones as points with their names."""
    static = sorted((p for p in points if p.variant == "static"), key=lambda p: p.ratio)
    axes.plot([p.ratio for p in static], [p.accuracy for p in static], color=STATIC, zorder=1)
    for point in points:
        is_static = point.variant == "static"
        colour = STATIC if is_static else DYNAMIC
        axes.errorbar(
            point.ratio, point.accuracy, yerr=point.error, fmt="o", color=colour, capsize=3,
            markerfacecolor=colour if point.error is not None else "white",
        )  # fmt: skip
        name = point.network if is_static else point.variant
        axes.annotate(
            name, (point.ratio, point.accuracy), xytext=(-6 if is_static else 6, 5),
            textcoords="offset points", ha="right" if is_static else "left",
            color=colour, fontsize=9,
        )  # fmt: skip
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="of the results")
    parser.add_argument("--latencies", help="name of the latencies, if another")
    parser.add_argument("--train", type=int, help="the rows with this many training images alone")
    parser.add_argument("--title", default="")
    parser.add_argument("--output", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
