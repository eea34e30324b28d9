"""Time the forms of every dynamic convolution on this machine, once a shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx_ir as ir
import torch

from dynsurgeon.export.forms import CONV_FORMS
from dynsurgeon.export.forms.site import ConvSite, is_dynamic_conv
from dynsurgeon.export.tuning.excerpt import excerpt_model
from dynsurgeon.progress import counted
from dynsurgeon.runtimes.onnxruntime import timed_session
from dynsurgeon.timing.interleave import interleaved
from dynsurgeon.timing.store import TimeStore

ROUNDS, MOST_SECONDS = 15, 2.0
"""Timed rounds a shape, and the seconds after which they end."""

Times = Mapping[str, float]
"""Seconds by form."""


@dataclass(frozen=True)
class Timer:
    """Times dynamic convolutions.

    Attributes:
        threads: Threads of an operator in onnxruntime.
        store: Where times are kept for the next run.
    """

    threads: int
    store: TimeStore

    def time_sites(self, model: ir.Model, forms: Sequence[str]) -> dict[str, Times]:
        """Return what each form takes at every site whose size is known, by the bank's name.

        Args:
            model: A captured graph.
            forms: Names in `CONV_FORMS`; one that can't stand at a site has no time there.
        """
        nodes = [node for node in model.graph if is_dynamic_conv(node)]
        return {
            str(ConvSite.of(node).weight.name): self._times(node, forms)
            for node in counted(nodes, "convolutions")
            if _is_fixed(ConvSite.of(node))
        }

    def _times(self, node: ir.Node, forms: Sequence[str]) -> Times:
        site = ConvSite.of(node)
        possible = [name for name in forms if CONV_FORMS[name].obstacle(site) is None]
        keys = {name: f"{name} of {_key(site)}" for name in possible}
        if any(self.store.get(key) is None for key in keys.values()):
            for name, seconds in self._measure(node, possible).items():
                self.store.put(keys[name], seconds)
        known = {name: self.store.get(key) for name, key in keys.items()}
        return {name: seconds for name, seconds in known.items() if seconds is not None}

    def _measure(self, node: ir.Node, forms: Sequence[str]) -> Times:
        site = ConvSite.of(node)
        x = torch.rand([int(size) for size in site.x.shape or ()])  # type: ignore[arg-type]
        pi = torch.softmax(torch.rand(len(x), len(site.bank)), dim=1)
        with TemporaryDirectory() as folder:
            calls = {}
            for name in forms:
                path = Path(folder, f"{name}.onnx")
                ir.save(excerpt_model(node, name), path)
                calls[name] = timed_session(path, [x, pi], threads=self.threads)
            timings = interleaved(calls, rounds=ROUNDS, max_seconds=MOST_SECONDS)
        return {name: timing.median for name, timing in timings.items()}


def _is_fixed(site: ConvSite) -> bool:
    sizes = [*(site.x.shape or ()), *(site.pi.shape or ())]
    return bool(sizes) and all(isinstance(size, int) for size in sizes)


def _key(site: ConvSite) -> str:
    shape = "x".join(str(size) for size in site.x.shape or ())
    kernel = "x".join(map(str, site.bank.shape))
    bias = "no bias" if site.bias is None else "biases" if site.mixes_biases else "bias"
    g = site.geometry
    steps = f"stride {g.stride} dilation {g.dilation} pads {site.pads} groups {g.groups}"
    return f"{shape} by {kernel} {steps} {bias}{' transposed' if g.transposed else ''}"
