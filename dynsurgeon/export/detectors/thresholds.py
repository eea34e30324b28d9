"""At which score threshold, and with which weights, a detector finds boxes to be compared by.

With random weights, or on random images, a detector finds nothing at its own threshold, and two
empty lists are equal whatever the file computes. So it is proven at a lower one as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from dynsurgeon.errors import ExportError
from dynsurgeon.export.arbiter import mixed_up
from dynsurgeon.export.cases import Case
from dynsurgeon.export.detectors.matching import match, total
from dynsurgeon.export.detectors.one_image import THRESHOLD, Detector
from dynsurgeon.export.detectors.revive import revived
from dynsurgeon.export.perturb import ATTEMPTS, State, perturbed_state
from dynsurgeon.export.running import replaced, without_onednn
from dynsurgeon.export.signature import tensors
from dynsurgeon.export.verify import references
from dynsurgeon.operators.contract import mixes_kernels
from dynsurgeon.operators.execution import forced_algorithm, stacked
from dynsurgeon.running.inputs import Inputs

LEAST, MOST = 10, 40
"""Boxes an image between which the threshold is laid."""

TIED = 1e-4
"""Scores that are nearer to each other than this share of them are told apart by rounding."""

Found = list[list[Tensor]]


def fitted_threshold(detector: Detector, state: State, cases: Sequence[Case]) -> State | None:
    """Return the threshold, by its key, at which some boxes are left and no score is near it.

    None if scores are near each other everywhere: then it is rounding that chooses boxes.

    Args:
        detector: The network, in eval mode.
        state: Weights in place of its own.
        cases: Images.

    Raises:
        ExportError: It finds no box at any threshold.
    """
    found = references(detector, {**state, THRESHOLD: torch.tensor(0.0)}, cases)
    scores = torch.cat([scores for _, _, scores in found]).sort(descending=True).values
    if not len(scores):
        raise ExportError(
            "the model finds no box in any image, whatever the threshold, so its file can't be "
            "verified: give larger images, or export its backbone"
        )
    least, most = (min(number * len(cases), len(scores)) for number in (LEAST, MOST))
    lower = torch.cat([scores[1:], scores.new_zeros(1)])
    middles, gaps = (scores + lower) / 2, (scores - lower) / scores.clamp(min=1e-30)
    place = least - 1 + int(gaps[least - 1 : most].argmax())
    return {THRESHOLD: middles[place].float()} if gaps[place] > TIED else None


def telling_weights(detector: Detector, cases: Sequence[Case], generator: torch.Generator) -> State:
    """Return weights far from the start, and a threshold, under which boxes tell a fault.

    They are the strongest perturbation under which the boxes of a mixed-up attention don't match,
    and those of two exact forms in torch do; or the last of the first kind, where none is so.

    Args:
        detector: The network, in eval mode; it stays as it is.
        cases: Images.
        generator: Source of the random numbers, on the CPU.

    Raises:
        ExportError: Under none of them boxes tell a fault.
    """
    images = Inputs(torch.cat([tensors(case.inputs)[0] for case in cases]))
    alive = revived(detector, images)
    state: State = {}
    for strength, damping in ATTEMPTS:
        with replaced(detector, alive):
            other = perturbed_state(detector, images, generator, strength, damping)
        threshold = fitted_threshold(detector, {**alive, **other}, cases)
        if threshold is None:
            continue
        tried = {**alive, **other, **threshold}
        expected = references(detector, tried, cases)
        if not tells(detector, tried, cases, expected):
            continue
        state = tried
        with _another_form(detector):
            if match_all(expected, references(detector, state, cases), cases):
                return state
    if not state:
        raise ExportError(
            f"{type(detector.network).__name__} can't be verified: under no weights that were "
            "tried its boxes would tell a mixed-up attention from rounding; export its backbone"
        )
    return state


def tells(detector: Detector, state: State, cases: Sequence[Case], expected: Found) -> bool:
    """Whether a mixed-up attention would be seen in the boxes; True if there is none."""
    if not mixes_kernels(detector):
        return True
    with forced_algorithm(mixed_up):
        return not match_all(expected, references(detector, state, cases), cases)


def match_all(expected: Found, found: Found, cases: Sequence[Case]) -> bool:
    """Whether the boxes of all images, taken together, match."""
    triples = zip(expected, found, cases, strict=True)
    return total([match(e, f, longer_side(case)) for e, f, case in triples]).passed


def longer_side(case: Case) -> int:
    """Return the longer side of a case's image in pixels."""
    return max(tensors(case.inputs)[0].shape[-2:])


def _another_form(detector: Detector) -> AbstractContextManager[None]:
    return forced_algorithm(stacked) if mixes_kernels(detector) else without_onednn()
