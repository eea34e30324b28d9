"""One file of a detector against torch, with one set of weights and one threshold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from dynsurgeon.errors import ExportError, RuntimeRefusalError, UnsupportedModelError
from dynsurgeon.export.cases import Case
from dynsurgeon.export.detectors.matching import MOST_STRAYS, STRAYS, MatchedBoxes, match
from dynsurgeon.export.detectors.one_image import Detector
from dynsurgeon.export.detectors.thresholds import Found, longer_side
from dynsurgeon.export.result import ExportCheck
from dynsurgeon.export.running import State, without_onednn
from dynsurgeon.export.signature import tensors
from dynsurgeon.export.trial import open_session
from dynsurgeon.export.verify import references
from dynsurgeon.messages import first_line
from dynsurgeon.operators.contract import mixes_kernels
from dynsurgeon.operators.execution import forced_algorithm, grouped, stacked
from dynsurgeon.running.copying import double_of
from dynsurgeon.running.run import as_double
from dynsurgeon.runtimes.contract import LoadedFile, Runtime


@dataclass(frozen=True)
class DetectorTrial:
    """A file and the weights that are in it.

    Attributes:
        prefix: Put before the name of each check.
        path: The file.
        state: Weights in place of the detector's own, by their key in its state_dict.
    """

    prefix: str
    path: Path
    state: State

    def run(
        self,
        detector: Detector,
        cases: Sequence[Case],
        *,
        optimized: bool = True,
        runtime: Runtime | None = None,
    ) -> list[ExportCheck]:
        """Compare the file with `detector`, which must be in eval mode, on every case.

        Where too many boxes are without a partner, torch's other exact forms say how many may be.

        Args:
            detector: The network.
            cases: Images.
            optimized: Whether onnxruntime may rewrite the graph.
            runtime: What runs the file instead of onnxruntime.

        Raises:
            ExportError: The runtime can't load or run the file.
        """
        session: LoadedFile
        if runtime is None:
            session = open_session(self.path, torch.float32, optimized=optimized)
        else:
            session = runtime.load(self.path, torch.get_num_threads())
        expected = references(detector, self.state, cases)
        found = [_run(session, case) for case in cases]
        boxes = _matched(expected, found, cases, STRAYS)
        if not all(each.passed for each in boxes):
            strays = self._own_strays(detector, cases, expected)
            boxes = _matched(expected, found, cases, max(STRAYS, strays))
        return [
            _check(f"{self.prefix}{case.name}", each, longer_side(case))
            for case, each in zip(cases, boxes, strict=True)
        ]

    def _own_strays(
        self, detector: Detector, cases: Sequence[Case], expected: Sequence[Sequence[Tensor]]
    ) -> float:
        """Return twice the share of boxes that torch's own roundings leave without a partner.

        Where that is most of them, the comparison says nothing, and all may be without one.
        """
        worst = 0.0
        for again in self._other_runs(detector, cases):
            boxes = _matched(expected, again, cases, STRAYS)
            shares = [b.unmatched / max(b.expected, b.found, 1) for b in boxes]
            worst = max(worst, *shares)
        return 2 * worst if worst <= MOST_STRAYS else 1.0

    def _other_runs(self, detector: Detector, cases: Sequence[Case]) -> Iterator[Found]:
        ways: list[AbstractContextManager[None]] = [without_onednn()]
        if mixes_kernels(detector):
            ways += [forced_algorithm(grouped), forced_algorithm(stacked)]
        for way in ways:
            with way:
                outputs = references(detector, self.state, cases)
            yield outputs
        with suppress(UnsupportedModelError, ExportError):  # not every model runs in float64
            yield _in_double(detector, self.state, cases)


def _in_double(detector: Detector, state: State, cases: Sequence[Case]) -> Found:
    doubled = {key: t.double() if t.is_floating_point() else t for key, t in state.items()}
    fed = [replace(case, inputs=as_double(case.inputs)) for case in cases]
    return references(double_of(detector), doubled, fed)


def _run(session: LoadedFile, case: Case) -> list[Tensor]:
    try:
        return session.run(tensors(case.inputs))
    except RuntimeRefusalError:
        raise
    except Exception as error:
        raise ExportError(
            f"onnxruntime can't run the exported graph at {case.name}: {first_line(error)}"
        ) from error


def _matched(
    expected: Sequence[Sequence[Tensor]],
    found: Sequence[Sequence[Tensor]],
    cases: Sequence[Case],
    strays: float,
) -> list[MatchedBoxes]:
    triples = zip(expected, found, cases, strict=True)
    return [match(e, f, longer_side(case), strays) for e, f, case in triples]


def _check(name: str, boxes: MatchedBoxes, side: int) -> ExportCheck:
    relative = max(boxes.pixels / side, boxes.score)
    return ExportCheck(name, 1, boxes.pixels, relative, boxes.passed, boxes=boxes)
