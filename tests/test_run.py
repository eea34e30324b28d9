from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from surgery_nets import Flow, images
from torch import Tensor, nn

from dynsurgeon.running.inputs import Inputs
from dynsurgeon.running.randomness import random_state, same_random_state
from dynsurgeon.running.run import (
    as_double,
    batch_size,
    copied,
    preserved,
    run_model,
    tensors_of,
    widened,
)


class Counting(nn.Module):
    """Changes a buffer, replaces another, and draws from three generators."""

    seen: Tensor
    steps: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.register_buffer("seen", torch.zeros(()))
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.seen += 1
        self.steps = self.steps + 1
        noise = random.random() + float(np.random.rand()) + torch.rand(())
        y: Tensor = self.norm(x) + noise
        return y


def test_everything_is_restored_even_after_a_failure() -> None:
    model = Counting().train()
    model.norm.eval()
    buffers = dict(model.named_buffers())
    values = {name: buffer.clone() for name, buffer in buffers.items()}
    states = random_state()

    def fail() -> None:
        with preserved(model, "train"):
            assert model.norm.training
            model(images())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [model.training, model.norm.training] == [True, False]
    for name, buffer in model.named_buffers():
        assert buffer is buffers[name]
        assert torch.equal(buffer, values[name])
    assert same_random_state(states, random_state())


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_equal_seeds_give_equal_outputs(mode: Any) -> None:
    model = Counting()
    one, again, other = (run_model(model, (images(),), mode, seed) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_no_gradients_and_no_autocast() -> None:
    net = Flow(lambda self, x: self.conv(x))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = run_model(net, (images(),), "eval")
    assert output.dtype == torch.float32
    assert not output.requires_grad


def test_a_write_into_the_input_does_not_reach_the_caller() -> None:
    x = images()
    run_model(Flow(lambda self, x: x.relu_()), (x,), "eval")
    assert x.lt(0).any()


def test_inputs_are_copied_doubled_and_widened() -> None:
    x, index = torch.randn(2, 3), torch.tensor([1, 2])
    inputs: Any = ({"x": x, "more": [index]}, 3, "text")
    (tree, *rest) = copied(inputs)
    assert torch.equal(tree["x"], x)
    assert tree["x"] is not x
    assert rest == [3, "text"]
    assert as_double(inputs)[0]["x"].dtype == torch.float64
    assert as_double(inputs)[0]["more"][0].dtype == torch.int64
    assert torch.equal(widened(inputs)[0]["x"], torch.cat([x, x]))
    assert widened((torch.tensor(1.0),))[0].shape == ()


@pytest.mark.parametrize(
    ("inputs", "size"),
    [
        ((torch.zeros(4, 3),), 4),
        (({"a": torch.zeros(3, 3)},), 3),
        (([torch.zeros(3, 8, 8), torch.zeros(3, 9, 9)],), 2),
        ((torch.tensor(1.0),), 1),
        (([],), 1),
    ],
)
def test_batch_size(inputs: tuple[Any, ...], size: int) -> None:
    assert batch_size(Inputs(*inputs)) == size


@dataclass
class Output:
    logits: Tensor
    hidden: list[Tensor]
    name: str = "x"


def test_tensors_are_found_in_nested_outputs_and_in_objects() -> None:
    a, b, c = torch.zeros(1), torch.ones(1), torch.ones(2)
    assert tensors_of({"a": a, "b": [b, (c, "text", 3)]}) == [a, b, c]
    assert [id(t) for t in tensors_of(Output(a, [b, c]))] == [id(a), id(b), id(c)]
    assert tensors_of(None) == []
