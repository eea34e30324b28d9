"""What a line becomes behind a channel scale: the map is no longer multiplied, the line is.

    a (f x + t) + b = (a f) x + (a t + b)

Shift-Max's second channel lies behind the scale too, with the gain and the lift of that channel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce

import onnx_ir as ir
import torch

from dynsurgeon.export.forms.emitter import Emitter
from dynsurgeon.export.lines.site import LinesSite

Line = Mapping[str, ir.Value]
"""Coefficients of a line by their kind: a, c of a second channel, b; c and b may be missing."""


@dataclass(frozen=True)
class Scaling:
    """A channel scale before lines.

    Attributes:
        gains: What a line's slopes are multiplied by, by kind; empty without a scale.
        lifts: What is added to x and to its second channel before the line, likewise.
    """

    gains: Line
    lifts: Line

    def line(self, emitter: Emitter, line: Line) -> dict[str, ir.Value]:
        """Return the line over the map before the scale."""
        offsets = [line["b"]] if "b" in line else []
        offsets += [emitter.op("Mul", [line[kind], t]) for kind, t in self.lifts.items()]
        found = {kind: self._gained(emitter, kind, line[kind]) for kind in line if kind != "b"}
        if offsets:
            found["b"] = reduce(lambda one, other: emitter.op("Add", [other, one]), offsets)
        return found

    def _gained(self, emitter: Emitter, kind: str, slope: ir.Value) -> ir.Value:
        return emitter.op("Mul", [slope, self.gains[kind]]) if kind in self.gains else slope


def scaling_of(
    site: LinesSite, emitter: Emitter, shaped: Callable[[ir.Value], ir.Value] | None = None
) -> Scaling:
    """Return the scale before a site.

    Args:
        site: The lines.
        emitter: Writes what is computed.
        shaped: Gives the gain ``(N, C, *ones)`` and the lift ``(C, *ones)`` the shape of the
            coefficients; they stay as they are if None.
    """
    values = {"gains": (site.gain, 1), "lifts": (site.lift, 0)}
    found: dict[str, dict[str, ir.Value]] = {name: {} for name in values}
    for name, (value, axis) in values.items():
        if value is None:
            continue
        own = {"a": value}
        if site.shift is not None:
            own["c"] = emitter.op("Gather", [value, rolled(site, emitter)], {"axis": axis})
        found[name] = {kind: shaped(one) if shaped else one for kind, one in own.items()}
    return Scaling(**found)


def rolled(site: LinesSite, emitter: Emitter) -> ir.Value:
    """Write the channels that each channel's second one is."""
    assert site.shift is not None
    return emitter.constant(torch.arange(site.width).roll(-site.shift))


def second_channels(site: LinesSite, emitter: Emitter) -> ir.Value:
    """Write the map of second channels: one copy of it; Slices and a Concat make two."""
    return emitter.op("Gather", [site.x, rolled(site, emitter)], {"axis": 1})
