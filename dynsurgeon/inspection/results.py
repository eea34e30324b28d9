"""What an inspection finds, as values."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from dynsurgeon.errors import ConfigError
from dynsurgeon.training.report import AttentionReport, SiteAttention

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, eq=False)
class KernelUse:
    """The attention over the kernels of one site.

    Attributes:
        report: Entropy, variation, and how often each kernel leads.
        weights: Attention ``(N, K)`` for each sample; each row sums to 1.
        by_class: Mean attention ``(classes, K)``; NaN for a class without samples.
        distances: Root mean square of each kernel's difference from the first, over that of the
            first kernel itself.
        leaders: For each kernel the samples in which its weight is largest, the largest first.
    """

    report: SiteAttention
    weights: Tensor
    by_class: Tensor
    distances: tuple[float, ...]
    leaders: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Factor:
    """Numbers of one kind that the input decides: slopes, factors, a gate.

    Attributes:
        name: What they are.
        quantiles: Their 5, 25, 50, 75 and 95 percent points over samples and channels; of a layer
            with many, over an evenly spaced part of these.
        variation: Standard deviation over the samples, at the root mean square over the numbers:
            0 means that the input decides nothing.
    """

    name: str
    quantiles: tuple[float, ...]
    variation: float


@dataclass(frozen=True, eq=False)
class Curves:
    """What a dynamic activation makes of numbers, class by class.

    Attributes:
        x: The numbers ``(P,)``, over the range that the site's inputs have.
        channels: The channels that are shown: those in which classes differ most.
        y: What comes out ``(channels, classes, P)``, with each class's mean lines.
    """

    x: Tensor
    channels: tuple[int, ...]
    y: Tensor


@dataclass(frozen=True, eq=False)
class Places:
    """The spatial attention of a DY-ReLU-C.

    Attributes:
        samples: The samples that are shown.
        maps: Their attention ``(M, H, W)``, from 0 to 1; a third everywhere at the start.
    """

    samples: tuple[int, ...]
    maps: Tensor


@dataclass(frozen=True, eq=False)
class SiteInspection:
    """What one dynamic site did.

    Attributes:
        name: Its dotted name.
        operator: Its class.
        moves: How much what it computes varies over the samples: the largest `variation`.
        kernels: The attention over its kernels, if it has one.
        factors: Every kind of number that its input decides.
        curves: What it makes of numbers, if it is a function of one number.
        places: Its spatial attention, if it has one.
    """

    name: str
    operator: str
    moves: float
    kernels: KernelUse | None
    factors: tuple[Factor, ...]
    curves: Curves | None
    places: Places | None


@dataclass(frozen=True, eq=False)
class Inspection:
    """What every dynamic site did with data; its text form is a table.

    Attributes:
        sites: One entry for each dynamic site that ran, in the order of the model.
        classes: Names of the classes that samples are grouped by; one for all without labels.
        labels: Position ``(N,)`` of each sample's class.
        samples: Number of samples seen, N.
        notes: What could not be seen, and why.
    """

    sites: tuple[SiteInspection, ...]
    classes: tuple[str, ...]
    labels: Tensor
    samples: int
    notes: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> SiteInspection:
        """Return the site of that name.

        Raises:
            KeyError: There is none.
        """
        for site in self.sites:
            if site.name == name:
                return site
        raise KeyError(name)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values, without what there is of each sample alone."""
        return {
            "samples": self.samples,
            "classes": list(self.classes),
            "sites": [_site_dict(site) for site in self.sites],
            "notes": list(self.notes),
        }

    def to_pandas(self) -> Any:
        """Return a pandas DataFrame with a row a site and kind of number.

        Raises:
            ConfigError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ConfigError("to_pandas takes pandas: pip install pandas") from error
        return pandas.DataFrame(self.records())

    def records(self) -> list[dict[str, Any]]:
        """Return a row a site and kind of number, as a table or a file of CSV takes them."""
        columns = [f"q{100 * q:.0f}" for q in QUANTILES]
        return [
            {
                "site": site.name,
                "operator": site.operator,
                "what": factor.name,
                "variation": factor.variation,
                **dict(zip(columns, factor.quantiles, strict=True)),
                "entropy": None if site.kernels is None else site.kernels.report.entropy,
            }
            for site in self.sites
            for factor in site.factors
        ]

    def __str__(self) -> str:
        lines = [
            f"{row['site']}  {row['operator']}  {row['what']}: median {row['q50']:.3g}, "
            f"varies by {row['variation']:.3g}"
            for row in self.records()
        ]
        attention = tuple(site.kernels.report for site in self.sites if site.kernels)
        if attention:
            lines += ["", str(AttentionReport(attention, self.samples))]
        else:
            lines.append(f"{self.samples} samples")
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def _site_dict(site: SiteInspection) -> dict[str, Any]:
    kernels, curves = site.kernels, site.curves
    return {
        "name": site.name,
        "operator": site.operator,
        "moves": site.moves,
        "kernels": None
        if kernels is None
        else {
            "report": {**asdict(kernels.report), "leads": list(kernels.report.leads)},
            "by_class": _rounded(kernels.by_class),
            "distances": list(kernels.distances),
            "leaders": [list(one) for one in kernels.leaders],
        },
        "factors": [{**asdict(one), "quantiles": list(one.quantiles)} for one in site.factors],
        "curves": None
        if curves is None
        else {
            "x": _rounded(curves.x),
            "channels": [
                {"channel": channel, "y": _rounded(y)}
                for channel, y in zip(curves.channels, curves.y, strict=True)
            ],
        },
        "places": None if site.places is None else {"samples": list(site.places.samples)},
    }


def _rounded(tensor: Tensor) -> Any:
    """Return nested lists of numbers of five digits, None for NaN, which JSON does not have."""
    return _each(tensor.tolist())


def _each(value: Any) -> Any:
    if isinstance(value, list):
        return [_each(one) for one in value]
    return None if math.isnan(value) else float(f"{value:.5g}")
