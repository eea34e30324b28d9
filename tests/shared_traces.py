"""Trace a network once for all files that are written of it.

A trace takes longer than all that the forms of a file do with it, and they leave it as it is. For
modules of tests that write the same, unchanged network many times:

    shared_traces = pytest.fixture(autouse=True)(share_traces)

Commands build their network anew each time. `share_equal_traces` knows it again by its modules,
their forwards, settings and numbers.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

import export_nets
import pytest
import torch
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


EQUALS: dict[str, Captured] = {}


def share_equal_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `export_onnx` take the trace of an equal network, where there is one."""
    monkeypatch.setattr(exporter, "capture", traced_once_of_equals)


def traced_once_of_equals(model: nn.Module, inputs: Inputs, target: Target) -> Captured:
    """Trace as `capture` does, or return what it gave for a network that was just like this one."""
    if inputs.kwargs or not all(isinstance(x, Tensor) for x in inputs.args):
        return capture(model, inputs, target)
    digest = hashlib.sha256(str(free_axes(inputs, target, target.traced_batch)).encode())
    digest.update(str((target.opset, [(x.shape, x.dtype) for x in inputs.args])).encode())
    for part in _looks(model):
        digest.update(part)
    key = digest.hexdigest()
    if key not in EQUALS:  # a copy, for what is traced keeps the memory of the weights
        EQUALS[key] = capture(copy.deepcopy(model), inputs, target)
    return EQUALS[key]


def _looks(model: nn.Module) -> Iterator[bytes]:
    for name, module in model.named_modules():
        kind, code = type(module), inspect.unwrap(type(module).forward).__code__
        constants = [c for c in code.co_consts if not inspect.iscode(c)]
        settings = [(k, v) for k, v in vars(module).items() if isinstance(v, _PLAIN)]
        yield str((name, kind.__module__, kind.__qualname__, str(module), settings)).encode()
        yield str((code.co_code, code.co_names, constants)).encode()
    for name, tensor in model.state_dict().items():
        yield str((name, tensor.shape, tensor.dtype)).encode()
        yield tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes()


_PLAIN = (bool, int, float, str, tuple, type(None))
