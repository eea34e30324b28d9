"""Dynamic ReLU, kinds A and B (arXiv 2003.10027).

    theta   = fc2(relu(fc1(gap(x))))              delta = 2 sigmoid(theta) - 1
    a_k     = alpha_k + lambda_a delta_a,k        b_k   = beta_k + lambda_b delta_b,k
    y       = max_k(a_k x + b_k)

The last layer starts at zero, so delta is exactly 0 and the layer *is* the activation that alpha
describes, bit for bit, with a live gradient. (An infinite input gives NaN, since 0 * inf is NaN.)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from dynsurgeon.errors import ConfigError, UnsupportedModelError
from dynsurgeon.operators.answers import Head, Part
from dynsurgeon.operators.attention import squeeze_layer, zero_layer
from dynsurgeon.operators.contract import Shape
from dynsurgeon.operators.forms import ActivationForm
from dynsurgeon.operators.relu_lines import LinesConfig, LinesLayer
from dynsurgeon.operators.static import describe_activation
from dynsurgeon.settings import DynamicReLUConfig, with_settings

THETA_REACH = 0.3
"""A theta by which the lines turn a good deal, and are far from the ends of their reach."""


class DynamicReLU(LinesLayer):
    """Base of the DY-ReLUs; use `DynamicReLUA`, `DynamicReLUB` or `DynamicReLUC`.

    Args:
        channels: Channels C of the input, on axis 1.
        config: Pieces, reduction, reach of slopes and offsets.
        form: The static activation to start from; plain ReLU by default.
        alpha: Start of the K slopes ``(K,)`` or ``(K, C)``, instead of those of `form`.
        beta: Start of the K offsets ``(K,)`` or ``(K, C)``; zeros by default.
        inplace: Write the result into the input, as an in-place activation does.
        device: Where the parameters are made.
        dtype: Their type.
        pieces: Number of lines K, instead of that of `config`.
        reduction: Width of the hidden layer is ``channels // reduction``, likewise.
        lambda_a: Reach of the slopes around their start, likewise.
        lambda_b: Reach of the offsets around their start, likewise.

    Raises:
        ConfigError: A setting is not valid, or `alpha` and `beta` differ in their number of pieces.

    Attributes:
        weight: Of a PReLU with slopes above 1 the slopes, which go on being trained; else None.
        shift: How many channels further on each line reads a second one; None if it reads none.

    Shape:
        ``(N, C, *spatial)`` with 0 to 3 spatial axes, to the same.
    """

    per_channel: ClassVar[bool]
    default_config: ClassVar[type[LinesConfig]] = DynamicReLUConfig

    def __init__(
        self,
        channels: int,
        config: LinesConfig | None = None,
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
    ) -> None:
        super().__init__()
        self.config: LinesConfig = with_settings(
            config or self.default_config(),
            pieces=pieces,
            reduction=reduction,
            lambda_a=lambda_a,
            lambda_b=lambda_b,
        )
        self.form = form or ActivationForm()
        self.channels, self.inplace = channels, inplace
        alpha = self._start_slopes() if alpha is None else alpha
        beta = torch.zeros(len(alpha)) if beta is None else beta
        self.pieces = len(alpha)
        if len(beta) != self.pieces:
            raise ConfigError(f"alpha has {self.pieces} pieces and beta {len(beta)}: give one each")
        factory: dict[str, Any] = {"device": device, "dtype": dtype or torch.get_default_dtype()}
        self.register_buffer("alpha", alpha.reshape(self.pieces, -1).to(**factory))
        self.register_buffer("beta", beta.reshape(self.pieces, -1).to(**factory))
        slopes = torch.tensor(self.form.slopes, **factory)
        own = self.form.steep and self.form.function == "prelu"
        self.register_parameter("weight", nn.Parameter(slopes) if own else None)
        outputs = self.rows() * (channels if self.per_channel else 1)
        self.fc1 = squeeze_layer(channels, self.config.reduction, **factory)
        self.fc2 = zero_layer(self.fc1.out_features, outputs, **factory)

    @classmethod
    def from_static(
        cls,
        static: nn.Module,
        channels: int,
        config: DynamicReLUConfig | None = None,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> Self:
        """Build the DY-ReLU that computes what `static` computes on `channels` channels.

        A static activation knows neither its channels nor, unless it is a PReLU, where it lives:
        from a PReLU, device, dtype and requires_grad are copied.

        Raises:
            UnsupportedModelError: No DY-ReLU starts at this activation.
        """
        form = describe_activation(static)
        if reason := form.obstacle():
            kind = type(static).__name__
            raise UnsupportedModelError(f"no DY-ReLU starts at this {kind}: {reason}")
        for slope in static.parameters():
            device, dtype = device or slope.device, dtype or slope.dtype
        module = cls(channels, config, form=form, device=device, dtype=dtype)
        for slope in static.parameters():
            module.requires_grad_(slope.requires_grad)
        module.inplace = bool(getattr(static, "inplace", False))
        return module.train(static.training)

    @classmethod
    def obstacle(cls, form: ActivationForm, config: LinesConfig) -> str | None:
        name = form.function
        if form.smooth and not config.smooth:
            return (
                f"{name} is no maximum of lines (smooth=True converts it as {name} + DY-ReLU - "
                "ReLU)"
            )
        return form.obstacle()

    def _start_slopes(self) -> Tensor:
        # Further pieces lie strictly between the first two: never the maximum at the start, and,
        # unlike copies of the zero line, never tied with it for the same gradient for ever.
        slope = self.form.slope if not self.form.beside else 0.0
        low = torch.tensor(slope, dtype=torch.float64).reshape(1, -1)
        count = self.config.pieces
        between = [low + (1 - low) * i / (count - 1) for i in range(1, count - 1)]
        return self.start_scale * torch.cat([torch.ones_like(low), low, *between])

    @classmethod
    def parts(cls, config: LinesConfig) -> int:
        return config.pieces

    def added_multiply_adds(self, taken: Shape, given: Shape) -> int:
        return self.multiply_adds(math.prod(taken[2:]))

    def heads(self) -> Iterable[Head]:
        shared = 1 if self.per_channel else self.channels
        yield Head(self.fc2, THETA_REACH, self.fc1, channels=shared)

    def static_obstacle(self) -> str | None:
        moved = any(head.has_moved for head in self.heads())
        return "has lines that depend on its input" if moved else None

    def static_parameters(self) -> dict[str, nn.Parameter | None]:
        if self.form.function != "prelu":
            return {}
        slopes = self._slopes() if self.weight is None else self.weight.clone()
        return {"weight": nn.Parameter(slopes, self.fc2.weight.requires_grad)}

    def held(self) -> Iterable[str]:
        return () if self.weight is None else ("weight",)

    def _slopes(self) -> Tensor:
        # Three times a slope over three is not always that slope; the form remembers the slope.
        device, dtype = self.alpha.device, self.alpha.dtype
        slopes = torch.tensor(self.form.slope, dtype=torch.float64, device=device).view(-1)
        same = torch.equal((self.start_scale * slopes).to(dtype), self.alpha[1])
        return slopes.to(dtype) if same else self.alpha[1] / self.start_scale

    @classmethod
    def expected(cls, settings: Mapping[str, Any], channels: int | None) -> dict[str, Shape]:
        return {
            "alpha": (settings.get("pieces", -1),),
            "fc1.weight": (-1, -1 if channels is None else channels),
        }

    def part(self, name: str, parameter: nn.Parameter) -> Part:
        if name == "weight":  # a PReLU's own slopes
            return Part("rest", decays=False)
        return replace(super().part(name, parameter), name="relu")

    def multiply_adds(self, positions: int) -> int:
        """Multiply-adds a sample on a map of `positions` places."""
        squeeze = self.channels * positions + self.channels * self.fc1.out_features
        return (
            squeeze
            + self.fc1.out_features * self.fc2.out_features
            + self.pieces * self.channels * positions
        )

    def extra_repr(self) -> str:
        return f"{self.channels}, pieces={self.pieces}, form={self.form.function}"


class DynamicReLUA(DynamicReLU):
    """DY-ReLU-A: one set of lines a sample, shared over space and channels."""

    per_channel = False


class DynamicReLUB(DynamicReLU):
    """DY-ReLU-B: one set of lines a sample and channel, shared over space."""

    per_channel = True
