"""Algorithms that autograd takes apart by itself: wherever a graph of plain operators is wanted.

- *grouped*: mix one kernel a sample, fold the batch into the groups, convolve once. Cheap while the
  map is large; on small maps the mixed kernels outweigh everything else, and the backward keeps
  them.
- *stacked*: convolve with the first kernel, then once more the scaled inputs ``pi_k x`` side by
  side with the differences side by side. K times the multiply-adds, but nothing depends on the
  batch, so this is also what `torch.export` sees.
- *one_by_one*: *stacked*, one difference after the other.
- *averaged*: for an empty batch.
"""

from __future__ import annotations

from torch import Tensor

from dynsurgeon.operators.execution.mixing import mix
from dynsurgeon.operators.geometry import ConvGeometry


def grouped(
    x: Tensor, pi: Tensor, weight: Tensor, bias: Tensor | None, geometry: ConvGeometry
) -> Tensor:
    """Mix a kernel for each sample and convolve them all as groups of one sample."""
    kernels = mix(pi, weight.flatten(1)).view(-1, *weight.shape[1:])
    return one_kernel_a_sample(x, kernels, None if bias is None else mix(pi, bias), geometry)


def one_kernel_a_sample(
    x: Tensor, kernels: Tensor, biases: Tensor | None, geometry: ConvGeometry
) -> Tensor:
    """Convolve each sample with its own kernel, the batch folded into the groups.

    Args:
        x: Input ``(N, C_in, *spatial)``.
        kernels: One kernel a sample ``(N, *kernel of the static convolution)``.
        biases: One bias a sample ``(N, C_out)``, or None.
        geometry: Stride, padding, dilation, groups.
    """
    batch = x.shape[0]
    folded = x.reshape(1, batch * x.shape[1], *x.shape[2:])
    flat = None if biases is None else biases.view(-1)
    y = geometry.convolve(folded, kernels.flatten(0, 1), flat, batch * geometry.groups)
    return y.view(batch, -1, *y.shape[2:])


def stacked(
    x: Tensor, pi: Tensor, weight: Tensor, bias: Tensor | None, geometry: ConvGeometry
) -> Tensor:
    """Convolve with the first kernel, and the K - 1 scaled inputs with the differences from it."""
    first = None if bias is None else bias[0]
    y = geometry.convolve(x, weight[0], first, geometry.groups)
    if weight.shape[0] == 1:
        return y
    scaled = scale_input(x, pi[:, 1:], geometry.groups)
    differences = stack_kernels(weight[1:] - weight[:1], geometry)
    y = y + geometry.convolve(scaled, differences, None, geometry.groups)
    if bias is None:
        return y
    offsets = pi[:, 1:] @ (bias[1:] - bias[:1])
    return y + offsets.view(-1, bias.shape[1], *[1] * geometry.spatial)


def one_by_one(
    x: Tensor, pi: Tensor, weight: Tensor, bias: Tensor | None, geometry: ConvGeometry
) -> Tensor:
    """Compute *stacked* one difference after the other, in the least memory: for proofs."""
    y = geometry.convolve(x, weight[0], None if bias is None else bias[0], geometry.groups)
    for k in range(1, weight.shape[0]):
        share = pi[:, k].view(-1, 1, *[1] * geometry.spatial)
        y = y + geometry.convolve(x * share, weight[k] - weight[0], None, geometry.groups)
        if bias is not None:
            y = y + share * (bias[k] - bias[0]).view(1, -1, *[1] * geometry.spatial)
    return y


def averaged(
    x: Tensor, pi: Tensor, weight: Tensor, bias: Tensor | None, geometry: ConvGeometry
) -> Tensor:
    """Answer an empty batch, of which no groups can be formed, with the right empty shape."""
    mean_bias = None if bias is None else bias.mean(0)
    return geometry.convolve(x, weight.mean(0), mean_bias, geometry.groups) + 0 * pi.sum()


def scale_input(x: Tensor, pi: Tensor, groups: int) -> Tensor:
    """Return ``(N, groups * K * C/groups, *spatial)``: in each group the K copies ``pi_k x``."""
    spatial = x.shape[2:]
    ones = [1] * len(spatial)
    by_group = x.reshape(x.shape[0], groups, 1, x.shape[1] // groups, *spatial)
    scaled = by_group * pi.view(-1, 1, pi.shape[1], 1, *ones)
    return scaled.reshape(x.shape[0], pi.shape[1] * x.shape[1], *spatial)


def stack_kernels(weight: Tensor, geometry: ConvGeometry) -> Tensor:
    """Lay a bank's kernels along the input channels, in the order of `scale_input`."""
    experts, kernel = weight.shape[0], weight.shape[3:]
    if not geometry.transposed:
        return weight.transpose(0, 1).reshape(weight.shape[1], experts * weight.shape[2], *kernel)
    each = weight.shape[1] // geometry.groups
    by_group = weight.view(experts, geometry.groups, each, *weight.shape[2:]).transpose(0, 1)
    return by_group.reshape(experts * weight.shape[1], *weight.shape[2:])
