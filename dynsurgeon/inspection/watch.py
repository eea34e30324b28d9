"""What one dynamic site says of each sample, gathered while the network runs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from dynsurgeon.operators.contract import DynamicLayer
from dynsurgeon.training.moments import Moments

COLUMNS = 64
"""Of a layer with more numbers a sample, so many are kept for its quantiles."""

MAPS = 6
"""Samples whose spatial attention is kept."""

PLACES = "places"
KERNELS = "kernels"


class Watch:
    """Takes in what a layer says of batch after batch.

    Args:
        layer: The dynamic layer.

    Attributes:
        weights: Pieces of its attention over kernels ``(N, K)``.
        values: For each kind of number, pieces of up to `COLUMNS` numbers a sample.
        spread: For each kind, mean and variance of each number over the samples.
        by_class: For each kind, the same of each class's samples.
        shapes: For each kind, the shape of what there is for one sample.
        maps: Spatial attention of some samples, by their numbers.
        inputs: Mean and variance of all that went into the layer.
    """

    def __init__(self, layer: DynamicLayer) -> None:
        self.layer = layer
        self.weights: list[Tensor] = []
        self.values: dict[str, list[Tensor]] = {}
        self.spread: dict[str, Moments] = {}
        self.by_class: dict[str, dict[int, Moments]] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.maps: dict[int, Tensor] = {}
        self.inputs = Moments()

    def see(self, x: Tensor, labels: Tensor, wanted: Mapping[int, int]) -> None:
        """Take in the input of one call.

        Args:
            x: The layer's input ``(N, C, …)``.
            labels: Each sample's class ``(N,)``.
            wanted: Samples whose maps are kept: position in the batch and number.
        """
        self.inputs.add(x.reshape(-1, 1))
        for name, signal in self.layer.signals(x).items():
            self._note(name, signal.detach().cpu(), labels, wanted)

    def _note(self, name: str, signal: Tensor, labels: Tensor, wanted: Mapping[int, int]) -> None:
        if name == PLACES:
            self.maps.update((number, signal[i, 0].float()) for i, number in wanted.items())
        elif name == KERNELS:
            self.weights.append(signal.double())
        flat = signal.flatten(1)
        step = -(-flat.shape[1] // COLUMNS)
        self.values.setdefault(name, []).append(flat[:, ::step].float())
        self.spread.setdefault(name, Moments()).add(flat)
        self.shapes[name] = tuple(signal.shape[1:])
        if name == PLACES:
            return
        parts = self.by_class.setdefault(name, {})
        for label in sorted(set(labels.tolist())):
            parts.setdefault(label, Moments()).add(flat[labels == label])

    def means(self, name: str, classes: int) -> Tensor:
        """Return the mean of one kind of number in each class, NaN where there is no sample."""
        shape = self.shapes[name]
        found = self.by_class[name]
        missing = torch.full(shape, torch.nan, dtype=torch.float64).flatten()
        rows = [found[i].mean if i in found else missing for i in range(classes)]
        return torch.stack(rows).view(classes, *shape)
