"""Draw what a conversion does to resnet18, call site by call site: the picture of the README.

    python benchmarks/site_picture.py docs/images/resnet18.svg

It plans, converts and proves; every bar and dot is a number of that run (extra `report`). Random
weights: costs don't depend on them, and roundings hardly.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from torchvision.models import resnet18

import dynsurgeon as ds

PAPER, INK, FAINT = "#ffffff", "#1f2933", "#8795a1"
STATIC, CONVOLUTION, RELU = "#b8c4ce", "#00796b", "#d9730d"
EXACT = 1e-9
"""Where a dot lies whose outputs are bit-equal; the axis has no zero."""


def measure(seed: int = 0) -> tuple[tuple[ds.Site, ...], dict[str, float], ds.Receipt]:
    """Return the sites, the largest difference at each that became dynamic, and the receipt."""
    torch.manual_seed(seed)
    model, images = resnet18().eval(), torch.randn(2, 3, 224, 224)
    plan = ds.plan(model, images)
    receipt = ds.check_parity(model, ds.convert(model, images, plan), images)
    worst: dict[str, float] = {}
    for site in receipt.sites:
        worst[site.name] = max(site.max_rel, worst.get(site.name, 0.0))
    return plan.sites, worst, receipt


def colour(site: ds.Site) -> str:
    if not site.is_converted:
        return STATIC
    return CONVOLUTION if "Conv" in (site.operator or "") else RELU


def draw_cost(axes: Axes, before: list[int], after: list[int], colours: list[str]) -> None:
    """Draw bars of what a site costs, on a log axis, what it cost before in grey in front."""
    places = range(len(before))
    axes.bar(places, after, color=colours, width=0.82)
    axes.bar(places, before, color=STATIC, width=0.82)
    axes.set_yscale("log")


def draw_parity(axes: Axes, sites: tuple[ds.Site, ...], worst: dict[str, float]) -> None:
    """Draw a dot a site: how far it is from the static call that it replaced."""
    for place, site in enumerate(sites):
        if site.name in worst:
            axes.plot(place, max(worst[site.name], EXACT), "o", color=colour(site), markersize=4.5)
    axes.axhline(1e-5, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    axes.text(len(sites) - 0.4, 1.4e-5, "tolerance", ha="right", va="bottom")
    axes.set(yscale="log", ylim=(EXACT / 3, 1e-4))
    axes.set_yticks([EXACT, 1e-7, 1e-5], ["bit-equal", "1e-7", "1e-5"])


def label_blocks(axes: Axes, sites: tuple[ds.Site, ...]) -> None:
    """Name the blocks below the last axes, and set them apart on all."""
    owners = [".".join(site.name.split(".")[:2]) if "." in site.name else "stem" for site in sites]
    starts = [i for i, owner in enumerate(owners) if i == 0 or owner != owners[i - 1]]
    ends = [*starts[1:], len(owners)]
    middles = [(a + b - 1) / 2 for a, b in zip(starts, ends, strict=True)]
    axes.set_xticks(middles, [owners[start] for start in starts])
    for every in axes.figure.axes:
        for start in starts[1:]:
            every.axvline(start - 0.5, color=FAINT, linewidth=0.5, alpha=0.5)


def tidy(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", color=INK, fontsize=10)
    axes.tick_params(colors=INK, length=0)
    axes.minorticks_off()
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)


def millions(number: int) -> str:
    return f"{number / 1e6:.1f}M" if number < 1e9 else f"{number / 1e9:.2f}G"


def draw(path: Path) -> None:
    """Run, and write the picture."""
    sites, worst, receipt = measure()
    colours = [colour(site) for site in sites]
    figure, (params, macs, parity) = plt.subplots(3, 1, figsize=(9, 6.4), sharex=True)
    macs_before, macs_after = [s.macs_before for s in sites], [s.macs_after for s in sites]
    params_before, params_after = [s.params_before for s in sites], [s.params_after for s in sites]
    draw_cost(params, params_before, params_after, colours)
    draw_cost(macs, macs_before, macs_after, colours)
    draw_parity(parity, sites, worst)
    total = [millions(sum(n)) for n in (params_before, params_after, macs_before, macs_after)]
    tidy(params, f"parameters of each call site, log scale: {total[0]} → {total[1]} in all")
    tidy(macs, f"multiply-adds, log scale: {total[2]} → {total[3]} in all")
    tidy(
        parity,
        "largest difference from the original at the site, eval and train mode "
        f"(the network's output: {receipt.max_rel:.1g})",
    )
    label_blocks(parity, sites)
    parity.set_xlim(-0.6, len(sites) - 0.4)
    dynamic = sum(site.is_converted for site in sites)
    figure.suptitle(
        f"dynsurgeon convert resnet18: {dynamic} of {len(sites)} call sites become dynamic",
        x=0.01, ha="left", fontsize=12, fontweight="bold", color=INK,
    )  # fmt: skip
    kinds = {"static, or before": STATIC, "dynamic convolution": CONVOLUTION, "DY-ReLU-B": RELU}
    figure.legend(
        handles=[Patch(color=c, label=name) for name, c in kinds.items()],
        loc="upper right", bbox_to_anchor=(0.995, 0.955), ncols=3, frameon=False,
    )  # fmt: skip
    figure.tight_layout(rect=(0, 0, 1, 0.96))
    figure.savefig(path, facecolor=PAPER, metadata={"Date": None})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    mpl.use("svg")
    style = {"svg.fonttype": "none", "svg.hashsalt": "dynsurgeon", "font.size": 9}
    mpl.rcParams.update(style | {"font.family": "sans-serif", "text.color": INK})
    torch.set_num_threads(1)
    draw(parser.parse_args().path)
