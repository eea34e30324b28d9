"""Run a model once and note every call site: who calls what, on what shapes, how often.

Module calls are seen through torch's global module hooks, functions and methods through a
`TorchFunctionMode`. A call belongs to the innermost module whose own forward makes it. The mode is
this thread's, the hooks are the process's: they look away from what other threads call.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from dynsurgeon.compat import hooked_everywhere, tree_leaves
from dynsurgeon.operators.static import FUNCTIONS, INPLACE_FUNCTIONS
from dynsurgeon.surgery.sites.calls import CallCounter, CallKey, is_operator
from dynsurgeon.surgery.sites.writes import Place, Writes

UNINITIALIZED = frozenset(
    {torch.empty, torch.empty_like, torch.empty_strided}
    | {Tensor.new_empty, Tensor.new_empty_strided, Tensor.new}
)
"""Functions that return whatever lies in memory: another run gets something else."""

_HARMLESS_ATTRIBUTES = {"dtype", "device", "requires_grad", "is_cuda", "layout", "grad"}


@dataclass
class Call:
    """One execution of one call site."""

    owner: nn.Module
    key: CallKey
    index: int
    module: nn.Module | None
    function: Callable[..., Any] | None
    input: Tensor
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inplace: bool
    channels_last_axis: bool = False
    output: Tensor | None = None

    @property
    def place(self) -> Place:
        """Its call site."""
        return self.owner, self.key


@dataclass
class OwnerForward:
    """One execution of one owner's forward: its call sites in order, and its arguments."""

    owner: nn.Module
    counter: CallCounter
    paths: dict[int, str]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    calls: list[CallKey] = field(default_factory=list)


class Observer(TorchFunctionMode):
    """Reports each call site of a running model.

    Args:
        on_call: Called after each call with its `Call`, the output included.
        on_forward: Called after each forward of an owner with its `OwnerForward`.
        stand_in: Computes an in-place call from its input, in place or not, instead of the call.
        on_result: Called with what each torch function returns, call site or not, unless that is
            memory without values.

    Attributes:
        foreign_reads: Ids of parameters that were read outside their own operator's forward.
        writes: Writes into the inputs of calls, after these.
    """

    def __init__(
        self,
        on_call: Callable[[Call], None] | None = None,
        on_forward: Callable[[OwnerForward], None] | None = None,
        stand_in: Callable[[Call, Tensor], Tensor] | None = None,
        on_result: Callable[[Any], None] | None = None,
    ) -> None:
        super().__init__()
        self._on_call, self._on_forward, self._on_result = on_call, on_forward, on_result
        self._stand_in = stand_in
        self._thread = get_ident()
        self._stack: list[OwnerForward | Call] = []
        self._paths: dict[nn.Module, dict[int, str]] = {}
        self.foreign_reads: set[int] = set()
        self.writes = Writes()

    @contextmanager
    def observing(self) -> Iterator[None]:
        """Observe everything that runs in this context, in this thread."""
        self._thread = get_ident()
        with hooked_everywhere(self._enter, self._leave), self:
            yield

    def _enter(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        if get_ident() != self._thread:
            return
        parent = self._stack[-1] if self._stack else None
        call = None
        if isinstance(parent, OwnerForward) and is_operator(module):
            label = f"module:{parent.paths.get(id(module), '?')}"
            call = self._start(parent, label, args, {}, module=module)
        self._stack.append(call or self._open(module))

    def _open(self, module: nn.Module) -> OwnerForward:
        if module not in self._paths:
            self._paths[module] = {id(m): name for name, m in module.named_modules()}
        return OwnerForward(module, CallCounter(module), self._paths[module])

    def _leave(self, module: nn.Module, args: Any, *rest: Any) -> None:
        if get_ident() != self._thread:
            return
        frame = self._stack.pop()
        if len(rest) < 2:  # its forward raised: torch then calls without keywords
            return
        kwargs, output = rest
        frame.args, frame.kwargs = args, kwargs
        if isinstance(frame, Call):
            frame.input = _input_of(args, kwargs)  # as the module's own hooks made it
            self._finish(frame, output)
            return
        if isinstance(module, nn.Linear) and isinstance(output, Tensor) and output.dim() > 2:
            output._dynsurgeon_channels_last_axis = True  # type: ignore[attr-defined]
        if self._on_forward is not None:
            self._on_forward(frame)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        self.writes.begin()
        result = self._observe(func, args, kwargs or {})
        self.writes.note(self._writer())
        if self._on_result is not None and func not in UNINITIALIZED:
            self._on_result(result)
        return result

    def _observe(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        frame = self._stack[-1] if self._stack else None
        if isinstance(frame, OwnerForward):
            self._note_foreign_reads(frame.owner, func, (*args, *kwargs.values()))
            if func in FUNCTIONS and isinstance(_input_of(args, kwargs), Tensor):
                label = f"function:{FUNCTIONS[func]}"
                call = self._start(frame, label, args, kwargs, function=func)
                output = self._execute(call, func, args, kwargs)
                self.writes.note(call.place if call.inplace else None)
                self._finish(call, output)
                return output
        if isinstance(frame, Call) and func in FUNCTIONS:
            return self._execute(frame, func, args, kwargs)
        return func(*args, **kwargs)

    def _start(
        self,
        run: OwnerForward,
        label: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        module: nn.Module | None = None,
        function: Callable[..., Any] | None = None,
    ) -> Call:
        tensor = _input_of(args, kwargs)
        call = Call(
            owner=run.owner,
            key=run.counter.key(label),
            index=len(run.calls),
            module=module,
            function=function,
            input=tensor,
            args=args,
            kwargs=kwargs,
            inplace=_is_inplace(module, function, args, kwargs),
            channels_last_axis=hasattr(tensor, "_dynsurgeon_channels_last_axis"),
        )
        run.calls.append(call.key)
        return call

    def _execute(
        self, call: Call, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if call.inplace and self._stand_in is not None:
            return self._stand_in(call, _input_of(args, kwargs))
        return func(*args, **kwargs)

    def _writer(self) -> Place | None:
        frame = self._stack[-1] if self._stack else None
        return frame.place if isinstance(frame, Call) and frame.inplace else None

    def _finish(self, call: Call, output: Any) -> None:
        if not call.inplace and isinstance(call.input, Tensor):
            self.writes.watch(call.place, call.input)
        if self._on_call is not None and isinstance(output, Tensor):
            call.output = output
            self._on_call(call)

    def _note_foreign_reads(
        self, owner: nn.Module, func: Callable[..., Any], args: tuple[Any, ...]
    ) -> None:
        attribute = getattr(getattr(func, "__self__", None), "__name__", "")
        if attribute in _HARMLESS_ATTRIBUTES:
            return
        own = {id(parameter) for parameter in owner._parameters.values()}
        for value in tree_leaves(args):
            if isinstance(value, nn.Parameter) and id(value) not in own:
                self.foreign_reads.add(id(value))


def _input_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return args[0] if args else kwargs.get("input")


def _is_inplace(
    module: nn.Module | None,
    function: Callable[..., Any] | None,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> bool:
    if function is None:
        return bool(getattr(module, "inplace", False))
    if function in INPLACE_FUNCTIONS:
        return True
    return bool(_bound(function, args, kwargs).get("inplace", False))


def _bound(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    try:
        return dict(inspect.signature(function).bind(*args, **kwargs).arguments)
    except (TypeError, ValueError):  # a builtin without a signature has no inplace flag
        return dict(kwargs)
