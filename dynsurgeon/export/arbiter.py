"""Tell rounding from a fault: how far may a file be from its network in float64?

Some networks blow roundings up: they subtract large means, or divide by small variances. Their own
float32 in torch is then farther from float64 than a file may usually be from torch, and a correct
file, whose roundings are others, is as far. So a file that fails is compared with the network in
float64, and may be off by a small multiple of what float32 in torch is off itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from torch import Tensor, nn

from dynsurgeon.errors import UnsupportedModelError
from dynsurgeon.export.cases import Case
from dynsurgeon.export.result import ExportCheck
from dynsurgeon.export.running import State, without_onednn
from dynsurgeon.export.signature import tensors
from dynsurgeon.export.verify import references
from dynsurgeon.operators.contract import mixes_kernels
from dynsurgeon.operators.execution import forced_algorithm, grouped, stacked
from dynsurgeon.operators.geometry import ConvGeometry
from dynsurgeon.running.copying import double_of
from dynsurgeon.running.differences import Tolerance, difference, is_within
from dynsurgeon.running.run import as_double
from dynsurgeon.runtimes.contract import LoadedFile

FACTOR = 4.0
"""Times that a file may be farther from float64 than float32 in torch is.

Both are sums of many small roundings, amplified alike: two draws from nearly one distribution. The
file's may be wider by about the square root of 2, for folding BatchNorm rounds the weights again,
and onnxruntime sums in another order. The rest is for chance: torch's is the largest of several
draws (cases, times algorithms), hardly below 0.8 standard deviations even where an output is a
single number, and the file's then hardly above 2.3."""
MOST = 5e-3
"""Allowed at most, of the largest output: where float32 itself is off by so much, a correct file
can't be told from a wrong one."""
SEEN = 10.0
"""Times that a mixed-up attention must change an output more than is allowed."""


@dataclass(frozen=True)
class Arbiter:
    """A network in float64.

    Attributes:
        exact: Its outputs on each case.
        allowed: Distance from them that a file may have, by output, of the largest value.
    """

    exact: Sequence[Sequence[Tensor]]
    allowed: Sequence[float]

    @classmethod
    def of(
        cls,
        model: nn.Module,
        state: State,
        cases: Sequence[Case],
        expected: Sequence[Sequence[Tensor]],
    ) -> Arbiter | None:
        """Run the network in float64, and in torch's other exact algorithms of float32.

        Args:
            model: The network, in eval mode and float32.
            state: Weights in place of its own.
            cases: What it is run on.
            expected: Its outputs in float32.

        Returns:
            None if it does not run in float64.
        """
        doubled = {
            key: tensor.double() if tensor.is_floating_point() else tensor
            for key, tensor in state.items()
        }
        try:
            network = double_of(model)
            fed = [replace(case, inputs=as_double(case.inputs)) for case in cases]
            exact = references(network, doubled, fed)
        except UnsupportedModelError:
            return None
        runs = [expected, *_other_forms(model, state, cases)]
        own = [_farthest(run, exact) for run in runs]
        allowed = [min(FACTOR * max(distances), MOST) for distances in zip(*own, strict=True)]
        if state and mixes_kernels(model):
            with forced_algorithm(mixed_up):
                wrong = _farthest(references(model, state, cases), exact)
            allowed = [min(a, w / SEEN) if w else a for a, w in zip(allowed, wrong, strict=True)]
        return cls(exact, allowed)

    def judge(
        self,
        check: ExportCheck,
        found: Sequence[Tensor],
        expected: Sequence[Tensor],
        exact: Sequence[Tensor],
        tolerance: Tolerance,
    ) -> ExportCheck:
        """Return a failed check with what float64 says of it.

        Args:
            check: The failed check.
            found: The file's outputs.
            expected: torch's, in float32.
            exact: torch's, in float64.
            tolerance: Allowed difference from `expected`, where that is enough.
        """
        passed, off, allowance = True, 0.0, 0.0
        for f, e, x, allowed in zip(found, expected, exact, self.allowed, strict=True):
            if is_within(e, f, tolerance):
                continue
            distance = difference(x, f).relative_or_gap
            passed &= e.is_floating_point() and distance <= allowed
            if distance >= off:
                off, allowance = distance, allowed
        return replace(check, passed=passed, float64_rel=off, float64_allowed=allowance)


def arbitrate(
    model: nn.Module,
    state: State,
    cases: Sequence[Case],
    expected: Sequence[Sequence[Tensor]],
    session: LoadedFile,
    checks: Sequence[ExportCheck],
    tolerance: Tolerance,
) -> list[ExportCheck]:
    """Judge the failed ones among `checks`, one a case, in float64.

    Args:
        model: The network, in eval mode and float32.
        state: Weights in place of its own.
        cases: What it was run on.
        expected: Its outputs.
        session: The file.
        checks: What comparing the two gave.
        tolerance: What was allowed.
    """
    hopeful = [not check.passed and check.max_rel < float("inf") for check in checks]
    arbiter = Arbiter.of(model, state, cases, expected) if any(hopeful) else None
    if arbiter is None:
        return list(checks)
    judged = list(checks)
    for i in (i for i, doubtful in enumerate(hopeful) if doubtful):
        found = session.run(tensors(cases[i].inputs))
        judged[i] = arbiter.judge(checks[i], found, expected[i], arbiter.exact[i], tolerance)
    return judged


def _other_forms(
    model: nn.Module, state: State, cases: Sequence[Case]
) -> Iterator[list[list[Tensor]]]:
    ways: list[AbstractContextManager[object]] = [without_onednn()]
    if mixes_kernels(model):
        ways += [forced_algorithm(grouped), forced_algorithm(stacked)]
    for way in ways:
        with way:
            outputs = references(model, state, cases)
        yield outputs


def mixed_up(
    x: Tensor, pi: Tensor, weight: Tensor, bias: Tensor | None, geometry: ConvGeometry
) -> Tensor:
    """Convolve with each kernel's share given to the next kernel: a fault, made on purpose."""
    return grouped(x, pi.roll(1, 1), weight, bias, geometry)


def _farthest(runs: Sequence[Sequence[Tensor]], exact: Sequence[Sequence[Tensor]]) -> list[float]:
    """Return the largest distance of any case, by output; 0 for what is no floating number."""
    by_case = [
        [
            difference(x, f).relative_or_gap if x.is_floating_point() else 0.0
            for f, x in zip(one, other, strict=True)
        ]
        for one, other in zip(runs, exact, strict=True)
    ]
    return [max(distances) for distances in zip(*by_case, strict=True)]
