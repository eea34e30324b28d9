"""Trace a network once for all files that are written of it.

A trace takes longer than all that the forms of a file do with it, and they leave it as it is. For
modules of tests that write the same, unchanged network many times:

    shared_traces = pytest.fixture(autouse=True)(share_traces)
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import export_nets
import pytest
from torch import Tensor, nn

from dynsurgeon.export import exporter
from dynsurgeon.export.capture import Captured, capture
from dynsurgeon.export.signature import free_axes
from dynsurgeon.export.target import Target
from dynsurgeon.running.inputs import Inputs

Traces = dict[tuple[Any, ...], Captured]
KNOWN: WeakKeyDictionary[nn.Module, Traces] = WeakKeyDictionary()


def share_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `export_onnx` and `captured_graph` take a trace that there is."""
    for module in (exporter, export_nets):
        monkeypatch.setattr(module, "capture", traced_once)


def traced_once(model: nn.Module, inputs: Inputs, target: Target) -> Captured:
    """Trace as `capture` does, or return what it gave for this model in this state."""
    if inputs.kwargs or not all(isinstance(x, Tensor) for x in inputs.args):
        return capture(model, inputs, target)
    axes = free_axes(inputs, target, target.traced_batch)
    state = tuple((x.data_ptr(), x._version) for x in model.state_dict().values())
    shapes = tuple((x.shape, x.dtype) for x in inputs.args)
    key = (target.opset, str(axes), shapes, state)
    known = KNOWN.setdefault(model, {})
    if key not in known:
        known[key] = capture(model, inputs, target)
    return known[key]
