"""Read one owner's forward with torch.fx, every child a leaf, and make it a forward again.

Only the owner is traced, never the model: everything else keeps its class, its names and its
behaviour. What tracing would bake in wrongly is refused with the reason.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from dynsurgeon.operators.table import FUNCTIONS, METHODS
from dynsurgeon.surgery.calls import CallCounter, CallKey, is_operator
from dynsurgeon.surgery.effects import SideEffects
from dynsurgeon.surgery.randomness import forked_random
from dynsurgeon.surgery.run import MODES, Mode

Constant = bool | int | float | str | None


class TraceRefusal(Exception):  # noqa: N818
    """An owner can't be rewritten; the message is the reason that the plan shows."""


class OwnerTracer(fx.Tracer):
    """Traces one module with every child a leaf, and keys its call sites.

    Parameters and buffers stay in the graph as attributes, so that nothing computed from them
    while tracing is baked in as a number.
    """

    param_shapes_constant = True
    proxy_buffer_attributes = True

    def __init__(self, owner: nn.Module) -> None:
        super().__init__()
        self._counter = CallCounter(owner)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Every child is a leaf."""
        return True

    def trace(self, root: Any, concrete_args: Any = None) -> fx.Graph:
        """Trace `root`, and refuse what a graph of calls has no place for."""
        with torch.enable_grad(), _refused_autocast():
            return super().trace(root, concrete_args)

    def create_node(self, kind: str, target: Any, *args: Any, **kwargs: Any) -> fx.Node:
        """Make the node, and key it if it is a call site."""
        if not torch.is_grad_enabled():
            raise TraceRefusal("it switches gradients off")
        node = super().create_node(kind, target, *args, **kwargs)
        label = self._label(kind, target)
        if label is not None:
            node.meta["call"] = self._counter.key(label)
        return node

    def _label(self, kind: str, target: Any) -> str | None:
        if kind == "call_module" and is_operator(self.root.get_submodule(target)):
            return f"module:{target}"
        if kind == "call_function" and target in FUNCTIONS:
            return f"function:{FUNCTIONS[target]}"
        if kind == "call_method" and target in METHODS:
            return "function:relu"
        return None


@dataclass
class OwnerTrace:
    """The graphs of one owner's forward, in eval and in train mode."""

    owner: nn.Module
    graphs: dict[Mode, fx.Graph]

    def calls(self, mode: Mode) -> list[CallKey]:
        """Return the call sites of one mode's graph, in order."""
        return [node.meta["call"] for node in self.call_nodes(mode)]

    def call_nodes(self, mode: Mode) -> list[fx.Node]:
        """Return the nodes of the call sites of one mode's graph, in order."""
        return [node for node in self.graphs[mode].nodes if "call" in node.meta]


def trace_owner(owner: nn.Module, constants: Mapping[str, Constant]) -> OwnerTrace:
    """Trace `owner` in both modes, with these of its arguments fixed.

    Raises:
        TraceRefusal: Its forward can't be captured faithfully.
    """
    flags = {module: module.training for module in owner.modules()}
    try:
        with forked_random():
            graphs = {mode: _trace(owner, mode, mode, constants) for mode in MODES}
            _check_flags(owner, graphs, constants)
    finally:
        for module, flag in flags.items():
            module.training = flag
    return OwnerTrace(owner, graphs)


def _check_flags(
    owner: nn.Module, graphs: Mapping[Mode, fx.Graph], constants: Mapping[str, Constant]
) -> None:
    # The owner's own flag chooses between the two forwards; a frozen BatchNorm has another.
    for mode, other in zip(MODES, reversed(MODES), strict=True):
        if not same_code(graphs[mode], _trace(owner, mode, other, constants)):
            raise TraceRefusal("its owner's forward reads the training flag of a child")


def _trace(
    owner: nn.Module, mode: Mode, children: Mode, constants: Mapping[str, Constant]
) -> fx.Graph:
    owner.train(children == "train")
    owner.training = mode == "train"
    effects = SideEffects(owner)
    try:
        graph = OwnerTracer(owner).trace(owner, dict(constants) or None)
        _keep_argument_names(graph, owner, constants)
        compile_forward(graph)
    except Exception as error:
        raise TraceRefusal(f"its owner's forward can't be traced: {first_line(error)}") from error
    finally:
        changed = effects.undo()
    if any(name.startswith("_tensor_constant") for name in changed):
        raise TraceRefusal("its owner's forward creates tensors that a trace would fix")
    if changed:
        raise TraceRefusal(f"its owner's forward changes attributes ({', '.join(sorted(changed))})")
    if effects.drew():
        raise TraceRefusal("its owner's forward draws random numbers that a trace would fix")
    return graph


@contextmanager
def _refused_autocast() -> Iterator[None]:
    # A graph of calls has no place for a context: the calls in it would run as those around it.
    def refuse(self: torch.autocast) -> None:
        raise TraceRefusal("it switches autocast")

    enter = torch.autocast.__enter__
    torch.autocast.__enter__ = refuse  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.autocast.__enter__ = enter  # type: ignore[method-assign]


def _keep_argument_names(
    graph: fx.Graph, owner: nn.Module, constants: Mapping[str, Constant]
) -> None:
    # torch.fx renames an argument that is fixed to `name_1`; callers may pass it by its name.
    parameters = inspect.signature(inspect.unwrap(type(owner).forward)).parameters.values()
    names = [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)][1:]
    placeholders = [node for node in graph.nodes if node.op == "placeholder"]
    for name, node in zip(names, placeholders, strict=False):
        if name in constants:
            node.target = name


def compile_forward(graph: fx.Graph) -> Callable[..., Any]:
    """Turn a graph into a plain function of (self, *arguments)."""
    code = graph.python_code("self")
    namespace = dict(code.globals)
    exec(compile(code.src, "<dynsurgeon forward>", "exec"), namespace)
    forward: Callable[..., Any] = namespace["forward"]
    return forward


def same_code(one: fx.Graph, other: fx.Graph) -> bool:
    """Whether two graphs compute the same, call for call."""
    return str(one.python_code("self").src) == str(other.python_code("self").src)


def first_line(error: Exception) -> str:
    """Return the beginning of an error's message, for a message of one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
