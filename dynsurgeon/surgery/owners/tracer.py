"""The tracer that reads one owner's forward: every child a leaf, each call site with its key.

While torch.fx traces, it stands between every caller and every `nn.Module` of the process. The
tracer here lets the calls of other threads through.

To stand there torch.fx changes `nn.Module` itself, which Python has to tell every class derived
from it: that takes longer than to read a forward. So the traces of one owner share one change.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from threading import get_ident
from typing import Any, TypeVar

import torch
from torch import fx, nn

from dynsurgeon.operators.static import FUNCTIONS, METHODS
from dynsurgeon.surgery.owners.facts import Facts, Unknown, depends_on_sizes
from dynsurgeon.surgery.owners.proxies import KnowingTracer, OwnerProxy, refuse_forward
from dynsurgeon.surgery.sites.calls import CallCounter, is_operator
from dynsurgeon.surgery.sites.structure import Structure

T = TypeVar("T")

NO_THREAD = 0
"""No thread's number."""


class OwnerTracer(KnowingTracer):
    """Traces one module with every child a leaf, and keys its call sites.

    Parameters and buffers stay in the graph as attributes, so that nothing computed from them
    while tracing is baked in as a number.

    Attributes:
        facts: What is known of the values.
    """

    param_shapes_constant = True
    proxy_buffer_attributes = True

    def __init__(self, owner: nn.Module, structure: Mapping[str, Structure]) -> None:
        super().__init__()
        self.facts = Facts(self, structure)
        self._owner, self._structure = owner, structure
        self._counter = CallCounter(owner)
        self._thread, self._autocasts = NO_THREAD, _autocasts()
        self._read: dict[str, Any] = {}
        self._work: Callable[[Callable[[], fx.Graph]], None]

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Every child is a leaf."""
        return True

    def traces(
        self, constants: Mapping[str, Any], work: Callable[[Callable[[], fx.Graph]], T]
    ) -> T:
        """Trace the owner as often as `work` asks for it, and return what that returns.

        Args:
            constants: Arguments to fix, by name.
            work: Gets a function that reads the owner's forward, as the owner is at that moment.
        """
        results: list[T] = []
        self._work = lambda read: results.append(work(read))
        with torch.enable_grad():
            self.trace(self._owner, dict(constants) or None)
        return results[0]

    def create_args_for_root(
        self, root_fn: Any, is_module: bool, concrete_args: Any = None
    ) -> tuple[Any, list[Any]]:
        """Give torch.fx, in the place of the forward, what reads the forward again and again."""
        attributes = dict(self.tensor_attrs)

        def read() -> fx.Graph:
            self.tensor_attrs = dict(attributes)
            return self._read_once(root_fn, is_module, concrete_args)

        def forward() -> None:
            self._work(read)
            self.graph = fx.Graph()  # torch.fx ends a graph here, and those that were read have one

        return forward, []

    def _read_once(self, forward: Any, is_module: bool, constants: Any) -> fx.Graph:
        self.graph, self._read = fx.Graph(tracer_cls=type(self)), {}
        self.facts, self._counter = Facts(self, self._structure), CallCounter(self._owner)
        self._thread, self._autocasts = get_ident(), _autocasts()
        try:
            called, arguments = self._arguments(forward, is_module, constants)
            annotations = inspect.get_annotations(inspect.unwrap(called))
            output = self.create_arg(called(*arguments))
            self.create_node("output", "output", (output,), {}, type_expr=annotations.get("return"))
        finally:
            self._thread = NO_THREAD
        return self.graph

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        """Record the call of a module, unless another thread makes it, or nothing is read."""
        if get_ident() != self._thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: Any) -> Any:
        """Return what a module holds, or in this thread what stands for it."""
        if get_ident() != self._thread:
            return attr_val
        return super().getattr(attr, attr_val, self._read)

    def _arguments(
        self, root_fn: Any, is_module: bool, concrete_args: Any
    ) -> tuple[Any, list[Any]]:
        """Make the arguments; further ones that were never given are really not given."""
        forward, arguments = super().create_args_for_root(root_fn, is_module, concrete_args)
        for i, argument in enumerate(arguments):
            if isinstance(argument, fx.Proxy) and str(argument.node.target).startswith("*"):
                nothing: Any = {} if str(argument.node.target).startswith("**") else ()
                arguments[i] = nothing if self.facts.empty(argument.node) else argument
        return forward, arguments

    def proxy(self, node: fx.Node) -> OwnerProxy:
        """Make the stand-in of a node."""
        return OwnerProxy(node, self)

    def to_bool(self, obj: fx.Proxy) -> bool:
        """Return a truth that rests on the structure of the arguments alone."""
        try:
            return bool(self.facts.value(obj.node))
        except Unknown:
            what = "the sizes" if depends_on_sizes(obj.node) else "values"
            refuse_forward(f"branches on {what} of a tensor")

    def iter(self, obj: Any) -> Iterator[Any]:
        """Go through a tuple, a list or a shape that always has as many items."""
        if self.facts.is_tensor(obj.node):
            refuse_forward("iterates over a tensor")
        try:
            return iter([obj[i] for i in range(self.facts.length(obj.node))])
        except Unknown:
            refuse_forward("iterates over a tensor, or over a list of unknown length")

    def create_node(self, kind: str, target: Any, *args: Any, **kwargs: Any) -> fx.Node:
        """Make the node, and key it if it is a call site."""
        # A graph has no place for a context: the calls in it would run as those around it.
        if not torch.is_grad_enabled():
            refuse_forward("switches gradients off")
        if _autocasts() != self._autocasts:
            refuse_forward("switches autocast")
        node = super().create_node(kind, target, *args, **kwargs)
        self.facts.learn(node)
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


def _autocasts() -> int:
    """Return how many autocast contexts this thread is in, those that switch it off included."""
    torch.autocast_increment_nesting()
    return torch.autocast_decrement_nesting()
