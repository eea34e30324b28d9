"""A detector as a network of tensors: a batch of images in, boxes out.

torchvision's detectors take a list of images and return a dictionary for each. A file takes one
image, with a batch axis as every other file has, and returns what was found in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dynsurgeon.errors import ExportError
from dynsurgeon.running.inputs import Inputs

FOUND = ("boxes", "labels", "scores")
"""What a detector returns for an image."""

THRESHOLD = "score_threshold"
"""Name of the score below which boxes are dropped, as the file stores it."""

NETWORK = "network."
"""Before each key of the detector in the state_dict of `Detector`."""

IMAGE_AXES = 3


class Detector(nn.Module):
    """Takes images as one tensor, and holds the score threshold as a tensor too.

    So a file can be proven at another threshold than its own: a network that finds nothing at its
    own threshold would agree with any file.

    Args:
        network: The detector, in eval mode.
        threshold: Its `score_thresh`, or what to take instead.
    """

    score_threshold: Tensor

    def __init__(self, network: nn.Module, threshold: float | None = None) -> None:
        super().__init__()
        self.network = network
        self.eval()
        own = max((holder.score_thresh for holder in _holders(network)), default=0.0)
        self.register_buffer(THRESHOLD, torch.tensor(own if threshold is None else threshold))

    def forward(self, images: Tensor) -> Any:
        """Find boxes.

        Args:
            images: ``(N, 3, H, W)``, in [0, 1].

        Returns:
            Boxes ``(M, 4)`` in pixels, labels and scores ``(M,)``, by name; a list for N > 1.
        """
        with self._threshold():
            found = self.network([images[i] for i in range(len(images))])
        ordered = [{name: boxes[name] for name in FOUND} for boxes in found]
        return ordered if len(ordered) > 1 else ordered[0]

    @contextmanager
    def _threshold(self) -> Iterator[None]:
        holders = [(holder, holder.score_thresh) for holder in _holders(self.network)]
        try:
            for holder, _ in holders:
                holder.score_thresh = self.score_threshold
            yield
        finally:
            for holder, own in holders:
                holder.score_thresh = own


def _holders(network: nn.Module) -> list[Any]:
    """Return the modules that drop boxes of low score; a first stage, at 0, drops none."""
    values = ((m, getattr(m, "score_thresh", None)) for m in network.modules())
    return [module for module, value in values if isinstance(value, float) and value > 0]


def takes_images(inputs: Inputs) -> bool:
    """Whether these are the inputs of a detector: a list of images, and nothing else."""
    if len(inputs.args) != 1 or inputs.kwargs or not isinstance(inputs.args[0], list | tuple):
        return False
    images = inputs.args[0]
    return bool(images) and all(isinstance(i, Tensor) and i.dim() == IMAGE_AXES for i in images)


def one_image(inputs: Inputs) -> Inputs:
    """Return the first image of a detector's inputs as a batch of one."""
    return Inputs(inputs.args[0][0].unsqueeze(0))


def check_found(found: Any) -> None:
    """Make sure that a network returned boxes, and nothing that can't be matched.

    Raises:
        ExportError: It did not; says what to do.
    """
    keys = set(found) if isinstance(found, dict) else set()
    if keys == set(FOUND):
        return
    more = sorted(keys - set(FOUND))
    what = f"{', '.join(more)} beside its boxes" if more and keys > set(FOUND) else "no boxes"
    raise ExportError(
        f"the model takes a list of images and returns {what}; only boxes with labels and scores "
        "can be verified, by matching them: export its backbone"
    )
