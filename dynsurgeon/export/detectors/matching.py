"""Compare what two detectors found in an image, by pairing boxes.

Their lists can't be compared entry by entry: boxes of nearly equal scores change places, and which
of two overlapping boxes is dropped, or whether a score is above the threshold, may hang on a
rounding. So each box of one list gets the nearest box of the other that has its label, about its
score and about its place; what gets none is counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dynsurgeon.running.differences import Tolerance

TOLERANCE: Tolerance = (1e-3, 1e-3)
"""How far a corner may be from its partner's, of the longer side of the image, and how far a
score. Ten to a hundred times what roundings make of them; a wrong kernel moves boxes by more."""

STRAYS = 0.05
"""Share of the boxes that may be without a partner: those at the threshold, or at a tie in NMS."""

MOST_STRAYS = 0.25
"""Share beyond which torch's own roundings choose other boxes, so that boxes say nothing."""


@dataclass(frozen=True)
class MatchedBoxes:
    """What was found in one image, by torch and by a file.

    Attributes:
        expected: Boxes that torch found.
        found: Boxes that the file found.
        matched: Pairs.
        pixels: Largest difference of a corner, in pixels, of all pairs.
        score: Largest difference of a score.
        allowed: How many of the longer list may be without a partner.
    """

    expected: int
    found: int
    matched: int
    pixels: float
    score: float
    allowed: int

    @property
    def unmatched(self) -> int:
        """Boxes of the longer list that have no partner."""
        return max(self.expected, self.found) - self.matched

    @property
    def compared(self) -> bool:
        """Whether anything was: there were boxes, and torch agrees with itself on most of them."""
        longer = max(self.expected, self.found)
        return self.expected > 0 and self.allowed < longer

    @property
    def passed(self) -> bool:
        """Whether no more boxes are without a partner than may be."""
        return self.unmatched <= self.allowed

    def __str__(self) -> str:
        return (
            f"{self.matched} of {max(self.expected, self.found)} boxes matched, largest difference "
            f"{self.pixels:.2g} pixels and {self.score:.2g} in score"
        )


def match(
    expected: Sequence[Tensor],
    found: Sequence[Tensor],
    side: int,
    strays: float = STRAYS,
) -> MatchedBoxes:
    """Pair the boxes of two lists, the nearest first.

    Args:
        expected: Boxes ``(M, 4)``, labels ``(M,)`` and scores ``(M,)`` that torch found.
        found: The same of the file.
        side: Longer side of the image in pixels.
        strays: Share of the boxes that may be without a partner.
    """
    near, certain = TOLERANCE
    corners = (expected[0][:, None].double() - found[0][None].double()).abs().amax(2)
    scores = (expected[2][:, None].double() - found[2][None].double()).abs()
    fits = (expected[1][:, None] == found[1][None]) & (corners <= near * side) & (scores <= certain)
    pairs = _nearest_first(corners.masked_fill(~fits, torch.inf))
    return MatchedBoxes(
        expected=len(expected[0]),
        found=len(found[0]),
        matched=len(pairs),
        pixels=max((float(corners[pair]) for pair in pairs), default=0.0),
        score=max((float(scores[pair]) for pair in pairs), default=0.0),
        allowed=int(strays * max(len(expected[0]), len(found[0]))),
    )


def total(all_boxes: Sequence[MatchedBoxes]) -> MatchedBoxes:
    """Return the sum over several images, and the largest differences."""
    counts = zip(*((b.expected, b.found, b.matched, b.allowed) for b in all_boxes), strict=True)
    expected, found, matched, allowed = (sum(column) for column in counts)
    pixels, score = max(b.pixels for b in all_boxes), max(b.score for b in all_boxes)
    return MatchedBoxes(expected, found, matched, pixels, score, allowed)


def box_notes(all_boxes: Sequence[MatchedBoxes]) -> tuple[str, ...]:
    """Return what a reader should know of boxes that were not compared, or have no partner."""
    nothing = sum(not boxes.compared for boxes in all_boxes)
    strays = sum(boxes.unmatched for boxes in all_boxes if boxes.compared)
    notes = []
    if nothing:
        notes.append(
            f"in {nothing} of {len(all_boxes)} checks no boxes were compared: there were none, or "
            "torch's own roundings choose others"
        )
    if strays:
        notes.append(f"{strays} boxes are without a partner, at the threshold or at a tie")
    return tuple(notes)


def _nearest_first(distance: Tensor) -> list[tuple[int, int]]:
    """Return disjoint pairs of rows and columns at finite distance, the nearest first."""
    rows, columns = distance.isfinite().nonzero(as_tuple=True)
    order = distance[rows, columns].argsort(stable=True)
    taken: tuple[set[int], set[int]] = (set(), set())
    pairs = []
    for i, j in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if i not in taken[0] and j not in taken[1]:
            taken[0].add(i)
            taken[1].add(j)
            pairs.append((i, j))
    return pairs
