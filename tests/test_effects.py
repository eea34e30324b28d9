from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from dynsurgeon.surgery.owners.effects import SideEffects


class Stateful(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.count = 0
        self.history = [1, 2]
        self.table = {"a": 1}
        self.seen = {1}
        self.hooks: dict[str, int] = {}
        self.pair = (torch.ones(2), 1)
        self.average = torch.ones(2)
        self.queue = [torch.ones(2)]
        self.child = nn.Linear(1, 1)
        self.register_buffer("steps", torch.zeros(()))


def drop_history(module: Any) -> None:
    del module.history


CHANGES: dict[str, tuple[Callable[[Any], Any], set[str]]] = {
    "nothing": (lambda m: None, set()),
    "assign": (lambda m: setattr(m, "count", 1), {"count"}),
    "new": (lambda m: setattr(m, "fresh", 1), {"fresh"}),
    "delete": (drop_history, {"history"}),
    "append": (lambda m: m.history.append(3), {"history"}),
    "reorder": (lambda m: m.history.reverse(), {"history"}),
    "replace list": (lambda m: setattr(m, "history", [9]), {"history"}),
    "key": (lambda m: m.table.update(b=2), {"table"}),
    "set": (lambda m: m.seen.add(2), {"seen"}),
    "buffer": (lambda m: setattr(m, "steps", m.steps + 1), {"steps"}),
    "child": (lambda m: setattr(m, "relu", nn.ReLU()), {"relu"}),
    "tensor": (lambda m: m.average.mul_(2), {"average"}),
    "fill": (lambda m: m.hooks.update(a=1), {"hooks"}),
    "tensor in a tuple": (lambda m: m.pair[0].mul_(2), {"pair"}),
    "tensor in a list": (lambda m: m.queue[0].mul_(2), {"queue"}),
    "a child's attribute": (lambda m: setattr(m.child, "count", 1), {"child.count"}),
    "new child": (lambda m: setattr(m, "more", nn.ReLU()), {"more"}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changes_are_named_and_undone(change: str) -> None:
    act, names = CHANGES[change]
    module = Stateful()
    objects = {name: id(value) for name, value in vars(module).items()}
    children, steps = dict(module._modules), module.steps
    effects = SideEffects(module)
    act(module)
    assert effects.undo() == names
    assert {name: id(value) for name, value in vars(module).items()} == objects
    assert (module.history, module.table, module.seen) == ([1, 2], {"a": 1}, {1})
    assert module.hooks == {}
    assert torch.equal(module.pair[0], torch.ones(2))
    assert module._modules == children
    assert module.steps is steps
    assert torch.equal(module.average + module.queue[0], torch.full((2,), 2.0))
    assert not hasattr(module.child, "count")
