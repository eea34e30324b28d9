"""What is known of a traced forward's values while it is traced, because the arguments tell it."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, TypeGuard

from torch import fx, nn

from dynsurgeon.operators.static import FUNCTIONS
from dynsurgeon.surgery.sites.structure import Structure, require_axes, require_items

FOLDED = (
    *(operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge),
    *(operator.add, operator.sub, operator.mul, operator.floordiv, operator.mod, operator.neg),
    *(operator.and_, operator.or_, operator.not_, operator.xor),
)
"""What can be computed from numbers that are known."""

BROADCAST = (operator.add, operator.sub, operator.mul, operator.truediv)
"""Operators that give a tensor of as many axes as the larger of the two has."""

SIZES = ("shape", "size", "numel", "nelement")

_SAME_AXES = ("activation", "batchnorm", "conv", "dropout", "instancenorm", "normalization")


class Unknown(Exception):  # noqa: N818
    """What was asked for is known only when the model runs."""


class Facts:
    """Answers questions about nodes, and puts a check into the graph for each answer it uses.

    Args:
        tracer: The tracer at work.
        structure: Of each argument, what it was made of in every observed run.

    Attributes:
        used: Names of the arguments that answers rest on.
    """

    def __init__(self, tracer: fx.Tracer, structure: Mapping[str, Structure]) -> None:
        self._tracer, self._structure = tracer, structure
        self._known: dict[fx.Node, Structure] = {}
        self._arguments: dict[fx.Node, frozenset[str]] = {}
        self._checked: set[fx.Node] = set()
        self.used: set[str] = set()

    def learn(self, node: fx.Node) -> None:
        """Take in a node that was just made."""
        before = [self._arguments[each] for each in node.all_input_nodes]
        own = {str(node.target).lstrip("*")} if node.op == "placeholder" else ()
        self._arguments[node] = frozenset(own).union(*before)
        self._known[node] = self._structure_of(node)

    def is_tensor(self, node: fx.Node) -> bool:
        """Whether a node is known to be a tensor."""
        return isinstance(self._known[node], int)

    def axes(self, node: Any) -> int:
        """Return how many axes a tensor has.

        Raises:
            Unknown: So it is.
        """
        found = self._of(node)
        if not isinstance(found, int):
            raise Unknown
        self._check(node, require_axes, found)
        return found

    def length(self, node: Any) -> int:
        """Return how many items a tuple, a list or a shape has.

        Raises:
            Unknown: So it is.
        """
        if isinstance(node, fx.Node) and _is_shape(node):
            return self.axes(node.args[0])
        if isinstance(node, fx.Node) and _is_item(node) and _is_fixed_slice(node.args[1]):
            return len(range(self.length(node.args[0]))[node.args[1]])
        found = self._of(node)
        if not isinstance(found, list):
            raise Unknown
        self._check(node, require_items, len(found))
        return len(found)

    def value(self, node: Any) -> Any:
        """Return a number or truth that is known.

        Raises:
            Unknown: So it is.
        """
        if not isinstance(node, fx.Node):
            return node
        if _asks_for_axes(node):
            return self.axes(node.args[0])
        if node.op == "call_function" and node.target in FOLDED and not node.kwargs:
            assert callable(node.target)
            return node.target(*map(self.value, node.args))
        raise Unknown

    def empty(self, node: fx.Node) -> bool:
        """Whether the ``*args`` or ``**kwargs`` that `node` stands for are always empty."""
        if self._of(node) != []:
            return False
        self._check(node, require_items, 0)
        return True

    def _of(self, node: Any) -> Structure:
        return self._known[node] if isinstance(node, fx.Node) else None

    def _structure_of(self, node: fx.Node) -> Structure:
        if node.op == "placeholder":
            return self._structure.get(str(node.target).lstrip("*"))
        if _is_item(node):
            return _item(self._of(node.args[0]), node.args[1])
        first = self._of(node.args[0]) if node.args else None
        if self._keeps_axes(node):
            return first if isinstance(first, int) else None
        if node.op == "call_function" and node.target in BROADCAST:
            # Two unknown numbers of axes may be Python numbers, so that both have to be known.
            each = [self._of(arg) for arg in node.args if isinstance(arg, fx.Node)]
            known = [axes for axes in each if isinstance(axes, int)]
            return max(known) if known and len(known) == len(each) else None
        return None

    def _keeps_axes(self, node: fx.Node) -> bool:
        if node.op == "call_function":
            return node.target in FUNCTIONS
        if node.op != "call_module" or len(node.args) != 1:
            return False
        module = type(self._tracer.root.get_submodule(str(node.target)))
        package, _, family = module.__module__.rpartition(".")
        return module is nn.Linear or (package == "torch.nn.modules" and family in _SAME_AXES)

    def _check(self, node: fx.Node, require: Callable[..., None], answer: int) -> None:
        # Some answers are a guess, that a module keeps the axes of its input; each is checked.
        self.used |= self._arguments[node]
        if node not in self._checked:
            self._checked.add(node)
            name = str(node.target).lstrip("*") if node.op == "placeholder" else node.name
            what = f"{name!r} of {type(self._tracer.root).__name__}'s forward"
            self._tracer.create_node("call_function", require, (node, answer, what), {})


def depends_on_sizes(node: fx.Node) -> bool:
    """Whether a number is computed from the sizes of tensors, not from what they hold."""
    pending, seen = [node], {node}
    while pending:
        each = pending.pop()
        if _is_shape(each) or each.target in SIZES:
            continue
        if each.op not in ("call_function", "call_method"):
            return False
        inputs = [before for before in each.all_input_nodes if before not in seen]
        pending += inputs
        seen.update(inputs)
    return True


def _item(items: Structure, index: Any) -> Structure:
    if not isinstance(items, list) or type(index) is not int:
        return None
    return items[index] if -len(items) <= index < len(items) else None


def _asks_for_axes(node: fx.Node) -> bool:
    if node.op == "call_method":
        return node.target in ("dim", "ndimension") and len(node.args) == 1
    return node.target is getattr and bool(node.args[1] == "ndim")


def _is_shape(node: fx.Node) -> bool:
    if node.op == "call_method":
        return node.target == "size" and len(node.args) == 1 and not node.kwargs
    return node.target is getattr and bool(node.args[1] == "shape")


def _is_item(node: fx.Node) -> bool:
    return node.op == "call_function" and node.target is operator.getitem


def _is_fixed_slice(part: Any) -> TypeGuard[slice]:
    if not isinstance(part, slice):
        return False
    return all(bound is None or type(bound) is int for bound in (part.start, part.stop, part.step))
