"""Kernels with scaled places: every algorithm computes what one convolution a sample does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from references import deviation
from torch import Tensor, nn

from dynsurgeon.export.arbiter import mixed_up
from dynsurgeon.operators.execution import (
    Algorithm,
    folded,
    forced_algorithm,
    grouped,
    one_by_one,
    places_export,
    places_function,
    stacked,
)
from dynsurgeon.operators.execution.algorithm import is_channels_last
from dynsurgeon.operators.execution.places import place_by_place, run_with_places, unfolded
from dynsurgeon.operators.execution.places_export import one_kernel_in_a_graph
from dynsurgeon.operators.execution.places_function import PlacedOperands, kernel_a_sample
from dynsurgeon.operators.execution.places_lean import InKernels, InUnfoldedInput
from dynsurgeon.operators.geometry import ConvGeometry

TOLERANCE = 1e-11
Run = Callable[[PlacedOperands], Tensor]
LEAN: dict[str, Run] = {"in kernels": InKernels(), "in the unfolded input": InUnfoldedInput()}
RUNS: dict[str, Run] = {
    **LEAN,
    "a kernel a sample": kernel_a_sample,
    "place by place": place_by_place,
    "unfolded": unfolded,
    "as chosen": lambda of: run_with_places(*of),
}
IMAGES: dict[str, nn.modules.conv._ConvNd] = {
    "3x3": nn.Conv2d(4, 6, 3, padding=1),
    "uneven": nn.Conv2d(3, 5, (1, 3), stride=(1, 2), padding=(2, 1), dilation=(1, 2)),
    "same": nn.Conv2d(2, 4, 3, padding="same"),
}
OTHERS: dict[str, nn.modules.conv._ConvNd] = {
    "grouped": nn.Conv2d(4, 6, 3, padding=1, groups=2),
    "depthwise": nn.Conv2d(4, 4, 3, stride=2, groups=4),
    "1d": nn.Conv1d(3, 4, 3, padding=1),
    "3d": nn.Conv3d(2, 3, 2, stride=2),
    "transposed": nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1),
}

UNEVEN = {"padded unevenly": nn.Conv2d(2, 60, 2, padding="same")}


def operands(static: nn.modules.conv._ConvNd, experts: int = 3, batch: int = 5) -> PlacedOperands:
    """Random numbers for the geometry of a convolution, all of them leaves."""
    generator = torch.Generator().manual_seed(experts)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    x = draw(batch, static.in_channels, *(7, 6, 5)[: len(static.kernel_size)])
    pi = draw(batch, experts).softmax(1)
    places = 1 + 0.5 * draw(batch, static.weight[0, 0].numel())
    weight = draw(experts, *static.weight.shape)
    for leaf in (x, pi, places, weight):
        leaf.requires_grad_()
    return PlacedOperands(x, pi, places, weight, ConvGeometry.of(static))


def reference(of: PlacedOperands) -> Tensor:
    """Convolve sample by sample with a kernel that loops have made."""
    maps = []
    for n in range(len(of.x)):
        kernel = torch.zeros_like(of.weight[0])
        for k in range(len(of.weight)):
            kernel = kernel + of.pi[n, k] * of.weight[k] * of.places[n].view(of.weight.shape[3:])
        maps.append(of.geometry.convolve(of.x[n : n + 1], kernel, None, of.geometry.groups))
    return torch.cat(maps)


def results(run: Run, of: PlacedOperands) -> list[Tensor]:
    """Return the output and the gradients in a random direction; that of pi up to a constant."""
    y = run(of)
    direction = torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(7))
    x, pi, *others = torch.autograd.grad((y * direction).sum(), of[:4], materialize_grads=True)
    return [y.detach(), x, pi - pi.mean(1, keepdim=True), *others]


def largest_deviation(
    run: Run, of: PlacedOperands, expected: PlacedOperands | None = None
) -> float:
    pairs = zip(results(run, of), results(reference, expected or of), strict=True)
    return max(deviation(actual, right, floor=1e-3) for actual, right in pairs)


@pytest.mark.parametrize("experts", [1, 3])
@pytest.mark.parametrize("static", IMAGES)
@pytest.mark.parametrize("run", RUNS)
def test_images(run: str, static: str, experts: int) -> None:
    assert largest_deviation(RUNS[run], operands(IMAGES[static], experts)) < TOLERANCE


@pytest.mark.parametrize("static", OTHERS)
@pytest.mark.parametrize("run", [run for run in RUNS if "unfolded" not in run])
def test_other_geometries(run: str, static: str) -> None:
    assert largest_deviation(RUNS[run], operands(OTHERS[static])) < TOLERANCE


@pytest.mark.parametrize("run", ["a kernel a sample", "place by place", "as chosen"])
def test_more_zeros_after_than_before(run: str) -> None:
    assert largest_deviation(RUNS[run], operands(UNEVEN["padded unevenly"])) < TOLERANCE


class InAGraph(nn.Module):
    """One kernel as it is exported, its channels scaled too."""

    def __init__(self, geometry: ConvGeometry) -> None:
        super().__init__()
        self.geometry = geometry

    def forward(self, x: Tensor, channels: Tensor | None, places: Tensor, w: Tensor) -> Tensor:
        return one_kernel_in_a_graph(x, channels, places, w, self.geometry)


@pytest.mark.parametrize("scales_channels", [True, False])
@pytest.mark.parametrize("largest", [0, 1000], ids=["in the kernel", "in the unfolded input"])
@pytest.mark.parametrize("batch", ["one", "three", "free"])
@pytest.mark.parametrize("static", [*IMAGES, *OTHERS, *UNEVEN])
def test_one_kernel_in_a_graph(
    static: str, batch: str, largest: int, scales_channels: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places_export, "SMALL_MAP", largest)
    of = operands((IMAGES | OTHERS | UNEVEN)[static], experts=1, batch=1 if batch == "one" else 3)
    channels = 1 + 0.5 * torch.randn(of.x.shape[:2], dtype=of.x.dtype) if scales_channels else None
    run: Callable[..., Tensor] = InAGraph(of.geometry)
    inputs = (of.x.detach(), channels, of.places.detach(), of.weight[0].detach())
    if batch == "free":
        free = {0: torch.export.Dim("batch")}
        shapes = (free, None if channels is None else free, free, None)
        run = torch.export.export(InAGraph(of.geometry), inputs, dynamic_shapes=shapes).module()
        inputs = tuple(t if t is None else t[:2] for t in inputs[:3]) + inputs[3:]  # type: ignore
        of = PlacedOperands(of.x[:2], of.pi[:2], of.places[:2], of.weight, of.geometry)
        channels = None if channels is None else channels[:2]
    scale = 1 if channels is None else channels.view(*channels.shape, *[1] * of.geometry.spatial)
    assert deviation(run(*inputs), reference(of._replace(x=of.x * scale))) < TOLERANCE


@pytest.mark.parametrize("experts", [2, 4])
@pytest.mark.parametrize("size", [3, 5])
def test_small_and_middling_maps_in_the_unfolded_input(size: int, experts: int) -> None:
    of = operands(nn.Conv2d(4, 6, 3), experts)
    x = of.x.detach()[..., :1, :1].repeat(1, 1, size + 2, size + 2) * torch.arange(size + 2)
    assert largest_deviation(InUnfoldedInput(), of._replace(x=x.requires_grad_())) < TOLERANCE


@pytest.mark.parametrize("run", LEAN)
def test_channels_last_stays(run: str) -> None:
    of = operands(IMAGES["3x3"])
    last = of.x.detach().to(memory_format=torch.channels_last).requires_grad_()
    of = of._replace(x=last)
    assert largest_deviation(LEAN[run], of) < TOLERANCE
    assert is_channels_last(LEAN[run](of))


@pytest.mark.parametrize("size", [1, 900, 2500])
def test_chunks_of_any_size(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folded, "CHUNK_BYTES", size)
    assert largest_deviation(InKernels(), operands(OTHERS["grouped"])) < TOLERANCE


@pytest.mark.parametrize("name", ["x", "pi", "places", "weight"])
@pytest.mark.parametrize("run", LEAN)
def test_one_gradient_alone(run: str, name: str) -> None:
    of = operands(IMAGES["3x3"])
    x, pi, places, weight = (tensor.detach() for tensor in of[:4])
    alone = PlacedOperands(x, pi, places, weight, of.geometry)._replace(**{name: getattr(of, name)})
    found = torch.autograd.grad(LEAN[run](alone).square().sum(), getattr(alone, name))[0]
    right = torch.autograd.grad(reference(of).square().sum(), getattr(of, name))[0]
    if name == "pi":
        found, right = (grad - grad.mean(1, keepdim=True) for grad in (found, right))
    assert deviation(found, right) < TOLERANCE


@pytest.mark.parametrize("run", LEAN)
def test_gradients_of_gradients(run: str) -> None:
    of = operands(nn.Conv2d(2, 2, 2), experts=2, batch=2)

    def through_a_softmax(x: Tensor, logits: Tensor, places: Tensor, weight: Tensor) -> Tensor:
        return LEAN[run](PlacedOperands(x, logits.softmax(1), places, weight, of.geometry))

    assert torch.autograd.gradgradcheck(through_a_softmax, of[:4])


@pytest.mark.parametrize("run", LEAN)
@pytest.mark.parametrize("name", ["pi", "places"])
def test_reference_sees_mixed_up_samples(run: str, name: str) -> None:
    of = operands(IMAGES["3x3"])
    mixed_up = of._replace(**{name: getattr(of, name).detach().roll(1, 0).requires_grad_()})
    assert largest_deviation(LEAN[run], mixed_up, of) > 0.05


def test_reference_sees_mixed_up_places() -> None:
    of = operands(IMAGES["3x3"])
    mixed_up = of._replace(places=of.places.detach().roll(1, 1).requires_grad_())
    assert largest_deviation(InUnfoldedInput(), mixed_up, of) > 0.05


@pytest.mark.parametrize("run", LEAN)
def test_an_activation_in_place_may_follow(run: str) -> None:
    y = LEAN[run](operands(IMAGES["3x3"]))
    assert nn.functional.relu_(y).sum().requires_grad


def test_large_maps_and_few_samples_scale_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []
    for kind in (InKernels, InUnfoldedInput):
        right = kind.convolve

        def spy(self: Any, of: PlacedOperands, right: Any = right) -> Any:
            taken.append(type(self).__name__)
            return right(self, of)

        monkeypatch.setattr(kind, "convolve", spy)
    few, many = operands(IMAGES["3x3"], batch=3), operands(IMAGES["3x3"], batch=4)
    large = many._replace(x=torch.zeros(4, 4, 10, 10, dtype=torch.float64))
    for of in (few, many, large, operands(OTHERS["grouped"])):
        run_with_places(*of)
    assert taken == ["InKernels", "InUnfoldedInput", "InKernels", "InKernels"]


def test_no_kernel_of_a_sample_is_kept() -> None:
    of = operands(nn.Conv2d(32, 32, 3), experts=2, batch=8)
    kept: dict[str, int] = {}
    for name, run in {**LEAN, "plain": kernel_a_sample}.items():
        sizes: dict[int, int] = {}

        def pack(tensor: Tensor, sizes: dict[int, int] = sizes) -> Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            run(of)
        kept[name] = sum(sizes.values())
    kernels = 8 * 32 * 32 * 9 * of.x.element_size()
    assert kept["plain"] > kernels > 1.5 * max(kept["in kernels"], kept["in the unfolded input"])


@pytest.mark.parametrize("experts", [1, 3])
@pytest.mark.parametrize("algorithm", [grouped, stacked, one_by_one])
def test_a_forced_algorithm_computes_places_as_kernels(algorithm: Algorithm, experts: int) -> None:
    with forced_algorithm(algorithm):
        assert largest_deviation(RUNS["as chosen"], operands(IMAGES["3x3"], experts)) < TOLERANCE


def test_a_proof_can_mix_places_up() -> None:
    of = operands(IMAGES["3x3"], experts=1)
    with forced_algorithm(mixed_up):
        assert deviation(run_with_places(*of), reference(of)) > 0.05


def test_under_autocast_and_vmap_plain_operators_run(monkeypatch: pytest.MonkeyPatch) -> None:
    of = operands(IMAGES["3x3"])
    monkeypatch.setattr(places_function.PlacedAlgorithm, "__call__", None)
    x, pi, places, weight = (tensor.detach().float() for tensor in of[:4])
    with torch.autocast("cpu", torch.bfloat16):
        assert run_with_places(x, pi, places, weight, of.geometry).dtype == torch.bfloat16
    tangent = torch.func.jvp(
        lambda a: run_with_places(x, pi, a, weight, of.geometry), (places,), (places,)
    )[1]
    assert (
        deviation(tangent, kernel_a_sample(PlacedOperands(x, pi, places, weight, of.geometry)))
        < 1e-5
    )
