"""Prove a file in the runtimes beside onnxruntime, with the same inputs and tolerances."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from torch import nn

from dynsurgeon.errors import ParityError, RuntimeRefusalError
from dynsurgeon.export.cases import Case
from dynsurgeon.export.result import ExportCheck, RuntimeProof
from dynsurgeon.export.target import Target
from dynsurgeon.runtimes.contract import Runtime

BATCHES = (1, 3)
"""Of the batches of a free one: what a foreign runtime may get wrong shows at these."""

PORTABLE = "portable"

M_contra = TypeVar("M_contra", bound=nn.Module, contravariant=True)
M = TypeVar("M", bound=nn.Module)


class Provable(Protocol[M_contra]):
    """A file and weights that can be compared with a network: a `Trial`, or a detector's."""

    def run(
        self,
        model: M_contra,
        cases: Sequence[Case],
        /,
        *,
        optimized: bool = True,
        runtime: Runtime | None = None,
    ) -> list[ExportCheck]:
        """Compare the file with the network on every case."""


def prove_in(
    runtime: Runtime,
    trials: Sequence[Provable[M]],
    model: M,
    cases: Sequence[Case],
    target: Target,
    otherwise: str | None = None,
) -> RuntimeProof:
    """Compare a file with torch in another runtime, in each of its trials.

    Args:
        runtime: The runtime, which is installed.
        trials: The file with its own weights, and with others.
        model: The network, in eval mode.
        cases: What the file is verified on.
        target: What the file is for.
        otherwise: What to do where the runtime refuses the form that suits it best; None for the
            portable one.

    Raises:
        RuntimeRefusalError: The runtime can't load or run the file; names a target that would do.
    """
    chosen = [case for case in cases if case.batch in BATCHES or target.batch is not None]
    checks = []
    for trial in trials:
        try:
            checks += trial.run(model, chosen, runtime=runtime)
        except RuntimeRefusalError as error:
            advice = _advice(runtime, target, otherwise)
            raise RuntimeRefusalError(f"{error}{advice}") from error
    return RuntimeProof(runtime.name, runtime.installed_version(), tuple(checks))


def check_proof(proof: RuntimeProof, path: Path) -> None:
    """Make sure that a file passed.

    Raises:
        ParityError: It computes something else in that runtime.
    """
    failed = next((check for check in proof.checks if not check.passed), None)
    if failed is not None:
        raise ParityError(
            f"{path} was not written: in {proof.name} {proof.version} {_fault(failed)} at "
            f"{failed.name}{failed.verdict}, while onnxruntime agrees with torch",
            proof,
        )


def _fault(failed: ExportCheck) -> str:
    if failed.boxes is not None:
        return f"it finds other boxes than the network ({failed.boxes})"
    return f"it is off by {failed.max_abs:.3g} ({failed.max_rel:.3g} of the largest output)"


def _advice(runtime: Runtime, target: Target, otherwise: str | None) -> str:
    """Return which target would do, or what else, to be added to a sentence."""
    tried = {target.destination, target.form.name}
    names = (runtime.target,) if otherwise is not None else (runtime.target, PORTABLE)
    better = next((name for name in names if name not in tried), None)
    if better is not None:
        return f"; try target {better!r}"
    return "" if otherwise is None else f"; {otherwise}"
