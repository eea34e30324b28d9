"""Names and free axes of nested inputs and outputs."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import pytest
import torch
from torch.utils._pytree import register_pytree_node

from dynsurgeon.errors import ConfigError, ExportError
from dynsurgeon.export.signature import Signature, free_axes, spatial_axes
from dynsurgeon.export.target import Target
from dynsurgeon.running.inputs import Inputs

T = torch.zeros(2, 3)


@dataclass
class Result(OrderedDict[str, Any]):
    """Its fields are its items too, and torch knows it without its keys, as a model hub's are."""

    sample: Any
    extra: Any = None

    def __post_init__(self) -> None:
        self.update({f.name: getattr(self, f.name) for f in fields(self)})


class Pair:
    """Has no names at all."""

    def __init__(self, *values: Any) -> None:
        self.values = values


@dataclass
class Record:
    logits: Any
    more: Any = None


class Named(NamedTuple):
    logits: Any
    more: Any = None


@dataclass
class Unknown:
    logits: Any


register_pytree_node(Result, lambda r: (list(r.values()), list(r)), lambda v, c: Result(*v))
register_pytree_node(Pair, lambda p: (list(p.values), None), lambda v, _: Pair(*v))
register_pytree_node(Record, lambda r: ([r.logits, r.more], None), lambda v, _: Record(*v))


def name(inputs: Any, outputs: Any, **given: Any) -> Signature:
    values = {"input_names": None, "output_names": None, "taken": (), **given}
    return Signature.of(inputs, outputs, **values)


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        (T, ("output",)),
        ((T, None, [T]), ("output", "output_1")),
        ({"out": T, "aux": T}, ("out", "aux")),
        ({"a": {"b": T, "c": [T, T]}}, ("a.b", "a.c", "a.c_1")),
        ({"input": T}, ("input_1",)),
        (Result(T, {"a": T, "b": None}), ("sample", "extra.a")),
        (Result([T, T]), ("sample", "sample_1")),
        (Pair(T, [T]), ("output", "output_1")),
        (Record(None, T), ("more",)),
        (Named(T, T), ("output", "output_1")),
    ],
)
def test_default_names(outputs: Any, expected: tuple[str, ...]) -> None:
    assert name((T,), outputs).outputs == expected


def test_numbers_are_no_inputs_and_weights_keep_their_names() -> None:
    assert name((T, 3, {"mask": T}), T).inputs == ("input", "mask")
    assert name((T,), T, taken=("input", "output")).inputs == ("input_1",)


@pytest.mark.parametrize("outputs", ["text", (T, 3), {}, None])
def test_outputs_that_onnx_has_no_value_for(outputs: Any) -> None:
    with pytest.raises(ExportError, match="the model returns"):
        name((T,), outputs)


def test_an_unknown_class_of_tensors_is_told_how_to_become_known() -> None:
    with pytest.raises(ExportError, match=r"register_dataclass\(Unknown\)"):
        name((T,), Unknown(T))
    plain = type("Plain", (), {})()
    plain.logits = T
    with pytest.raises(ExportError, match="register_pytree_node"):
        name((T,), plain)


@pytest.mark.parametrize(
    "names", ["x", ("a", "b"), (), ("w",)], ids=["a string", "too many", "too few", "a weight"]
)
def test_names_that_do_not_fit(names: Any) -> None:
    with pytest.raises(ConfigError, match="input_names must be 1 names"):
        name((T,), T, input_names=names, taken=("w",))


@pytest.mark.parametrize("names", [("a", "a"), ("photo", "b")])
def test_names_must_differ(names: tuple[str, str]) -> None:
    with pytest.raises(ConfigError, match="output_names must be 2 names"):
        name((T,), (T, T), input_names=["photo"], output_names=names)


def test_free_axes() -> None:
    image, labels, table = torch.zeros(2, 3, 8, 8), torch.zeros(2), torch.zeros(7, 4)
    inputs = Inputs(image, labels, table)
    free = Target.choose("portable", None, dynamic_size=True)
    assert free_axes(inputs, free, 2) == [
        {0: "batch", 2: "height", 3: "width"},
        {0: "batch"},
        {},
    ]
    scanned = Target.choose("scan", None)
    assert free_axes(inputs, scanned, 2) == [{}, {}, {}]


def test_spatial_axes() -> None:
    ranks = {rank: spatial_axes(torch.zeros([1] * rank)) for rank in range(1, 7)}
    assert ranks == {1: (), 2: (), 3: (2,), 4: (2, 3), 5: (3, 4), 6: ()}
    assert spatial_axes(torch.zeros(1, 1, 1, 1, dtype=torch.int64)) == ()
