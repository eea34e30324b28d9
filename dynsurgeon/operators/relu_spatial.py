"""Dynamic ReLU, kind C: the lines of kind B, scaled by a spatial attention (arXiv 2003.10027).

    pi_hw = min(gamma softmax_hw(z / tau), 1)         gamma = HW / 3, z a 1x1 convolution to one map
    y     = max_k(pi a_k x + pi b_k) = pi max_k(a_k x + b_k)

With z = 0, pi is 1/3 everywhere, so the slopes start three times as steep: then the layer starts as
the static activation, to rounding.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from dynsurgeon.operators.answers import Head, Temperature
from dynsurgeon.operators.attention import zero_layer
from dynsurgeon.operators.forms import ActivationForm
from dynsurgeon.operators.relu import DynamicReLU
from dynsurgeon.operators.relu_lines import as_dtype
from dynsurgeon.settings import DynamicReLUConfig, with_settings

SHARE = 3
"""gamma is the number of places over this, so a uniform attention is 1 / SHARE everywhere."""


class DynamicReLUC(DynamicReLU):
    """DY-ReLU-C: lines a sample and channel, scaled place by place.

    Takes the arguments of `DynamicReLU`, and `temperature`.

    Attributes:
        temperature: tau of the spatial softmax; a saved buffer.
    """

    per_channel = True
    start_scale = float(SHARE)
    temperature: Tensor

    def __init__(
        self,
        channels: int,
        config: DynamicReLUConfig | None = None,
        *,
        form: ActivationForm | None = None,
        alpha: Tensor | None = None,
        beta: Tensor | None = None,
        inplace: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        pieces: int | None = None,
        reduction: int | None = None,
        lambda_a: float | None = None,
        lambda_b: float | None = None,
        temperature: float | None = None,
    ) -> None:
        config = with_settings(config or DynamicReLUConfig(), temperature=temperature)
        super().__init__(
            channels,
            config,
            form=form,
            alpha=alpha,
            beta=beta,
            inplace=inplace,
            device=device,
            dtype=dtype,
            pieces=pieces,
            reduction=reduction,
            lambda_a=lambda_a,
            lambda_b=lambda_b,
        )
        like: dict[str, Any] = {"device": self.alpha.device, "dtype": self.alpha.dtype}
        self.spatial = zero_layer(channels, 1, **like)
        tau = torch.tensor(config.temperature, **like)
        self.register_buffer("temperature", tau)

    def maximum_of_lines(self, x: Tensor) -> Tensor:
        # pi is never negative, so it can be taken out of the maximum: one map instead of 2 K.
        return as_dtype(self.spatial_attention(x), x.dtype) * super().maximum_of_lines(x)

    def spatial_attention(self, x: Tensor) -> Tensor:
        """Return pi ``(N, 1, *spatial)``, each in [0, 1]."""
        places = x.flatten(2) if x.dim() > 2 else x.unsqueeze(-1)
        z = self.spatial(places.transpose(1, 2)).squeeze(-1)
        gamma = places.shape[-1] / SHARE
        logits = z / self.temperature
        if logits.dtype.itemsize < 4:  # one share of a large map is below what half precision holds
            logits = logits.float()
        share = gamma * torch.softmax(logits, dim=-1)
        return share.clamp(max=1).view(x.shape[0], 1, *x.shape[2:])

    def signals(self, x: Tensor) -> Mapping[str, Tensor]:
        return {**super().signals(x), "places": self.spatial_attention(x)}

    def heads(self) -> Iterable[Head]:
        yield from super().heads()
        # A bias moves all places alike, which a softmax does not see.
        reach = float(self.temperature)
        yield Head(self.spatial, reach, biased=False, channels=self.channels)

    def temperatures(self) -> Iterable[Temperature]:
        yield Temperature(self, "places")

    def multiply_adds(self, positions: int) -> int:
        spatial = (self.channels + 2 * self.pieces * self.channels) * positions
        return super().multiply_adds(positions) + spatial
