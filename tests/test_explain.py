from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from surgery_nets import Flow
from torch import Tensor

from dynsurgeon.surgery.owners.explain import explain
from dynsurgeon.surgery.owners.proxies import TraceRefusal
from dynsurgeon.surgery.owners.trace import trace_owner

SAID: dict[str, tuple[Callable[[Any, Tensor], Any], str]] = {
    "branch": (lambda self, x: x if x.sum() > 0 else -x, "branches on values of a tensor"),
    "loop": (lambda self, x: sum(x), "iterates over a tensor, or over a list of unknown"),
    "length": (lambda self, x: len(x), "takes a length that is known only when it runs"),
    "number": (lambda self, x: int(x.sum()), "converts a tensor or a size to a Python number"),
    "float": (lambda self, x: float(x.sum()), "converts a tensor or a size to a Python number"),
    "rounded": (lambda self, x: round(x.shape[0] * 0.5), "converts a tensor or a size to a Python"),
    "formatted": (lambda self, x: f"{x.shape[0]:d}", "converts a tensor or a size to a Python"),
    "range": (lambda self, x: range(x.shape[1]), "converts a tensor or a size to a Python number"),
    "item": (lambda self, x: x.__setitem__(0, 1), "writes into a part of a tensor by index"),
    "array": (lambda self, x: np.sqrt(x), "hands a tensor to code that only takes real ones"),
    "a new tensor": (lambda self, x: torch.tensor(x), "only takes real ones"),
    "from an array": (lambda self, x: torch.from_numpy(x.numpy()), "only takes real ones"),
    "a key": (lambda self, x: F.relu(x, {x: 1}), "looks up a dictionary by a tensor"),  # type: ignore[arg-type]
    "a set": (lambda self, x: F.relu(x, {1, 2}), "computes with a set in a graph of tensors"),  # type: ignore[arg-type]
    "of parameters": (lambda self, x: float(self.conv.bias.sum()), "to a Python number"),
    "otherwise": (
        lambda self, x: vars(self)["none"].get(x),
        "can't be read by torch.fx ('NoneType' object",
    ),
}


@pytest.mark.parametrize("what", SAID)
def test_what_the_forward_does_is_said(what: str) -> None:
    flow, said = SAID[what]

    def forward(self: Any, x: Tensor) -> Any:
        if what == "item":
            x[0] = 1
        return flow(self, x)

    net = Flow(forward)
    vars(net)["none"] = None
    with pytest.raises(TraceRefusal) as error:
        trace_owner(net, {})
    text = str(error.value)
    assert text.startswith("its owner's forward ")
    assert said in text
    assert "Proxy" not in text
    assert "torch.fx.wrap" not in text
    assert "\n" not in text


def test_a_long_message_is_cut() -> None:
    assert len(explain(ValueError("x" * 999 + "\nmore"))) < 220
    assert explain(KeyError()).endswith("(KeyError)")
