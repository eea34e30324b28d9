"""Networks that look at the whole batch are told from those that don't."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dynsurgeon.errors import ExportError
from dynsurgeon.export.independence import check_independence
from dynsurgeon.export.signature import Signature
from dynsurgeon.running.inputs import Inputs


class Function(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Any) -> Any:
        return self.function(*inputs)


def check(function: Callable[..., Any], *inputs: Any) -> None:
    net = Function(function)
    names = Signature.of(inputs, net(*inputs), None, None, taken=())
    with torch.no_grad():
        check_independence(net, Inputs(*inputs), names, torch.Generator().manual_seed(0))


X = torch.randn(2, 3, 4, 4)
BATCH_NORM = nn.BatchNorm2d(3, track_running_stats=False)


@pytest.mark.parametrize(
    "function",
    [lambda x: x * 2, lambda x: (x, x.flatten(1).argmax(1)), lambda x: x / 0],
    ids=["scaled", "argmax", "infinite"],
)
def test_what_treats_samples_one_by_one_passes(function: Callable[[Tensor], Any]) -> None:
    check(function, X)


def test_an_output_without_batch_axis_is_refused() -> None:
    with pytest.raises(ExportError, match=r"output 'output' has the shape \(\) for 3 samples"):
        check(lambda x: x.mean(), X)


def masked(x: Tensor) -> Tensor:
    """Mix the samples, in an output that also holds infinities."""
    return torch.cat([x.cumsum(0), torch.full_like(x, -torch.inf)], 1)


@pytest.mark.parametrize(
    "function",
    [lambda x: x - x.mean(), lambda x: x.flip(0), BATCH_NORM, lambda x: x.cumsum(0), masked],
    ids=["centred", "turned round", "batch statistics", "summed up", "beside an infinity"],
)
def test_what_mixes_samples_is_refused(function: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(ExportError, match=r"depends on the other samples.*form='portable'"):
        check(function, X)


def far(x: Tensor, batched: bool = False) -> Tensor:
    """Centre each sample, with sums that round in another way in a batch of more than one."""
    large = 1e5 * (3 if len(x) > 1 else 1)
    y = (x + large) - large
    return y - y[:1] * 2e-3 if batched else y


def test_rounding_that_a_network_blows_up_is_no_dependence() -> None:
    check(far, X)


def test_a_dependence_under_such_rounding_is_found() -> None:
    with pytest.raises(ExportError, match="depends on the other samples"):
        check(lambda x: far(x, batched=True), X)


def test_where_float64_can_not_tell_no_more_is_said_than_is_known() -> None:
    def single(x: Tensor) -> Tensor:
        return far(x) + x @ torch.zeros(4, 4)

    with pytest.raises(ExportError, match=r"can't say in float64.*form='portable'") as caught:
        check(single, X)
    assert "depends" not in str(caught.value)


def test_an_input_of_another_length_is_refused() -> None:
    with pytest.raises(ExportError, match="input 'input_1' has the shape"):
        check(lambda x, table: x * table.sum(), X, torch.randn(7, 2))


def test_rounding_of_half_precision_is_no_dependence() -> None:
    conv = nn.Conv2d(3, 8, 3).half()
    check(conv, X.half())


def test_random_numbers_are_no_dependence_on_other_samples() -> None:
    with pytest.raises(ExportError, match=r"draws random numbers in eval mode") as caught:
        check(lambda x: x + torch.randn_like(x), X)
    assert "depends on the other samples" not in str(caught.value)
