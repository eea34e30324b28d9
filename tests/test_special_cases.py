"""The papers' comparison: what DY-ReLU generalises comes out of it as a special case.

ReLU, LeakyReLU and PReLU are two fixed lines, SE is one line whose slope is a gate, and Maxout is
any number of fixed lines (arXiv 2003.10027, figure 2).
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from nets import perturb_
from references import deviation
from torch import Tensor, nn

from dynsurgeon.config import DynamicReLUConfig
from dynsurgeon.operators import DynamicReLU, DynamicReLUA, DynamicReLUB, DynamicReLUC

FIXED = DynamicReLUConfig(lambda_a=0.0, lambda_b=0.0)

kinds = pytest.mark.parametrize("kind", [DynamicReLUA, DynamicReLUB], ids=lambda k: k.__name__)


def fixed_lines(kind: type[DynamicReLU], alpha: Tensor, beta: Tensor | None = None) -> DynamicReLU:
    """Build a DY-ReLU of these lines, whose hyperfunction is random but without reach."""
    module = kind(6, FIXED, alpha=alpha, beta=beta)
    perturb_(module)
    return module


@kinds
@pytest.mark.parametrize("shape", [(3, 6), (3, 6, 5), (3, 6, 4, 4), (2, 6, 3, 3, 3)])
def test_relu(kind: type[DynamicReLU], shape: tuple[int, ...]) -> None:
    x = torch.randn(shape)
    assert torch.equal(fixed_lines(kind, torch.tensor([1.0, 0.0]))(x), nn.ReLU()(x))


@kinds
@pytest.mark.parametrize("slope", [0.01, 0.5, -1.0])
def test_leaky_relu(kind: type[DynamicReLU], slope: float) -> None:
    x = torch.randn(3, 6, 4, 4)
    module = fixed_lines(kind, torch.tensor([1.0, slope]))
    assert torch.equal(module(x), nn.LeakyReLU(slope)(x))


@kinds
def test_prelu(kind: type[DynamicReLU]) -> None:
    static, x = nn.PReLU(6), torch.randn(3, 6, 4, 4)
    nn.init.uniform_(static.weight, -1, 1)
    alpha = torch.stack([torch.ones(6), static.weight.detach()])
    assert torch.equal(fixed_lines(kind, alpha)(x), static(x))


class SqueezeExcitation(nn.Module):
    """The SE gate as its paper has it (arXiv 1709.01507): x times one sigmoid a channel."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        pooled = nn.functional.adaptive_avg_pool2d(x, 1).flatten(1)
        gate = torch.sigmoid(self.fc2(torch.relu(self.fc1(pooled))))
        return x * gate[:, :, None, None]


def test_squeeze_and_excitation() -> None:
    # One piece: 0.5 + 0.5 (2 sigmoid(theta) - 1) = sigmoid(theta), and no offset.
    config = DynamicReLUConfig(lambda_a=0.5, lambda_b=0.0)
    module = DynamicReLUB(16, config, alpha=torch.tensor([0.5]))
    assert module.pieces == 1
    perturb_(module)
    gate = SqueezeExcitation(16, module.fc1.out_features)
    with torch.no_grad():
        for name, parameter in gate.named_parameters():
            parameter.copy_(module.get_parameter(name)[: len(parameter)])
    x = torch.randn(4, 16, 5, 5)
    assert deviation(module(x), gate(x)) < 1e-6
    slopes, _ = module.coefficients(x)
    assert slopes[0].std().item() > 0.1  # the gate does open and close


@kinds
@given(pieces=st.integers(1, 6), seed=st.integers(0, 10**6))
def test_maxout(kind: type[DynamicReLU], pieces: int, seed: int) -> None:
    # Maxout (arXiv 1302.4389) over K learnt lines of each channel.
    generator = torch.Generator().manual_seed(seed)
    alpha, beta = torch.randn(2, pieces, 6, generator=generator)
    x = 3 * torch.randn(2, 6, 5, generator=generator)
    lines = x[:, None] * alpha[None, :, :, None] + beta[None, :, :, None]
    assert deviation(fixed_lines(kind, alpha, beta)(x), lines.max(dim=1).values) < 1e-6


def test_maxout_of_four_lines_is_any_convex_function() -> None:
    # The tangents of x^2 at four points: exact where they touch, below everywhere else.
    touch = torch.tensor([-3.0, -1.0, 1.0, 3.0])
    module = fixed_lines(DynamicReLUB, 2 * touch, -touch.square())
    assert deviation(module(touch[:, None].repeat(1, 6))[:, 0], touch.square()) < 1e-6
    x = torch.linspace(-4, 4, 50)[:, None].repeat(1, 6)
    assert (module(x) <= x.square() + 1e-5).all()


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.LeakyReLU(0.1)])
def test_kind_c_with_three_times_the_lines(activation: nn.Module) -> None:
    # Its spatial attention is 1/3 everywhere as long as it has not learnt.
    slope = getattr(activation, "negative_slope", 0.0)
    module = DynamicReLUC(6, FIXED, alpha=3 * torch.tensor([1.0, slope]))
    x = torch.randn(3, 6, 4, 4)
    assert deviation(module(x), activation(x)) < 1e-6


def test_a_dynamic_relu_is_none_of_them() -> None:
    # With reach, the lines differ between samples: no fixed activation gives the same numbers.
    module = DynamicReLUB(6)
    perturb_(module)
    x = 1 + torch.randn(1, 6, 4, 4)
    assert deviation(module(x), x.relu()) > 0.05
    slopes, offsets = module.coefficients(torch.cat([x, -x]))
    assert deviation(slopes[0][0], slopes[0][1]) > 0.05
    assert deviation(offsets[0][0], offsets[0][1]) > 0.05
