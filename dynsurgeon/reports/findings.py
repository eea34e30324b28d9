"""The headings of a report: each says what was found, not what is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dynsurgeon.reports.charts import difference
from dynsurgeon.reports.contents import Contents
from dynsurgeon.reports.sites import SiteRow


def headline(contents: Contents, rows: Sequence[SiteRow]) -> str:
    """Say on one line what became of the network."""
    text = coverage(rows)
    training = contents.training
    if training and training.get("gain"):
        return f"{text}; {gain(training)}"
    if training:
        return f"{text}; fine-tuned to {_accuracy(training, 'dynamic')} accuracy"
    parity = contents.parity
    return text if parity is None else f"{text}; outputs {_apart(parity)}"


def coverage(rows: Sequence[SiteRow]) -> str:
    """Say how many sites are dynamic."""
    return f"{sum(bool(row.operator) for row in rows)} of {len(rows)} sites dynamic"


def left(rows: Sequence[SiteRow]) -> str:
    """Say which sites stay static, and why."""
    static = [row for row in rows if not row.operator]
    reasons = list(dict.fromkeys(row.reason for row in static if row.reason))
    if not static:
        return "Every call site became dynamic"
    verb = "stays" if len(static) == 1 else "stay"
    text = f"{len(static)} of {len(rows)} sites {verb} static"
    if len(reasons) == 1 and len(reasons[0]) < 60:
        return f"{text} ({reasons[0]})"
    return f"{text}, for {len(reasons)} reasons" if reasons else text


def parity(found: Mapping[str, Any]) -> str:
    """Say what the proof found."""
    if not found["passed"]:
        return f"Parity failed: outputs {_apart(found)}, tolerance {found['tolerance']:g}"
    rounding = ", by rounding alone" if found["max_rel"] > found["tolerance"] else ""
    return f"At conversion, outputs {_apart(found)}{rounding} (tolerance {found['tolerance']:g})"


def gradients(found: Mapping[str, Any]) -> str:
    """Say how near the gradients are, where they were compared."""
    if found.get("gradient_rel") is None:
        return ""
    text = f"Gradients of what both share agree to {difference(found['gradient_rel'])}"
    explained = any(note.startswith("the gradient of") for note in found["notes"])
    return f"{text}, by rounding alone: see the notes." if explained else f"{text}."


def costs(found: Mapping[str, Any], latency: Mapping[str, Any] | None = None) -> str:
    """Say by how much the network grew, and what its file takes."""
    parts = [_times(found, "params", "the parameters"), _times(found, "macs", "the multiply-adds")]
    if latency:
        parts.append(f"{latency['ratio']:.2f} times the latency")
    kept = [part for part in parts if part]
    return "It has " + ", ".join(kept) if kept else "What it costs was not recorded"


def gain(training: Mapping[str, Any]) -> str:
    """Say what the network gained over its static twin."""
    found = training["gain"]
    points, error = 100 * found["difference"], 100 * found["error"]
    return f"{points:+.2f} ± {error:.2f} points over its static twin"


def trained(training: Mapping[str, Any]) -> str:
    """Say how good the network is after training."""
    text = f"Accuracy {_accuracy(training, 'dynamic')} after fine-tuning"
    return f"{text}: {gain(training)}" if training.get("gain") else text


def tradeoff(training: Mapping[str, Any]) -> str:
    """Say what the accuracy costs in time."""
    points = 100 * training["gain"]["difference"] if training.get("gain") else None
    change = "" if points is None else f"{points:+.2f} points of accuracy "
    return f"{change}for {training['cost']['ratio']:.2f} times the latency"


def _accuracy(training: Mapping[str, Any], arm: str) -> str:
    return f"{training['val'][arm]['accuracy']:.2%}"


def _apart(found: Mapping[str, Any]) -> str:
    value = found["max_rel"]
    return "are bit-equal" if value == 0 else f"differ by {difference(value)}"


def _times(found: Mapping[str, Any], what: str, words: str) -> str:
    before, after = found.get(f"{what}_before"), found.get(f"{what}_after")
    return f"{after / before:.3g} times {words}" if before and after else ""
