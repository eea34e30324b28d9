from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from surgery_nets import NamedConv, StandardizedConv
from torch import Tensor, nn

from dynsurgeon.surgery.sites.calls import (
    CallCounter,
    CallKey,
    activation_class,
    convolution_class,
    forward_code,
    is_operator,
)


class LoudReLU(nn.ReLU):
    def forward(self, input: Tensor) -> Tensor:
        y: Tensor = super().forward(input) + 1
        return y


class QuietReLU(nn.ReLU):
    pass


class CallingConv(nn.Conv2d):
    def __call__(self, x: Tensor) -> Tensor:
        return -x


class PaddingConv(nn.Conv2d):
    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        y: Tensor = super()._conv_forward(F.pad(input, [0, 1, 0, 1]), weight, bias)
        return y


@pytest.mark.parametrize(
    ("module", "base"),
    [
        (nn.Conv1d(2, 2, 1), nn.Conv1d),
        (nn.ConvTranspose3d(2, 2, 1), nn.ConvTranspose3d),
        (NamedConv(2, 2, 1), nn.Conv2d),
        (StandardizedConv(2, 2, 1), None),
        (CallingConv(2, 2, 1), None),
        (PaddingConv(2, 2, 1), None),
        (nn.Linear(2, 2), None),
        (nn.ReLU(), None),
    ],
)
def test_convolution_class(module: nn.Module, base: type[nn.Module] | None) -> None:
    assert convolution_class(module) is base
    assert is_operator(module) == (base is not None or isinstance(module, nn.ReLU))


@pytest.mark.parametrize(
    ("module", "base"),
    [
        (nn.ReLU(), nn.ReLU),
        (nn.PReLU(), nn.PReLU),
        (QuietReLU(), nn.ReLU),
        (LoudReLU(), None),
        (nn.ReLU6(), nn.ReLU6),
        (nn.Hardtanh(), None),
        (nn.Sigmoid(), None),
    ],
)
def test_activation_class(module: nn.Module, base: type[nn.Module] | None) -> None:
    # ReLU6 inherits from Hardtanh, which is no activation that is known.
    assert activation_class(module) is base


def test_a_forward_on_the_instance_is_no_operator() -> None:
    relu: Any = nn.ReLU()
    conv: Any = nn.Conv2d(2, 2, 1)
    relu.forward = conv.forward = lambda x: x
    assert not is_operator(relu)
    assert not is_operator(conv)


def test_forward_code() -> None:
    assert forward_code(LoudReLU()) is LoudReLU.forward.__code__
    assert forward_code(nn.Conv2d(2, 2, 1)) is nn.Conv2d.forward.__code__


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_script_has_no_python_forward() -> None:
    assert forward_code(torch.jit.script(nn.ReLU())) is None


class Caller(nn.Module):
    """Asks for keys as an observer does: from below its forward."""

    def helper(self, counter: CallCounter) -> CallKey:
        return counter.key("function:relu")

    def forward(self, counter: CallCounter) -> list[CallKey]:
        keys = [counter.key("function:relu") for _ in range(2)]
        keys += [counter.key("module:act"), counter.key("function:relu")]
        return [*keys, self.helper(counter)]


def test_keys_tell_lines_labels_and_repetitions_apart() -> None:
    caller = Caller()
    first, again, module, other_line, helper = caller(CallCounter(caller))
    assert first.line == again.line
    assert (first.ordinal, again.ordinal) == (0, 1)
    assert module.label == "module:act"
    assert other_line.line == module.line != first.line
    assert helper.line.startswith("helper:")
    assert first.line.split(":")[0] in ("<listcomp>", "forward")
    assert len({first, again, module, other_line, helper}) == 5


def test_equal_runs_give_equal_keys() -> None:
    caller = Caller()
    assert caller(CallCounter(caller)) == caller(CallCounter(caller))
