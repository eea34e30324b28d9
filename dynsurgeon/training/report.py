"""What the attention of a dynamic network does on data, in numbers, site by site."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dynsurgeon.errors import UnsupportedModelError
from dynsurgeon.html_table import html_table
from dynsurgeon.operators import KernelMixture
from dynsurgeon.running.run import preserved
from dynsurgeon.training.feed import Batch, feed, samples_of, take_batches

HEADER = ("site", "K", "tau", "entropy", "varies", "spread", "share", "leads")


@dataclass(frozen=True)
class SiteAttention:
    """One dynamic convolution on the data that was seen.

    Attributes:
        name: Dotted name of the dynamic convolution.
        experts: Number of kernels K.
        temperature: tau in force.
        entropy: Mean entropy of the attention over log K: 1 is flat, 0 is one-hot.
        variation: Standard deviation of pi over the samples, at the root mean square over K: 0
            means that every sample gets the same kernel, however the attention looks.
        spread: Standard deviation of the kernels around their mean, over the root mean square of
            the mean kernel.
        concentration: Mean of sum_k pi_k^2, the share of a static step that the mixed kernel makes;
            from 1/K (flat) to 1 (one-hot).
        leads: Share of the samples in which each kernel has the largest weight; sums to 1.
    """

    name: str
    experts: int
    temperature: float
    entropy: float
    variation: float
    spread: float
    concentration: float
    leads: tuple[float, ...]


@dataclass(frozen=True)
class AttentionReport:
    """The attention of every dynamic convolution; its text form is a table.

    Attributes:
        sites: One entry for each dynamic convolution that ran, in the order of the model.
        samples: Number of samples seen.
        notes: What could not be seen or done, and why.
    """

    sites: tuple[SiteAttention, ...]
    samples: int
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON values."""
        return {
            "sites": [{**asdict(site), "leads": list(site.leads)} for site in self.sites],
            "samples": self.samples,
            "notes": list(self.notes),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> AttentionReport:
        """Build it from `to_dict`, or from `dataclasses.asdict`."""
        sites = (
            SiteAttention(**{**site, "leads": tuple(site["leads"])}) for site in values["sites"]
        )
        return cls(tuple(sites), values["samples"], tuple(values["notes"]))

    def _repr_html_(self) -> str:
        title = f"attention of {len(self.sites)} sites on {self.samples} samples"
        return html_table(HEADER, map(_row, self.sites), title=title, notes=self.notes)

    def __str__(self) -> str:
        rows = [HEADER, *(_row(site) for site in self.sites)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(HEADER))]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        lines.insert(1, "-" * max(map(len, lines)))
        lines.append(f"{self.samples} samples")
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def attention_report(
    model: nn.Module, batches: Iterable[Batch], *, samples: int | None = None
) -> AttentionReport:
    """Run `model` in eval mode on data and describe its attention; the model stays as it is.

    Args:
        model: A network with dynamic convolutions, at any time of its life.
        batches: Tensors; tuples whose first entry is the input, as data loaders yield them; or
            mappings of keyword arguments.
        samples: Stop after about so many samples; None reads all batches.

    Raises:
        UnsupportedModelError: The model has no dynamic convolution, or none runs.
        ConfigError: There is no batch.
    """
    convolutions = dynamic_convolutions(model)
    seen: dict[str, list[Tensor]] = {name: [] for name in convolutions}
    count = 0

    def note(name: str, module: nn.Module, inputs: Any, pi: Tensor) -> None:
        seen[name].append(pi.detach().double().cpu())

    with preserved(model, "eval"), ExitStack() as stack:
        for name, conv in convolutions.items():
            stack.enter_context(conv.attention.register_forward_hook(partial(note, name)))
        for batch in take_batches(model, batches, samples):
            feed(model, batch)
            count += samples_of(batch)
    return summarize(convolutions, {k: torch.cat(v) for k, v in seen.items() if v}, count)


def summarize(
    convolutions: dict[str, KernelMixture],
    attention: dict[str, Tensor],
    samples: int,
    notes: tuple[str, ...] = (),
) -> AttentionReport:
    """Describe each convolution by the attention ``(N, K)`` that it gave.

    Raises:
        UnsupportedModelError: None of them gave any.
    """
    if not attention:
        raise UnsupportedModelError("no dynamic convolution ran on these batches")
    idle = [
        f"{name} did not run on these batches" for name in convolutions if name not in attention
    ]
    sites = (describe(name, convolutions[name], pi) for name, pi in attention.items())
    return AttentionReport(tuple(sites), samples, (*notes, *idle))


def dynamic_convolutions(model: nn.Module) -> dict[str, KernelMixture]:
    """Return the dynamic convolutions of `model` by name.

    Raises:
        UnsupportedModelError: It has none.
    """
    found = {
        name: m for name, m in model.named_modules() if isinstance(m, KernelMixture) and m.mixes
    }
    if not found:
        raise UnsupportedModelError(
            f"this {type(model).__name__} has no dynamic convolution; convert it first"
        )
    return found


def entropy_of(pi: Tensor) -> Tensor:
    """Return the mean over the samples of the entropy of ``(N, K)``, over log K."""
    if pi.shape[1] == 1:
        return pi.new_ones(())
    entropy: Tensor = -torch.special.xlogy(pi, pi).sum(1).mean()
    return entropy / math.log(pi.shape[1])


def kernel_spread(bank: Tensor) -> float:
    """Return the deviation of K kernels ``(K, ...)`` from their mean, relative to the mean."""
    flat = bank.detach().double().flatten(1)
    # Around the first kernel, so that identical kernels give exactly 0.
    away = flat - flat[:1]
    mean = flat[0] + away.mean(0)
    deviation = (away - away.mean(0)).pow(2).mean().sqrt()
    scale = mean.pow(2).mean().sqrt()
    return float(deviation / scale) if scale > 0 else (math.inf if deviation > 0 else 0.0)


def describe(name: str, conv: KernelMixture, pi: Tensor) -> SiteAttention:
    """Describe the attention ``(N, K)`` that one convolution gave."""
    leads = torch.bincount(pi.argmax(1), minlength=conv.experts) / len(pi)
    return SiteAttention(
        name=name,
        experts=conv.experts,
        temperature=float(conv.attention.temperature),
        entropy=float(entropy_of(pi)),
        variation=float(pi.var(0, correction=0).mean().sqrt()),
        spread=kernel_spread(conv.weight),
        concentration=float(pi.pow(2).sum(1).mean()),
        leads=tuple(leads.tolist()),
    )


def _row(site: SiteAttention) -> tuple[str, ...]:
    return (
        site.name,
        str(site.experts),
        f"{site.temperature:g}",
        f"{site.entropy:.0%}",
        f"{site.variation:.3f}",
        f"{site.spread:.3f}",
        f"{site.concentration:.2f}",
        " ".join(f"{share:.0%}" for share in site.leads),
    )
