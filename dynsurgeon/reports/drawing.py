"""The pictures of an inspection, drawn with matplotlib."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from dynsurgeon.inspection import Inspection, KernelUse, SiteInspection
from dynsurgeon.reports.thumbnails import Picture, lit, thumbnail

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PIXELS = 160


def draw_site(
    site: SiteInspection, found: Inspection, picture: Picture
) -> Iterator[tuple[str, Figure]]:
    """Yield what there is to draw of a site: its kind, and the figure."""
    if site.kernels is not None:
        yield "attention", _attention(site, site.kernels, found)
        leaders = [samples[:4] for samples in site.kernels.leaders]
        yield "leaders", _pictures(site, [
            (f"kernel {k}", [thumbnail(picture(i), PIXELS) for i in samples])
            for k, samples in enumerate(leaders, 1)
        ])  # fmt: skip
    if site.curves is not None:
        yield "curves", _curves(site, found)
    if site.places is not None:
        images = [thumbnail(picture(i), PIXELS) for i in site.places.samples]
        maps = [lit(one, m) for one, m in zip(images, site.places.maps, strict=True)]
        yield "places", _pictures(site, [("image", images), ("what passes", maps)])
    if site.kernels is None and site.curves is None:
        yield "factors", _factors(site)


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure  # without pyplot: no state, no display

    return Figure(figsize=(width, height), dpi=110, layout="constrained")


def _plain(text: str) -> str:
    return text.replace("$", r"\$")  # between two of them matplotlib reads mathematics


def _attention(site: SiteInspection, kernels: KernelUse, found: Inspection) -> Figure:
    figure = _figure(8, 5)
    heat, bars = figure.subplots(1, 2, width_ratios=(2, 1))
    order = found.labels.argsort(stable=True)
    shown = heat.imshow(kernels.weights[order].numpy(), aspect="auto", interpolation="nearest")
    counts = torch.bincount(found.labels, minlength=len(found.classes))
    ends = counts.cumsum(0)
    for end in ends[:-1].tolist():
        heat.axhline(end - 0.5, color="white", linewidth=0.6)
    middles = (ends - counts / 2).tolist()
    if len(found.classes) <= 40:
        heat.set_yticks(middles, [_plain(name) for name in found.classes])
    names = [str(k) for k in range(1, kernels.report.experts + 1)]
    heat.set_xticks(range(len(names)), names)
    heat.set(xlabel="kernel", ylabel="images, sorted by class")
    figure.colorbar(shown, ax=heat, label="weight")
    bars.barh(names, kernels.report.leads)
    bars.invert_yaxis()
    bars.set(xlabel="share of images led", ylabel="kernel")
    figure.suptitle(
        _plain(f"{site.name}: entropy {kernels.report.entropy:.0%} of the largest, kernels "
               f"{kernels.report.spread:.2g} apart"), fontsize=10,
    )  # fmt: skip
    return figure


def _curves(site: SiteInspection, found: Inspection) -> Figure:
    curves = site.curves
    assert curves is not None
    figure = _figure(3 * len(curves.channels), 3.4)
    plots = figure.subplots(1, len(curves.channels), squeeze=False)[0]
    for plot, channel, rows in zip(plots, curves.channels, curves.y, strict=True):
        for name, y in zip(found.classes, rows, strict=True):
            plot.plot(curves.x.numpy(), y.numpy(), linewidth=1, label=_plain(name))
        plot.axhline(0, color="0.8", linewidth=0.8, zorder=0)
        plot.axvline(0, color="0.8", linewidth=0.8, zorder=0)
        plot.set(title=f"channel {channel}", xlabel="comes in")
    plots[0].set_ylabel("goes out")
    if 1 < len(found.classes) <= 12:
        plots[-1].legend(fontsize=6)
    figure.suptitle(_plain(f"{site.name}: {site.operator}, by class"), fontsize=10)
    return figure


def _pictures(site: SiteInspection, rows: list[tuple[str, list[Any]]]) -> Figure:
    columns = max(len(images) for _, images in rows)
    figure = _figure(1.4 * columns + 0.6, 1.5 * len(rows) + 0.4)
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for (name, images), plots in zip(rows, grid, strict=True):
        for plot in plots:
            plot.set(xticks=[], yticks=[])
            plot.set_frame_on(False)
        for plot, image in zip(plots, images, strict=False):
            plot.imshow(image.permute(1, 2, 0).numpy())
        plots[0].set_ylabel(name, fontsize=9)
    figure.suptitle(_plain(site.name), fontsize=10)
    return figure


def _factors(site: SiteInspection) -> Figure:
    figure = _figure(6, 1 + 0.6 * len(site.factors))
    plot = figure.subplots()
    for row, factor in enumerate(site.factors):
        low, first, middle, third, high = factor.quantiles
        plot.plot([low, high], [row, row], color="0.5", linewidth=1)
        plot.plot([first, third], [row, row], linewidth=6)
        plot.plot(middle, row, "o", color="black", markersize=4)
    plot.set_yticks(range(len(site.factors)), [factor.name for factor in site.factors])
    plot.set_ylim(-0.6, len(site.factors) - 0.4)
    plot.set_xlabel("5 to 95 % (line), 25 to 75 % (bar), median")
    figure.suptitle(_plain(f"{site.name}: {site.operator}"), fontsize=10)
    return figure
