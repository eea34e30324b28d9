"""*folded*: a kernel mixed for each sample, the batch folded into the groups, one convolution.

The form of large maps, where mixing is small beside convolving.
"""

from __future__ import annotations

from torch import Tensor

from dynsurgeon.operators.execution.form import Gradients, LeanForm, Needs
from dynsurgeon.operators.execution.mixing import mix, unmix
from dynsurgeon.operators.geometry import ConvGeometry


class Folded(LeanForm):
    """Fold the batch into the groups; the backward mixes the kernels again."""

    name = "folded"

    def convolve(
        self, x: Tensor, pi: Tensor, weight: Tensor, geometry: ConvGeometry
    ) -> tuple[Tensor, None]:
        """Convolve once, with ``N * groups`` groups."""
        batch = len(x)
        y = geometry.convolve(_fold(x), _kernels(pi, weight), None, batch * geometry.groups)
        return y.view(batch, -1, *y.shape[2:]), None

    def gradients(
        self,
        grad: Tensor,
        x: Tensor,
        pi: Tensor,
        weight: Tensor,
        kept: Tensor | None,
        geometry: ConvGeometry,
        needs: Needs,
    ) -> Gradients:
        """Differentiate that one convolution, and unmix its kernels' gradients."""
        kernels, groups = _kernels(pi, weight), len(x) * geometry.groups
        for_kernels = needs.pi or needs.weight
        for_x, mixed = geometry.convolve_backward(
            _fold(grad), _fold(x), kernels, groups, needs.x, for_kernels
        )
        for_x = None if for_x is None else for_x.view(x.shape)
        if mixed is None:
            return Gradients(for_x, None, None)
        for_pi, for_bank = unmix(mixed.view(len(x), -1), pi, weight.flatten(1), needs)
        return Gradients(for_x, for_pi, None if for_bank is None else for_bank.view(weight.shape))


def _fold(x: Tensor) -> Tensor:
    return x.reshape(1, -1, *x.shape[2:])


def _kernels(pi: Tensor, weight: Tensor) -> Tensor:
    mixed = mix(pi, weight.flatten(1))
    return mixed.view(len(pi) * weight.shape[1], *weight.shape[2:])
