"""Dynamic ReLU, kinds A and B (arXiv 2003.10027).

    theta   = fc2(relu(fc1(gap(x))))              delta = 2 sigmoid(theta) - 1
    a_k     = alpha_k + lambda_a delta_a,k        b_k   = beta_k + lambda_b delta_b,k
    y       = max_k(a_k x + b_k)

The last layer starts at zero, so delta is exactly 0 and the layer *is* the activation that alpha
describes, bit for bit, with a live gradient. (An infinite input gives NaN, since 0 * inf is NaN.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ClassVar, Self, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynsurgeon.config import DynamicReLUConfig
from dynsurgeon.errors import ConfigError, UnsupportedModelError
from dynsurgeon.operators.attention import global_average, squeeze_layer
from dynsurgeon.operators.forms import SMOOTH_FUNCTIONS, ActivationForm
from dynsurgeon.operators.lines import maximum_of_lines
from dynsurgeon.operators.overwrite import overwrite

Lines: TypeAlias = Callable[["DynamicReLU", Tensor], Tensor]

_forced: ContextVar[Lines | None] = ContextVar("dynsurgeon_forced_lines", default=None)


@contextmanager
def forced_lines(lines: Lines) -> Iterator[None]:
    """Compute every maximum of lines in this context by `lines`: for export."""
    token = _forced.set(lines)
    try:
        yield
    finally:
        _forced.reset(token)


class DynamicReLU(nn.Module):
    """Base of the DY-ReLUs; use `DynamicReLUA`, `DynamicReLUB` or `DynamicReLUC`.

    Args:
        channels: Channels C of the input, on axis 1.
        config: Pieces, reduction, reach of slopes and offsets.
        form: The static activation to start from; plain ReLU by default.
        alpha: Start of the K slopes ``(K,)`` or ``(K, C)``, instead of those of `form`.
        beta: Start of the K offsets ``(K,)`` or ``(K, C)``; zeros by default.
        inplace: Write the result into the input, as an in-place activation does.

    Raises:
        ConfigError: `alpha` and `beta` differ in their number of pieces.

    Attributes:
        weight: Of a PReLU with slopes above 1 the slopes, which go on being trained; else None.

    Shape:
        ``(N, C, *spatial)`` with 0 to 3 spatial axes, to the same.
    """

    per_channel: ClassVar[bool]
    start_scale: ClassVar[float] = 1.0
    alpha: Tensor
    beta: Tensor
    weight: nn.Parameter | None

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
    ) -> None:
        super().__init__()
        self.config = config or DynamicReLUConfig()
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
        outputs = 2 * self.pieces * (channels if self.per_channel else 1)
        self.fc1 = squeeze_layer(channels, self.config.reduction, **factory)
        self.fc2 = nn.Linear(self.fc1.out_features, outputs, **factory)
        nn.init.zeros_(self.fc2.weight)
        nn.init.zeros_(self.fc2.bias)

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
        from dynsurgeon.operators.table import describe_activation

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

    def _start_slopes(self) -> Tensor:
        # Further pieces lie strictly between the first two: never the maximum at the start, and,
        # unlike copies of the zero line, never tied with it for the same gradient for ever.
        slope = self.form.slope if not self.form.beside else 0.0
        low = torch.tensor(slope, dtype=torch.float64).reshape(1, -1)
        count = self.config.pieces
        between = [low + (1 - low) * i / (count - 1) for i in range(1, count - 1)]
        return self.start_scale * torch.cat([torch.ones_like(low), low, *between])

    def forward(self, x: Tensor) -> Tensor:
        if self.inplace:
            return overwrite(x, self._activate(x.clone()))
        return self._activate(x)

    def _activate(self, x: Tensor) -> Tensor:
        y = self.maximum_of_lines(x)
        if self.form.ceiling is not None:
            return y.clamp(max=self.form.ceiling)
        return self._static(x) + (y - torch.relu(x)) if self.form.beside else y

    def _static(self, x: Tensor) -> Tensor:
        if self.weight is not None:
            return F.prelu(x, as_dtype(self.weight, x.dtype))
        if self.form.smooth:
            return SMOOTH_FUNCTIONS[self.form.function](x, **self.form.options)
        return F.leaky_relu(x, self.form.slopes[0])

    def maximum_of_lines(self, x: Tensor) -> Tensor:
        """Return ``max_k(a_k x + b_k)``."""
        if (lines := _forced.get()) is not None:
            return lines(self, x)
        slopes, offsets = self.coefficients(x)
        return maximum_of_lines(x, slopes, offsets)

    def theta(self, x: Tensor) -> Tensor:
        """Return what the head says of `x`: ``(N, 2 K C)``, or ``(N, 2 K)`` of kind A."""
        theta: Tensor = self.fc2(torch.relu(self.fc1(global_average(x))))
        return theta

    def coefficients(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return the K slopes and the K offsets for `x`, each broadcastable against it."""
        delta = 2 * torch.sigmoid(self.theta(x)) - 1
        delta = delta.view(-1, 2 * self.pieces, self.fc2.out_features // (2 * self.pieces))
        slopes = self.alpha + self.config.lambda_a * delta[:, : self.pieces]
        offsets = self.beta + self.config.lambda_b * delta[:, self.pieces :]
        ones = [1] * (x.dim() - 2)
        # Under autocast the lines are in single precision, but an activation keeps its input's.
        rows = [as_dtype(t.view(*t.shape, *ones), x.dtype) for t in (slopes, offsets)]
        return list(rows[0].unbind(1)), list(rows[1].unbind(1))

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


def as_dtype(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Cast where there is something to cast: an exported graph would keep a cast to the same."""
    return tensor if tensor.dtype == dtype else tensor.to(dtype)
