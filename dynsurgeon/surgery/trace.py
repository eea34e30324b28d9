"""Read one owner's forward with torch.fx, every child a leaf, and make it a forward again.

Only the owner is traced, never the model: everything else keeps its class, its names and its
behaviour. What tracing would bake in wrongly is refused with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import fx, nn

from dynsurgeon.operators.table import FUNCTIONS, METHODS
from dynsurgeon.surgery.calls import CallCounter, CallKey, is_operator
from dynsurgeon.surgery.run import MODES, Mode

Constant = bool | int | float | str | None


class TraceRefusal(Exception):
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

    def create_node(self, kind: str, target: Any, *args: Any, **kwargs: Any) -> fx.Node:
        """Make the node, and key it if it is a call site."""
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
        graphs = {mode: _trace(owner, mode, constants) for mode in MODES}
    finally:
        for module, flag in flags.items():
            module.training = flag
    return OwnerTrace(owner, graphs)


def _trace(owner: nn.Module, mode: Mode, constants: Mapping[str, Constant]) -> fx.Graph:
    owner.train(mode == "train")
    before = _attributes(owner)
    try:
        graph = OwnerTracer(owner).trace(owner, dict(constants) or None)
    except Exception as error:
        raise TraceRefusal(f"its owner's forward can't be traced: {first_line(error)}") from error
    finally:
        changed = _restore_attributes(owner, before)
    if any(name.startswith("_tensor_constant") for name in changed):
        raise TraceRefusal("its owner's forward creates tensors that a trace would fix")
    if changed:
        raise TraceRefusal(f"its owner's forward assigns attributes ({', '.join(sorted(changed))})")
    _keep_argument_names(graph, constants)
    return graph


def _attributes(owner: nn.Module) -> dict[str, Any]:
    return {k: dict(v) if isinstance(v, dict) else v for k, v in vars(owner).items()}


def _restore_attributes(owner: nn.Module, before: dict[str, Any]) -> set[str]:
    now = vars(owner)
    changed = {k for k in now if k not in before}
    for key, value in before.items():
        if isinstance(value, dict):
            changed |= {k for k in {*value, *now[key]} if value.get(k) is not now[key].get(k)}
            now[key].clear()
            now[key].update(value)
        elif now.get(key) is not value:
            changed.add(key)
            now[key] = value
    for key in [k for k in now if k not in before]:
        del now[key]
    return changed


def _keep_argument_names(graph: fx.Graph, constants: Mapping[str, Constant]) -> None:
    # torch.fx renames an argument that is fixed to `name_1`; callers may pass it by its name.
    for node in graph.nodes:
        name = str(node.target).rpartition("_")[0]
        if node.op == "placeholder" and name in constants:
            node.target = name
            node.args = (constants[name],)


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
