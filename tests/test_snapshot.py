from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

import pytest
import torch
from owned_nets import Writer
from ownership import untouched
from surgery_nets import images
from torch import Tensor, nn

from dynsurgeon.running.run import run_model
from dynsurgeon.running.snapshot import Snapshot, overlaps, same_bits, unchanged


class Holder(nn.Module):
    """Holds tensors wherever a module can."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 4))
        self.frozen = nn.Parameter(torch.randn(3), requires_grad=False)
        self.register_buffer("wide", torch.randn(1, 3).expand(4, 3))
        self.register_buffer("windows", torch.randn(6).unfold(0, 3, 1))
        self.register_buffer("none", None)
        self.plain, self.turned = torch.randn(2), torch.randn(2, 3).T
        self.nested: Any = {"a": [torch.zeros(2), (torch.zeros(1),)], "b": OrderedDict(c=1)}
        self.queue, self.seen = deque([torch.zeros(2)], maxlen=1), {1}
        self.hidden = [nn.Linear(2, 2)]
        self.child = nn.Conv2d(1, 1, 1)
        self.again = self.child
        self.special = torch.tensor([float("nan"), -0.0, 1.0])


def _set(name: str, value: Any) -> Callable[[Any], None]:
    return lambda holder: setattr(holder, name, value)


WRITES: dict[str, Callable[[Any], Any]] = {
    "in place": lambda h: h.weight.mul_(2),
    "a view": lambda h: h.weight[1:].zero_(),
    ".data": lambda h: h.weight.data.mul_(2),
    "new .data": lambda h: setattr(h.weight, "data", torch.zeros(7)),
    "set_": lambda h: h.weight.set_(torch.zeros(2, 2)),
    "numpy": lambda h: h.weight.detach().numpy().fill(0),
    "frozen": lambda h: h.frozen.add_(1),
    "rebound parameter": lambda h: setattr(h, "frozen", nn.Parameter(torch.zeros(1))),
    "rebound buffer": _set("wide", torch.zeros(4, 3)),
    "under an expanded buffer": lambda h: h.wide[:1].add_(1),
    "under windows": lambda h: h.windows[0].add_(1),
    "a buffer that was None": _set("none", torch.zeros(1)),
    "plain": lambda h: h.plain.add_(1),
    "transposed": lambda h: h.turned.add_(1),
    "rebound": _set("plain", torch.zeros(2)),
    "new": _set("fresh", torch.zeros(2)),
    "gone": lambda h: delattr(h, "plain"),
    "in a list": lambda h: h.nested["a"][0].add_(1),
    "in a tuple": lambda h: h.nested["a"][1][0].add_(1),
    "a list grows": lambda h: h.nested["a"].append(1),
    "a key": lambda h: h.nested["b"].update(d=1),
    "a queue": lambda h: h.queue.append(torch.ones(2)),
    "a set": lambda h: h.seen.add(2),
    "a hidden module": lambda h: h.hidden[0].weight.data.zero_(),
    "a module twice": lambda h: h.again.weight.data.zero_(),
    "a new module": _set("more", nn.Linear(1, 1)),
    "a hook": lambda h: h.child.register_forward_hook(lambda *_: None),
    "the sign of zero": lambda h: h.special.add_(0.0),
    "trained or not": lambda h: h.weight.requires_grad_(False),
    "mode": lambda h: h.eval(),
}


@pytest.mark.parametrize("write", WRITES)
def test_every_write_is_put_back(write: str) -> None:
    holder = Holder()
    with untouched(holder), unchanged(holder), torch.no_grad():
        WRITES[write](holder)
        held: Any = holder.windows if write == "under windows" else holder.wide
        assert overlaps(held) or write == "rebound buffer"


def test_a_failure_is_put_back_too() -> None:
    holder = Holder()

    def fail() -> None:
        with unchanged(holder):
            holder.plain.add_(1)
            raise ZeroDivisionError

    with untouched(holder), pytest.raises(ZeroDivisionError):
        fail()


def test_it_says_whether_anything_changed() -> None:
    holder = Holder()
    snapshot = Snapshot(holder)
    assert not snapshot.restore()
    holder.plain.add_(1)
    assert snapshot.restore()
    assert not snapshot.restore()


def test_a_backward_pass_that_is_still_to_come_is_not_spoiled() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1))
    loss = model(images()).square().mean()
    run_model(model, (images(),), "eval")
    loss.backward()  # torch refuses if a weight was written since, were it with the same numbers
    assert model[0].weight.grad is not None


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_a_run_of_a_network_that_writes(mode: Any) -> None:
    net = Writer()
    with untouched(net):
        one, other = (run_model(net, (images(),), mode) for _ in range(2))
    assert torch.equal(one, other)


def test_bits() -> None:
    nan = torch.tensor([float("nan"), 0.0])
    assert same_bits(nan, nan.clone())
    assert not same_bits(nan, -nan)
    for dtype in (torch.bool, torch.bfloat16, torch.complex64, torch.complex128, torch.int8):
        x: Tensor = torch.ones(2).to(dtype)
        assert same_bits(x, x.clone())
        assert not same_bits(x, torch.zeros_like(x))
