"""Read one owner's forward with torch.fx, every child a leaf, and make it a forward again.

Only the owner is traced, never the model: everything else keeps its class, its names and its
behaviour. What tracing would bake in wrongly is refused with the reason.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from torch import fx, nn

from dynsurgeon.compat import TRACED_CONSTANT
from dynsurgeon.running.draws import Draws
from dynsurgeon.running.randomness import forked_random
from dynsurgeon.running.run import MODES, Mode
from dynsurgeon.surgery.owners.effects import SideEffects
from dynsurgeon.surgery.owners.explain import explain
from dynsurgeon.surgery.owners.proxies import TraceRefusal, refuse_forward
from dynsurgeon.surgery.owners.tracer import OwnerTracer
from dynsurgeon.surgery.sites.calls import CallKey
from dynsurgeon.surgery.sites.structure import Structure

Constant = bool | int | float | str | None

ATTEMPTS = 3
"""Traces in each of which random numbers are drawn, until an owner is refused for that."""


@dataclass
class OwnerTrace:
    """The graphs of one owner's forward, in eval and in train mode.

    Attributes:
        owner: The module.
        graphs: Its graph in each mode.
        structure: Of the arguments whose structure is fixed in the graphs, what they have to be.
    """

    owner: nn.Module
    graphs: dict[Mode, fx.Graph]
    structure: dict[str, Structure] = field(default_factory=dict)

    def calls(self, mode: Mode) -> list[CallKey]:
        """Return the call sites of one mode's graph, in order."""
        return [node.meta["call"] for node in self.call_nodes(mode)]

    def call_nodes(self, mode: Mode) -> list[fx.Node]:
        """Return the nodes of the call sites of one mode's graph, in order."""
        return [node for node in self.graphs[mode].nodes if "call" in node.meta]


@dataclass(frozen=True)
class Given:
    """What is known of an owner's arguments.

    Attributes:
        constants: Those that are fixed.
        structure: Of the others, what each is made of.
    """

    constants: Mapping[str, Constant]
    structure: Mapping[str, Structure]


def trace_owner(
    owner: nn.Module,
    constants: Mapping[str, Constant],
    structure: Mapping[str, Structure] | None = None,
) -> OwnerTrace:
    """Trace `owner` in both modes.

    Args:
        owner: The module.
        constants: Arguments to fix, by name.
        structure: Of further arguments, what each is made of whenever the model runs. A graph that
            rests on that checks it, and raises `ConfigError` where it does not hold.

    Raises:
        TraceRefusal: Its forward can't be captured faithfully.
    """
    given = Given(constants, structure or {})
    flags = {module: module.training for module in owner.modules()}
    try:
        with forked_random():
            traced = _trace_all(owner, given)
    finally:
        for module, flag in flags.items():
            module.training = flag
    for mode, other in zip(MODES, reversed(MODES), strict=True):
        if traced[mode, mode].source != traced[mode, other].source:
            refuse_forward("reads the training flag of a child")
    used = sorted({name for mode in MODES for name in traced[mode, mode].used})
    graphs = {mode: traced[mode, mode].graph for mode in MODES}
    return OwnerTrace(owner, graphs, {name: given.structure[name] for name in used})


@dataclass(frozen=True)
class _Traced:
    """One trace.

    Attributes:
        graph: The graph.
        used: Names of the arguments whose structure it rests on.
        source: What it computes, as Python: two traces of one source compute the same.
    """

    graph: fx.Graph
    used: set[str]
    source: str = ""


# The owner's own flag chooses between the two forwards; a frozen BatchNorm among its children has
# another flag.
_FLAGS = (*zip(MODES, MODES, strict=True), *zip(MODES, reversed(MODES), strict=True))


def _trace_all(owner: nn.Module, given: Given) -> dict[tuple[Mode, Mode], _Traced]:
    """Trace with either flag of the owner, and of its children."""
    tracer = OwnerTracer(owner, given.structure)

    def each(read: Callable[[], fx.Graph]) -> dict[tuple[Mode, Mode], _Traced]:
        return {flags: _trace(tracer, owner, *flags, read) for flags in _FLAGS}

    try:
        traced = tracer.traces(given.constants, each)
        return {flags: _written(found, owner, given) for flags, found in traced.items()}
    except TraceRefusal:
        raise
    except Exception as error:
        raise TraceRefusal(explain(error)) from error


def _trace(
    tracer: OwnerTracer,
    owner: nn.Module,
    mode: Mode,
    children: Mode,
    read: Callable[[], fx.Graph],
) -> _Traced:
    for _ in range(ATTEMPTS):
        owner.train(children == "train")
        owner.training = mode == "train"
        with _without_effects(owner), Draws() as draws:
            graph = read()
        if not draws.found:
            return _Traced(graph, tracer.facts.used)
    refuse_forward("draws random numbers that a trace would fix")


@contextmanager
def _without_effects(owner: nn.Module) -> Iterator[None]:
    """Put back what running the owner's Python changes, and refuse it for that."""
    effects = SideEffects(owner)
    try:
        yield
    finally:
        changed = effects.undo()
    if any(name.startswith(TRACED_CONSTANT) for name in changed):
        refuse_forward("creates tensors that a trace would fix")
    if changed:
        refuse_forward(f"changes attributes ({', '.join(sorted(changed))})")


def _written(traced: _Traced, owner: nn.Module, given: Given) -> _Traced:
    _keep_argument_names(traced.graph, owner, given.constants)
    code = traced.graph.python_code("self")
    _compiled(code)
    return replace(traced, source=str(code.src))


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
    return _compiled(graph.python_code("self"))


def _compiled(code: Any) -> Callable[..., Any]:
    namespace = dict(code.globals)
    exec(compile(code.src, "<dynsurgeon forward>", "exec"), namespace)
    forward: Callable[..., Any] = namespace["forward"]
    return forward


def same_code(one: fx.Graph, other: fx.Graph) -> bool:
    """Whether two graphs compute the same, call for call."""
    return str(one.python_code("self").src) == str(other.python_code("self").src)
