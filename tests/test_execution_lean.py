"""Every lean algorithm computes what the slow reference computes, forwards and backwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from references import deviation, reference_dynamic_conv
from strategies import ConvCase, conv_cases
from test_execution import MUTATIONS, largest_deviation, output_and_gradients, small_case
from torch import Tensor, nn

from dynsurgeon.config import DynamicConvConfig
from dynsurgeon.operators import DynamicConv, KernelAttention
from dynsurgeon.operators.execution import LEAN_ALGORITHMS, folded, forced_algorithm, tiled
from dynsurgeon.operators.execution.algorithm import is_channels_last

TOLERANCE = 1e-11
ANY_GEOMETRY = ["folded", "separate"]
Fits = Callable[[DynamicConv], bool]


def dense(module: DynamicConv) -> bool:
    return module.groups == 1 and not module.transposed


def dense_image(module: DynamicConv) -> bool:
    return dense(module) and module.geometry.spatial == 2


def pointwise(module: DynamicConv) -> bool:
    return dense_image(module) and module.geometry.is_pointwise(module.kernel_size)


FITS: dict[str, Fits] = {
    "folded": lambda module: True,
    "separate": lambda module: True,
    "outputs": dense,
    "tiled": dense_image,
    "pointwise": pointwise,
}


def image_case(kernel: int, channels_last: bool = False, **changes: Any) -> ConvCase:
    """A dense 2d convolution with a stride, a padding and a dilation."""
    more: dict[str, Any] = {} if kernel == 1 else {"padding": (1, 2), "dilation": (1, 2)}
    base = {"in_channels": 4, "out_channels": 6, "kernel_size": kernel, "stride": (1, 2), **more}
    config = DynamicConvConfig(experts=3, temperature=1.0)
    return ConvCase(nn.Conv2d, config, (3, 4, 7, 6), 5, base | changes)


def case_of(name: str) -> ConvCase:
    return image_case(1) if name == "pointwise" else image_case(3)


@pytest.mark.parametrize("name", ANY_GEOMETRY)
@given(case=conv_cases())
def test_forms_of_any_geometry(name: str, case: ConvCase) -> None:
    module = case.perturbed()
    assume(module.geometry.symmetric(module.kernel_size))
    assert largest_deviation(module, case.input(), LEAN_ALGORITHMS[name]) < TOLERANCE


@pytest.mark.parametrize("name", ["outputs", "tiled"])
@settings(suppress_health_check=[HealthCheck.filter_too_much])
@given(case=conv_cases(transposed=False))
def test_forms_of_dense_convolutions(name: str, case: ConvCase) -> None:
    module = case.perturbed()
    assume(FITS[name](module) and module.geometry.symmetric(module.kernel_size))
    assert largest_deviation(module, case.input(), LEAN_ALGORITHMS[name]) < TOLERANCE


@pytest.mark.parametrize("stride", [1, 2, (1, 3)])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("name", LEAN_ALGORITHMS)
@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels_last"])
def test_images_in_both_layouts(name: str, last: bool, kernel: int, stride: Any) -> None:
    case = image_case(kernel, stride=stride)
    module, x = case.perturbed(), case.input()
    if not FITS[name](module):
        pytest.skip(f"{name} has no algorithm for it")
    x = x.to(memory_format=torch.channels_last) if last else x
    assert largest_deviation(module, x, LEAN_ALGORITHMS[name]) < TOLERANCE
    with forced_algorithm(LEAN_ALGORITHMS[name]):
        assert module(x).is_contiguous() or last
        assert is_channels_last(module(x)) or not last


@pytest.mark.parametrize("bytes_of_a_tile", [1, 900, 2000])
def test_tiles_of_any_size(bytes_of_a_tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiled, "TILE_BYTES", bytes_of_a_tile)
    case = image_case(3, out_channels=7)
    assert largest_deviation(case.perturbed(), case.input(), LEAN_ALGORITHMS["tiled"]) < TOLERANCE


@pytest.mark.parametrize("bytes_of_a_chunk", [1, 1800, 4000])
def test_chunks_of_any_size(bytes_of_a_chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folded, "CHUNK_BYTES", bytes_of_a_chunk)
    case = small_case()
    assert largest_deviation(case.perturbed(), case.input(), LEAN_ALGORITHMS["folded"]) < TOLERANCE


@pytest.mark.parametrize("mutation", MUTATIONS)
@pytest.mark.parametrize("name", LEAN_ALGORITHMS)
def test_reference_sees_mixed_up_attention(
    name: str, mutation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = case_of(name)
    module, x = case.perturbed(), case.input()
    right = KernelAttention.forward
    monkeypatch.setattr(
        KernelAttention, "forward", lambda self, v: MUTATIONS[mutation](right(self, v))
    )
    assert largest_deviation(module, x, LEAN_ALGORITHMS[name]) > 0.02


@pytest.mark.parametrize("name", LEAN_ALGORITHMS)
def test_identical_kernels_give_the_static_convolution(name: str) -> None:
    case = case_of(name)
    static, x = case.static(), case.input()
    module = case.dynamic(static)
    with forced_algorithm(LEAN_ALGORITHMS[name]):
        assert deviation(module(x), static(x)) < 1e-14


@pytest.mark.parametrize("frozen", ["x", "attention", "weight"])
@pytest.mark.parametrize("name", LEAN_ALGORITHMS)
def test_only_the_gradients_that_are_needed(name: str, frozen: str) -> None:
    case = case_of(name)
    module, x = case.perturbed(), case.input()
    full = gradients(module, x.clone().requires_grad_(), name)
    getattr(module, frozen, x).requires_grad_(False)
    partly = gradients(module, x.clone().requires_grad_(frozen != "x"), name)
    assert set(partly) < set(full)
    assert not any(key.startswith(frozen) for key in partly)
    for key, gradient in partly.items():
        # without its pooled path an input that needs no gradient leaves the others as they were
        assert key == "x" or deviation(gradient, full[key]) < TOLERANCE


def gradients(module: DynamicConv, x: Tensor, name: str) -> dict[str, Tensor]:
    module.zero_grad(set_to_none=True)
    with forced_algorithm(LEAN_ALGORITHMS[name]):
        module(x).square().sum().backward()
    found = {"x": x.grad, **{key: p.grad for key, p in module.named_parameters()}}
    return {key: gradient.clone() for key, gradient in found.items() if gradient is not None}


@pytest.mark.parametrize("name", LEAN_ALGORITHMS)
def test_gradients_of_gradients(name: str) -> None:
    case = case_of(name)
    module, x = case.perturbed(), case.input()

    def penalty(run: Callable[[DynamicConv, Tensor], Tensor]) -> list[Tensor]:
        leaf = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(run(module, leaf).pow(3).sum(), leaf, create_graph=True)
        inputs = [leaf, *module.parameters()]
        return list(torch.autograd.grad(slope.square().sum(), inputs, materialize_grads=True))

    with forced_algorithm(LEAN_ALGORITHMS[name]):
        actual = penalty(lambda m, v: m(v))
    expected = penalty(reference_dynamic_conv)
    assert max(deviation(a, e, 1e-3) for a, e in zip(actual, expected, strict=True)) < 1e-9


@pytest.mark.parametrize("name", LEAN_ALGORITHMS)
@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels_last"])
def test_compiled_ahead_of_time(name: str, last: bool) -> None:
    torch._dynamo.reset()
    case = case_of(name)
    module, x = case.perturbed(), case.input()
    x = x.to(memory_format=torch.channels_last) if last else x
    compiled: Any = torch.compile(module, fullgraph=True, backend="aot_eager")
    with forced_algorithm(LEAN_ALGORITHMS[name]):
        actual = output_and_gradients(lambda m, v: compiled(v), module, x)
        expected = output_and_gradients(lambda m, v: m(v), module, x)
    assert max(deviation(a, e, 1e-3) for a, e in zip(actual, expected, strict=True)) < TOLERANCE


@pytest.mark.parametrize("name", ["outputs", "pointwise"])
def test_the_operator_is_described_as_it_is(name: str) -> None:
    from dynsurgeon.operators.execution.operator import lean_conv, numbers_of

    case = case_of(name)
    module, x = case.perturbed(), case.input()
    bank = module.weight.detach()
    image = x.to(memory_format=torch.channels_last).requires_grad_()
    pi = module.attention(x).detach()
    arguments = (image, pi, bank, name, numbers_of(module.geometry, bank))
    torch.library.opcheck(lean_conv, arguments, test_utils=("test_schema", "test_faketensor"))


def test_nothing_mixed_is_kept() -> None:
    kept: list[int] = []
    case = ConvCase(
        nn.Conv2d,
        DynamicConvConfig(experts=2),
        (16, 8, 3, 3),
        1,
        {"in_channels": 8, "out_channels": 8, "kernel_size": 3, "padding": 1},
    )
    module, x = case.perturbed(), case.input()

    def note(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        for name in ("folded", "tiled", "separate"):
            with forced_algorithm(LEAN_ALGORITHMS[name]):
                module(x)
            assert max(kept) <= max(x.numel(), module.weight.numel()), name
