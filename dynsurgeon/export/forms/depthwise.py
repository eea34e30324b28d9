"""Where K constant convolutions beat one with a computed kernel in onnxruntime: a rule by shapes.

Its convolutions with computed kernels gather what lies under each place of the kernel, channel by
channel. For a depthwise convolution that is nearly all the work; with a stride, or where few places
share the start of a channel, K fast convolutions and their sum cost less. Times of single layers,
of mobilenet_v2 and two of mobilenet_v3, K = 4, gave the rule; docs/performance.md has them. For 1x1
layers *plain* was quickest everywhere, *matmul* second.
"""

from __future__ import annotations

from math import prod

from dynsurgeon.export.forms.site import ConvSite

MOST_EXPERTS = 4
"""The cost of this form grows with K; with more kernels nothing was measured."""

PLACES_A_TAP = 8
"""Without a stride: up to so many places of a map for each place of the kernel."""


def obstacle(site: ConvSite) -> str | None:
    """Say why K constant convolutions aren't worth it here, or None."""
    geometry = site.geometry
    if geometry.transposed or geometry.groups != site.out_channels or geometry.groups == 1:
        return "is for depthwise convolutions"
    if site.batch != 1 or len(site.bank) > MOST_EXPERTS:
        return f"is for one sample and at most {MOST_EXPERTS} kernels"
    sizes = [] if site.x.shape is None else [s for s in site.x.shape[2:] if isinstance(s, int)]
    few = len(sizes) == geometry.spatial and prod(sizes) <= PLACES_A_TAP * prod(
        site.kernel_shape[2:]
    )
    strided = all(step > 1 for step in geometry.stride)
    return None if strided or few else "is for strides, or for small maps"
