"""Two files of one network on the same images: answers, numbers, time and bytes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dynsurgeon.errors import DataError
from dynsurgeon.graphs.saving import data_path
from dynsurgeon.running.differences import difference
from dynsurgeon.runtimes.onnxruntime import Session, timed_session
from dynsurgeon.timing.interleave import interleaved

ROUNDS, MOST_SECONDS = 30, 20.0
"""Timed rounds, and the seconds after which they end."""


@dataclass(frozen=True)
class FileComparison:
    """What a second file of the same network does otherwise.

    Attributes:
        images: Images that both ran on.
        agreement: Share of them whose largest output is the same.
        accuracy_before: Share of them that the first file classified right; None without labels.
        accuracy_after: The same of the second.
        max_rel: Largest difference of an output over the largest output.
        speed_ratio: Time of the second over the first, one image; median round by round.
        bytes_before: Size of the first file.
        bytes_after: Size of the second.
    """

    images: int
    agreement: float
    accuracy_before: float | None
    accuracy_after: float | None
    max_rel: float
    speed_ratio: float
    bytes_before: int
    bytes_after: int

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return asdict(self)


def compare_files(
    before: Path,
    after: Path,
    batches: Iterable[tuple[Tensor, Tensor | None]],
    *,
    threads: int | None = None,
) -> FileComparison:
    """Run two files of one input on the same images, and time them on the first one.

    Args:
        before: The first file; its batch is free, as that of the other.
        after: The second.
        batches: Images ``(N, C, H, W)``, and their classes ``(N,)`` or None.
        threads: Threads of an operator; torch's number by default.

    Raises:
        DataError: There is no image.
    """
    sessions = [Session(path, threads=threads) for path in (before, after)]
    scores: list[list[Tensor]] = [[], []]
    labels: list[Tensor] = []
    sample: Tensor | None = None
    for inputs, known in batches:
        sample = inputs[:1] if sample is None else sample
        for session, found in zip(sessions, scores, strict=True):
            found.append(session.run([inputs])[0].flatten(1))
        if known is not None:
            labels.append(known)
    if sample is None:
        raise DataError("there is no image to compare the files on")
    first, second = (torch.cat(found) for found in scores)
    best = [found.argmax(1) for found in (first, second)]
    truth = torch.cat(labels) if labels else None
    accuracy = [None if truth is None else _share(b == truth) for b in best]
    return FileComparison(
        images=len(first),
        agreement=_share(best[0] == best[1]),
        accuracy_before=accuracy[0],
        accuracy_after=accuracy[1],
        max_rel=difference(first, second).relative,
        speed_ratio=_ratio(before, after, sample, threads),
        bytes_before=file_bytes(before),
        bytes_after=file_bytes(after),
    )


def file_bytes(path: Path) -> int:
    """Return the size of a file, and of its data file if it has one."""
    return sum(part.stat().st_size for part in (path, data_path(path)) if part.exists())


def _share(hits: Tensor) -> float:
    return float(hits.double().mean())


def _ratio(before: Path, after: Path, sample: Tensor, threads: int | None) -> float:
    count = torch.get_num_threads() if threads is None else threads
    files = {"before": before, "after": after}
    calls = {name: timed_session(path, [sample], threads=count) for name, path in files.items()}
    times = interleaved(calls, rounds=ROUNDS, max_seconds=MOST_SECONDS)
    return times["after"].against(times["before"]).paired
