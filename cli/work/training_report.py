"""How the result of a fine-tuning looks: one table on stdout, and what is to be known besides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..output import LOGS
from ..render import print_table, say

HEADER = (
    "network",
    "best epoch",
    "accuracy",
    "gain",
    "in training",
    "parameters",
    "latency",
    "points per %",
)


def print_result(document: Mapping[str, Any], directory: Path) -> None:
    """Print the networks side by side, the gain, and what to do next."""
    found = document["finetuned"]
    print_table(HEADER, result_rows(found))
    if (gain := found["gain"]) is not None:
        say(
            f"gain over the static network: {100 * gain['difference']:+.2f} points, standard "
            f"error {100 * gain['error']:.2f} on {gain['samples']} images"
        )
        say(found["verdict"])
    if (cost := found["cost"]) is not None:
        say(
            f"latency in torch at batch 1 ({cost['device']}, {cost['threads']} threads): dynamic "
            f"{cost['dynamic_ms']:.2f} ms, static {cost['static_ms']:.2f} ms"
        )
    if found["calibration"] is not None:
        say(f"the attention was fitted to {found['calibration']['samples']} training images first")
    for name, probe in found["probes"].items():
        say(f"learning rate of the {name} network: {probe['chosen']:g}, chosen by short runs")
    for line in found["notes"]:
        say(f"note: {line}")
    for line in log_lines(found["settings"].get("track") or (), directory / LOGS):
        say(line)
    say(f"wrote {directory}; next: dynsurgeon export {directory}")


def log_lines(kinds: Sequence[str], folder: Path) -> Iterator[str]:
    """Say where the numbers of each step and epoch lie."""
    if "csv" in kinds:
        yield f"every step and epoch: {folder / 'steps.csv'}, {folder / 'epochs.csv'}"
    if "tensorboard" in kinds:
        yield f"to look at the run: tensorboard --logdir {folder}"


def result_rows(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return a row for the network before training, and one for each that was trained."""
    empty = ("-",) * 4
    before = f"{found['before']['accuracy']:.2%}"
    return [
        ("dynamic, before", "-", before, "-", *empty),
        *(_row(found, name) for name in found["val"]),
    ]


def _row(found: Mapping[str, Any], name: str) -> tuple[str, ...]:
    number, gain, cost = found["best_epoch"][name], found["gain"], found["cost"]
    of_gain = name == "dynamic" and gain is not None
    latency = "-" if cost is None else f"{cost['ratio']:.2f}" if name == "dynamic" else "1.00"
    worth = found["gain_per_percent"] if name == "dynamic" else None
    return (
        name,
        str(number),
        f"{found['val'][name]['accuracy']:.2%}",
        f"{100 * gain['difference']:+.2f} ± {100 * gain['error']:.2f}" if of_gain else "-",
        f"{found['history'][number - 1]['train'][name]['accuracy']:.2%}",
        f"{found['parameters'][name]:,}",
        latency,
        "-" if worth is None else f"{worth:+.3f}",
    )
