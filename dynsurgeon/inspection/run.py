"""Run a dynamic network on data, and ask every dynamic layer what it does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dynsurgeon.errors import ConfigError, UnsupportedModelError
from dynsurgeon.inspection.results import Inspection
from dynsurgeon.inspection.summary import summarize_site
from dynsurgeon.inspection.watch import MAPS, Watch
from dynsurgeon.operators.contract import DynamicLayer, dynamic_layers
from dynsurgeon.running.run import preserved
from dynsurgeon.training.feed import Batch, feed, samples_of, take_batches

ALL = "all samples"
"""Name of the one class of samples without labels."""


def inspect(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    classes: Sequence[str] | None = None,
    samples: int | None = None,
) -> Inspection:
    """Run `model` in eval mode on data, and say what each dynamic site does; the model stays.

        found = ds.inspect(dynamic, loader, classes=names)
        found["layer4.1.conv2"].kernels.by_class

    Args:
        model: A converted network, at any time of its life.
        batches: As `attention_report` takes them. Of ``(inputs, labels)`` with one integer a
            sample, samples are grouped by the labels.
        classes: Names of the classes; by default the numbers.
        samples: Stop after about so many samples; None reads all batches.

    Raises:
        UnsupportedModelError: The model has no dynamic layer, or none ran.
        ConfigError: There is no batch, or a label has no name in `classes`.
    """
    layers = dict(dynamic_layers(model))
    if not layers:
        raise UnsupportedModelError(
            f"this {type(model).__name__} has no dynamic layer; convert it first"
        )
    inspector = _Inspector(layers)
    with preserved(model, "eval"), ExitStack() as stack:
        for name, layer in layers.items():
            hook = layer.register_forward_pre_hook(partial(inspector.note, name))
            stack.callback(hook.remove)
        for batch in take_batches(model, batches, samples):
            inspector.begin(batch)
            feed(model, batch)
    return inspector.result(classes)


class _Inspector:
    """What is gathered while the batches go through."""

    def __init__(self, layers: dict[str, DynamicLayer]) -> None:
        self.watches = {name: Watch(layer) for name, layer in layers.items()}
        self.labels: list[Tensor] = []
        self.labelled = False
        self.count, self.size = 0, 0
        self.pictured: list[int] = []
        self.shown: dict[int, int] = {}
        self.seen: set[str] = set()
        self.again: set[str] = set()
        self.apart: set[str] = set()

    def begin(self, batch: Batch) -> None:
        """Take in what is known of a batch before it runs."""
        self.count += self.size
        self.size = samples_of(batch)
        labels = _labels_of(batch)
        if self.labels and (labels is not None) != self.labelled:
            raise ConfigError("some batches have a label for each sample, and others have none")
        self.labelled = labels is not None
        self.labels.append(torch.zeros(self.size, dtype=torch.long) if labels is None else labels)
        self.shown = self._chosen(self.labels[-1])
        self.seen = set()

    def _chosen(self, labels: Tensor) -> dict[int, int]:
        """Choose samples whose maps are shown: the first of each class, or else the first."""
        chosen: dict[int, int] = {}
        for i, label in enumerate(labels.tolist()):
            if len(self.pictured) < MAPS and not (self.labelled and label in self.pictured):
                self.pictured.append(label)
                chosen[i] = self.count + i
        return chosen

    def note(self, name: str, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        """Ask a layer about its input."""
        x = inputs[0] if inputs else None
        if not isinstance(x, Tensor) or x.dim() < 2 or len(x) != self.size:
            self.apart.add(name)
        elif name in self.seen:
            self.again.add(name)
        else:
            self.seen.add(name)
            self.watches[name].see(x.detach(), self.labels[-1], self.shown)

    def result(self, classes: Sequence[str] | None) -> Inspection:
        """Summarize everything."""
        labels = torch.cat(self.labels)
        names = _names(labels, classes) if self.labelled else (ALL,)
        ran = {name: watch for name, watch in self.watches.items() if watch.values}
        if not ran:
            raise UnsupportedModelError("no dynamic layer ran on these batches")
        sites = (summarize_site(name, watch, len(names)) for name, watch in ran.items())
        return Inspection(tuple(sites), names, labels, len(labels), tuple(self._notes(ran)))

    def _notes(self, ran: dict[str, Watch]) -> Iterable[str]:
        for name in sorted(self.again):
            yield f"{name} runs several times on each batch; its first run is shown"
        for name in self.watches:
            if name in ran:
                continue
            if name in self.apart:
                yield f"{name} does not get one input a sample, and is left out"
            else:
                yield f"{name} did not run on these batches, or says nothing of itself"


def _labels_of(batch: Batch) -> Tensor | None:
    """Return the labels of a batch, or None if it has none."""
    if isinstance(batch, (tuple, list)) and len(batch) > 1:
        found = batch[1]
        whole = isinstance(found, Tensor) and not found.is_floating_point()
        if whole and tuple(found.shape) == (samples_of(batch),) and not bool((found < 0).any()):
            labels: Tensor = found.detach().cpu().long()
            return labels
    return None


def _names(labels: Tensor, classes: Sequence[str] | None) -> tuple[str, ...]:
    count = int(labels.max()) + 1
    if classes is None:
        return tuple(map(str, range(count)))
    if count > len(classes):
        raise ConfigError(f"there is a label {count - 1}, but classes names {len(classes)}")
    return tuple(map(str, classes))
