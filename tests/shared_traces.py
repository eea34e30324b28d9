"""Trace a network once for all files that are written of it.

A trace takes longer than all that the forms of a file do with it, and they leave it as it is. For
modules of tests that write the same, unchanged network many times:

    shared_traces = pytest.fixture(autouse=True)(share_traces)

Many tests build the same network anew, as commands do. `share_equal_traces` knows it again by its
modules, their forwards and their settings, and gives the trace the numbers that this one has:

    equal_traces = pytest.fixture(autouse=True)(share_equal_traces)
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator
from dataclasses import is_dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import export_nets
import pytest
from torch import Tensor, nn

from dynsurgeon.export import exporter
from dynsurgeon.export.capture import Captured, capture
from dynsurgeon.export.signature import free_axes
from dynsurgeon.export.target import Target
from dynsurgeon.export.tensors import set_tensor
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
    """Let `export_onnx` take the trace of a network of the same code, where there is one."""
    monkeypatch.setattr(exporter, "capture", traced_once_of_equals)


def share_equal_traces_in_module() -> Iterator[None]:
    """Do the same for fixtures of a whole module."""
    with pytest.MonkeyPatch.context() as patch:
        share_equal_traces(patch)
        yield


def traced_once_of_equals(model: nn.Module, inputs: Inputs, target: Target) -> Captured:
    """Trace as `capture` does, or return what it gave for a network with other numbers."""
    if inputs.kwargs or not all(isinstance(x, Tensor) for x in inputs.args) or _hides(model):
        return capture(model, inputs, target)
    digest = hashlib.sha256(str(free_axes(inputs, target, target.traced_batch)).encode())
    digest.update(str((target.opset, [(x.shape, x.dtype) for x in inputs.args])).encode())
    for part in _looks(model):
        digest.update(part)
    key = digest.hexdigest()
    if key not in EQUALS:
        EQUALS[key] = capture(model, inputs, target)
    return _with_numbers_of(model, EQUALS[key])


def _with_numbers_of(model: nn.Module, captured: Captured) -> Captured:
    graph = captured.model.clone()
    for name, tensor in model.state_dict().items():
        if name in graph.graph.initializers:
            set_tensor(graph.graph.initializers[name], tensor)
    return replace(captured, model=graph)


def _hides(model: nn.Module) -> bool:
    """Whether a network holds what `_looks` does not see: a function, say, or a list of numbers."""
    values = (value for module in model.modules() for value in _own(module).values())
    unsaved = any(module._non_persistent_buffers_set for module in model.modules())
    return unsaved or not all(isinstance(v, _SEEN) or is_dataclass(v) for v in values)


def _own(module: nn.Module) -> dict[str, Any]:
    own = vars(module).items()
    return {k: v for k, v in own if k not in _OF_TORCH and not k.startswith("_dynsurgeon")}


def _looks(model: nn.Module) -> Iterator[bytes]:
    for name, module in model.named_modules():
        kind, code = type(module), inspect.unwrap(type(module).forward).__code__
        constants = [c for c in code.co_consts if not inspect.iscode(c)]
        settings = [*_own(module).items(), module.training]
        yield str((name, kind.__module__, kind.__qualname__, str(module), settings)).encode()
        yield str((code.co_code, code.co_names, constants)).encode()
    for name, tensor in model.state_dict().items():
        yield str((name, tensor.shape, tensor.dtype)).encode()


_SEEN = (bool, int, float, str, tuple, type, type(None))
_OF_TORCH = frozenset(vars(nn.Module()))
