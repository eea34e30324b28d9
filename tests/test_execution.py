"""Every algorithm of execution computes what the slow reference does, forwards and backwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from references import deviation, reference_dynamic_conv
from strategies import ConvCase, conv_cases
from torch import Tensor, nn

from dynsurgeon.config import DynamicConvConfig
from dynsurgeon.operators import DynamicConv, DynamicConv2d, KernelAttention, execution
from dynsurgeon.operators.execution import (
    Algorithm,
    forced_algorithm,
    grouped,
    one_by_one,
    plain,
    stacked,
)

ALGORITHMS = [grouped, stacked, one_by_one]
TOLERANCE = 1e-11

Run = Callable[[DynamicConv, Tensor], Tensor]


def output_and_gradients(run: Run, module: DynamicConv, x: Tensor) -> list[Tensor]:
    """Return the output, the input's gradient and those of all parameters."""
    leaf = x.clone().requires_grad_()
    y = run(module, leaf)
    # A fixed random direction: the gradient of a plain sum would not see outputs change places.
    direction = torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(7))
    inputs = [leaf, *module.parameters()]
    grads = torch.autograd.grad((y * direction).sum(), inputs, materialize_grads=True)
    return [y.detach(), *grads]


def largest_deviation(module: DynamicConv, x: Tensor, algorithm: Algorithm) -> float:
    with forced_algorithm(algorithm):
        actual = output_and_gradients(lambda m, v: m(v), module, x)
    expected = output_and_gradients(reference_dynamic_conv, module, x)
    # The floor is for gradients that are 0, as the attention's is with one kernel: only rounding
    # is left of them to compare.
    return max(deviation(a, e, floor=1e-3) for a, e in zip(actual, expected, strict=True))


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda algorithm: algorithm.__name__)
@given(case=conv_cases())
def test_form_equals_reference(algorithm: Algorithm, case: ConvCase) -> None:
    assert largest_deviation(case.perturbed(), case.input(), algorithm) < TOLERANCE


@given(case=conv_cases())
def test_chosen_form_equals_reference(case: ConvCase) -> None:
    module, x = case.perturbed(), case.input()
    assert deviation(module(x), reference_dynamic_conv(module, x)) < TOLERANCE


def small_case(**changes: object) -> ConvCase:
    settings = {"in_channels": 4, "out_channels": 6, "kernel_size": 3, "groups": 2, "padding": 1}
    config = DynamicConvConfig(experts=4, temperature=1.0)
    return ConvCase(nn.Conv2d, config, (3, 4, 5, 5), 3, settings | changes)


MUTATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "another sample's attention": lambda pi: pi.roll(1, 0),
    "another kernel's attention": lambda pi: pi.roll(1, 1),
    "one attention for the batch": lambda pi: pi.mean(0, keepdim=True).expand_as(pi),
    "uniform attention": lambda pi: torch.full_like(pi, 1 / pi.shape[1]),
    "a sharper softmax": lambda pi: pi.square() / pi.square().sum(1, keepdim=True),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda algorithm: algorithm.__name__)
def test_reference_sees_mixed_up_attention(
    algorithm: Algorithm, mutation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = small_case()
    module, x = case.perturbed(), case.input()
    right = KernelAttention.forward
    monkeypatch.setattr(
        KernelAttention, "forward", lambda self, v: MUTATIONS[mutation](right(self, v))
    )
    assert largest_deviation(module, x, algorithm) > 0.05


def test_reference_sees_kernels_in_another_order(monkeypatch: pytest.MonkeyPatch) -> None:
    case = small_case()
    right = plain.stack_kernels
    monkeypatch.setattr(plain, "stack_kernels", lambda w, g: right(w.roll(1, 0), g))
    assert largest_deviation(case.perturbed(), case.input(), stacked) > 0.05


def test_reference_sees_groups_in_another_order(monkeypatch: pytest.MonkeyPatch) -> None:
    case = small_case()
    right = plain.scale_input
    monkeypatch.setattr(plain, "scale_input", lambda x, pi, groups: right(x, pi, 1))
    assert largest_deviation(case.perturbed(), case.input(), stacked) > 0.05


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda algorithm: algorithm.__name__)
def test_samples_do_not_touch_each_other(algorithm: Algorithm) -> None:
    case = small_case()
    module, x = case.perturbed(), case.input()
    order = [2, 0, 1]
    with forced_algorithm(algorithm):
        together, permuted = module(x), module(x[order])
        alone = torch.cat([module(sample) for sample in x.chunk(3)])
    assert deviation(permuted, together[order]) < TOLERANCE
    assert deviation(alone, together) < TOLERANCE
    assert deviation(together[order], together) > 0.05  # the samples do differ


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda algorithm: algorithm.__name__)
def test_kernels_and_their_attention_belong_together(algorithm: Algorithm) -> None:
    case = small_case()
    module, x = case.perturbed(), case.input()
    order = [1, 3, 0, 2]
    with forced_algorithm(algorithm), torch.no_grad():
        before = module(x)
        module.weight.copy_(module.weight[order])
        assert module.bias is not None
        module.bias.copy_(module.bias[order])
        apart = module(x)
        module.attention.fc2.weight.copy_(module.attention.fc2.weight[order])
        module.attention.fc2.bias.copy_(module.attention.fc2.bias[order])
        assert deviation(module(x), before) < TOLERANCE
    assert deviation(apart, before) > 0.05


@given(case=conv_cases())
def test_identical_kernels_mix_to_themselves(case: ConvCase) -> None:
    # Bit for bit, whatever the attention is: the mixture is laid around the first kernel.
    bank = case.static().weight.detach().flatten().expand(case.config.experts, -1)
    pi = torch.rand(case.shape[0], case.config.experts, dtype=bank.dtype)
    assert torch.equal(execution.mix(pi, bank), bank[:1].expand(case.shape[0], -1))


@pytest.mark.parametrize("algorithm", [stacked, one_by_one])
@given(case=conv_cases())
def test_stacked_identical_kernels_are_the_static_convolution(
    algorithm: Algorithm, case: ConvCase
) -> None:
    static, x = case.static(), case.input()
    config = replace(case.config, start="identical", temperature=0.1)
    module = replace(case, config=config).dynamic(static)
    with forced_algorithm(algorithm):
        assert torch.equal(module(x), static(x))


def test_forced_algorithm_ends_with_its_context() -> None:
    module, x = DynamicConv2d(2, 2, 1), torch.randn(2, 2, 1, 1)
    calls: list[str] = []

    def spy(name: str) -> Algorithm:
        def algorithm(*arguments: object) -> Tensor:
            calls.append(name)
            return stacked(*arguments)  # type: ignore[arg-type]

        return algorithm

    with forced_algorithm(spy("outer")):
        with pytest.raises(RuntimeError), forced_algorithm(spy("inner")):
            module(x[:, :1])  # one channel too few
        with forced_algorithm(spy("inner")):
            module(x)
        module(x)
    module(x)
    assert calls == ["inner", "outer"]


@pytest.mark.parametrize("bias", [True, False])
def test_empty_batch(bias: bool) -> None:
    module = small_case(bias=bias, stride=2).perturbed()
    x = torch.empty(0, 4, 5, 5, dtype=torch.float64, requires_grad=True)
    y = module(x)
    assert y.shape == (0, 6, 3, 3)
    y.sum().backward()
    assert all(p.grad is not None and not p.grad.any() for p in module.parameters())
