"""Stand-ins for the values of a traced forward that answer what is known of them.

Python asks some questions of an object that a graph can't record: is it true, how long is it, which
number is it. torch.fx refuses them all. Here those about structure are answered (see `facts`), and
the refusals of the others say what the forward does.
"""

from __future__ import annotations

from typing import NoReturn

from torch import fx
from torch.fx.proxy import Attribute

from dynsurgeon.surgery.owners.facts import Facts, Unknown


class TraceRefusal(Exception):  # noqa: N818
    """An owner can't be rewritten; the message is the reason that the plan shows."""


def refuse_forward(clause: str) -> NoReturn:
    """Refuse an owner for what its forward does."""
    raise TraceRefusal(f"its owner's forward {clause}")


class KnowingTracer(fx.Tracer):
    """A tracer whose stand-ins can be asked.

    Attributes:
        facts: What is known of the values.
    """

    facts: Facts


class OwnerProxy(fx.Proxy):
    """Stands for one value of an owner's forward while that is traced."""

    tracer: KnowingTracer

    def __getattr__(self, k: str) -> OwnerAttribute:
        return OwnerAttribute(self, k)

    def __len__(self) -> int:
        try:
            return self.tracer.facts.length(self.node)
        except Unknown:
            refuse_forward("takes a length that is known only when it runs")

    def __index__(self) -> int:
        try:
            return int(self.tracer.facts.value(self.node))
        except Unknown:
            refuse_forward("converts a tensor or a size to a Python number")

    def __int__(self) -> int:
        return self.__index__()

    def __float__(self) -> float:
        return float(self.__index__())


class OwnerAttribute(OwnerProxy, Attribute):
    """Stands for an attribute of such a value, which may turn out to be a method."""
