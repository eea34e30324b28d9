"""Whatever a public name takes, holds or returns can be imported from dynsurgeon too."""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Any

import pytest

import dynsurgeon as ds


def hints_of(thing: Any) -> dict[str, Any]:
    """Return annotations as types; names that are imported for type checkers alone are looked up.

    The modules have been imported by the classes that hold such names, or by `_named`.
    """
    names: dict[str, Any] = {}
    for _ in range(50):
        try:
            return typing.get_type_hints(thing, localns=names)
        except NameError as error:
            names[str(error.name)] = named(str(error.name))
    raise AssertionError(thing)


def named(name: str) -> Any:
    if name in ds.__all__:
        return getattr(ds, name)
    for module_name, module in list(sys.modules.items()):
        if module_name.startswith("dynsurgeon.") and hasattr(module, name):
            return getattr(module, name)
    return Any


def classes_in(hint: Any) -> Iterator[type]:
    """Yield dynsurgeon's classes in an annotation, in what it is made of too."""
    if inspect.isclass(hint) and hint.__module__.startswith("dynsurgeon."):
        yield hint
    for part in typing.get_args(hint):
        yield from classes_in(part)
    if isinstance(hint, list):  # the arguments of a Callable
        for part in hint:
            yield from classes_in(part)


def members_of(kind: type) -> Iterator[Any]:
    """Yield what of a class has annotations: its public methods, and how it is built."""
    for base in kind.__mro__:
        if not base.__module__.startswith("dynsurgeon."):
            continue
        for name, member in vars(base).items():
            if name.startswith("_") and name != "__init__":
                continue
            function = getattr(member, "fget", None) or getattr(member, "__func__", member)
            if inspect.isfunction(function):
                yield function


def reached_from(thing: Any) -> set[type]:
    sources = [thing]
    if inspect.isclass(thing):
        sources = [*members_of(thing), *([thing] if is_dataclass(thing) else [])]
    hints = [hint for source in sources for hint in hints_of(inspect.unwrap(source)).values()]
    return {found for hint in hints for found in classes_in(hint)}


@pytest.mark.parametrize("name", ds.__all__)
def test_what_a_public_name_deals_with_is_public(name: str) -> None:
    hidden = {f"{c.__module__}.{c.__name__}" for c in reached_from(getattr(ds, name))}
    public = {f"{c.__module__}.{c.__name__}" for c in map(ds.__getattr__, ds.__all__)}
    assert hidden <= public


def test_it_is_seen_wherever_it_stands() -> None:
    assert ds.SurgeryConfig in reached_from(ds.plan)
    assert ds.Plan in reached_from(ds.convert)
    assert ds.Site in reached_from(ds.Plan)  # within a tuple
    assert ds.MeasureConfig in reached_from(ds.SurgeryConfig)
    assert ds.DynamicConvConfig in reached_from(ds.DynamicConv2d)  # of an inherited method
    assert ds.TrainingData in reached_from(ds.finetune)
