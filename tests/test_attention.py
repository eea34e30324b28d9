"""The attention over kernels: a distribution for each sample, under a temperature that is saved."""

from __future__ import annotations

import pytest
import torch
from nets import perturb_
from references import deviation, reference_attention
from torch import nn

from dynsurgeon.operators import KernelAttention
from dynsurgeon.operators.answers import HIDDEN_FLOOR
from dynsurgeon.operators.attention import (
    global_average,
    hidden_width,
    squeeze_layer,
)


def attention_of(channels: int = 8, experts: int = 4, **options: float) -> KernelAttention:
    attention = KernelAttention(channels, experts, dtype=torch.float64, **options)  # type: ignore[arg-type]
    perturb_(attention)
    return attention


@pytest.mark.parametrize("experts", [1, 2, 5])
@pytest.mark.parametrize("spatial", [(), (7,), (3, 4), (2, 3, 4), (1, 1)])
@pytest.mark.parametrize("temperature", [0.5, 30.0])
def test_equals_reference(experts: int, spatial: tuple[int, ...], temperature: float) -> None:
    attention = attention_of(6, experts, temperature=temperature)
    x = torch.randn(3, 6, *spatial, dtype=torch.float64)
    pi = attention(x)
    expected = torch.stack([reference_attention(attention, sample) for sample in x])
    assert deviation(pi, expected) < 1e-13
    assert pi.shape == (3, experts)
    assert pi.min() >= 0
    assert deviation(pi.sum(1), torch.ones(3)) < 1e-14


def test_each_sample_has_its_own_distribution() -> None:
    attention, x = attention_of(), torch.randn(4, 8, 5, 5, dtype=torch.float64)
    pi = attention(x)
    assert torch.cdist(pi, pi).triu(1).flatten().ne(0).sum() == 6  # all pairs differ
    assert deviation(attention(x[[3, 1, 0, 2]]), pi[[3, 1, 0, 2]]) < 1e-14


def test_temperature_flattens_and_sharpens() -> None:
    attention, x = attention_of(), torch.randn(4, 8, 5, 5, dtype=torch.float64)
    attention.temperature.fill_(1e6)
    assert deviation(attention(x), torch.full((4, 4), 0.25)) < 1e-3
    attention.temperature.fill_(1e-3)
    assert deviation(attention(x).max(dim=1).values, torch.ones(4)) < 1e-6


def test_temperature_is_saved_and_moves_with_the_layer() -> None:
    attention = attention_of(temperature=7.0)
    assert attention.state_dict()["temperature"] == 7.0
    fresh = KernelAttention(8, 4, dtype=torch.float64)
    assert fresh.temperature == 30.0
    fresh.load_state_dict(attention.state_dict())
    assert fresh.temperature == 7.0
    assert fresh.half().temperature.dtype == torch.float16
    assert fresh.to("meta").temperature.is_meta


def test_temperature_gets_no_gradient_and_is_no_parameter() -> None:
    attention = attention_of()
    attention(torch.randn(2, 8, dtype=torch.float64)).square().sum().backward()
    assert attention.temperature.grad is None
    assert set(dict(attention.named_parameters())) == {
        f"{layer}.{name}" for layer in ("fc1", "fc2") for name in ("weight", "bias")
    }


def test_trains_at_batch_one() -> None:
    # A BatchNorm in the attention fails here: the most reported fault of ODConv.
    attention = attention_of().train()
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in attention.modules())
    attention(torch.randn(1, 8, 1, 1, dtype=torch.float64))[:, 0].sum().backward()
    assert attention.fc1.weight.grad is not None
    assert attention.fc1.weight.grad.abs().max() > 0


@pytest.mark.parametrize("channels", [1, 3, 8, 20])
@pytest.mark.parametrize("offset", [-1.0, 0.0, 1.0])
def test_no_attention_is_born_dead(channels: int, offset: float) -> None:
    # With units drawn one by one, 1 of 16 narrow layers passes nothing on, and learns nothing.
    for _ in range(50):
        layer = squeeze_layer(channels, 4)
        hidden = torch.relu(layer(offset + 0.1 * torch.randn(6, channels)))
        assert (hidden > 0).sum(1).min() >= layer.out_features // 2


@pytest.mark.parametrize(
    ("channels", "reduction", "width"), [(64, 4, 16), (64, 8, 8), (3, 4, HIDDEN_FLOOR), (1, 1, 4)]
)
def test_hidden_width_has_a_floor(channels: int, reduction: int, width: int) -> None:
    assert hidden_width(channels, reduction) == width
    attention = KernelAttention(channels, 2, reduction=reduction)
    assert (attention.fc1.out_features, attention.fc2.in_features) == (width, width)


def test_global_average() -> None:
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    expected = torch.tensor([[x[n, c].sum() / 20 for c in range(3)] for n in range(2)])
    assert deviation(global_average(x), expected) < 1e-6
    assert torch.equal(global_average(x[..., 0, 0]), x[..., 0, 0])


def test_multiply_adds() -> None:
    assert KernelAttention(64, 4).multiply_adds(100) == 64 * 100 + 64 * 16 + 16 * 4
