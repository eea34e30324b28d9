"""One file against torch with one set of weights: run it, and say whose fault a difference is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from dynsurgeon.errors import ExportError
from dynsurgeon.export.arbiter import arbitrate
from dynsurgeon.export.cases import Case
from dynsurgeon.export.result import ExportCheck
from dynsurgeon.export.running import State
from dynsurgeon.export.verify import HALF_BANKS, TOLERANCES, coarsest_dtype, compare, references
from dynsurgeon.messages import first_line
from dynsurgeon.runtimes.contract import LoadedFile, Runtime
from dynsurgeon.runtimes.onnxruntime import Session


@dataclass(frozen=True)
class Trial:
    """A file and the weights that are in it.

    Attributes:
        prefix: Put before the name of each check.
        path: The file.
        state: Weights in place of the model's own, by their key in the state_dict.
        half: Whether the file's banks are in half precision, whatever the network's are.
    """

    prefix: str
    path: Path
    state: State
    half: bool = False

    def run(
        self,
        model: nn.Module,
        cases: Sequence[Case],
        *,
        optimized: bool = True,
        runtime: Runtime | None = None,
    ) -> list[ExportCheck]:
        """Compare the file with `model`, which must be in eval mode, on every case.

        Where the tolerance is missed, the network in float64 says whether that is rounding.

        Args:
            model: The network.
            cases: What both are run on.
            optimized: Whether onnxruntime may rewrite the graph.
            runtime: What runs the file instead of onnxruntime.

        Raises:
            ExportError: The runtime can't load or run the file.
        """
        expected = references(model, self.state, cases)
        dtype = coarsest_dtype(model, [case.inputs for case in cases])
        session: LoadedFile
        if runtime is None:
            session = open_session(self.path, dtype, optimized=optimized)
        else:
            session = runtime.load(self.path, torch.get_num_threads())
        tolerance = HALF_BANKS if self.half and dtype != torch.float16 else TOLERANCES[dtype]
        checks = compare(session, cases, expected, tolerance, self.prefix)
        if dtype != torch.float32 or self.half:  # their tolerance is no tight one
            return checks
        return arbitrate(model, self.state, cases, expected, session, checks, tolerance)

    def explain(self, model: nn.Module, cases: Sequence[Case], failed: ExportCheck) -> str:
        """Say whose fault it is, from a run of the failed case without onnxruntime's rewriting."""
        case = next(case for case in cases if f"{self.prefix}{case.name}" == failed.name)
        (plain,) = self.run(model, [case], optimized=False)
        if plain.passed:
            return (
                "with onnxruntime's graph optimisations off it passes, so they are at fault and "
                "not the file"
            )
        return (
            f"with onnxruntime's graph optimisations off it is {plain.max_abs:.3g}, so the "
            "exported graph is at fault: please report it"
        )


def open_session(path: Path, dtype: torch.dtype, *, optimized: bool = True) -> Session:
    """Load a file that was just written.

    Raises:
        ExportError: onnxruntime can't.
    """
    try:
        return Session(path, optimized=optimized)
    except Exception as error:
        remedy = (
            ""
            if dtype == torch.float32
            else f"; it may have no {dtype} kernels: export model.float()"
        )
        raise ExportError(
            f"onnxruntime can't load the exported graph: {first_line(error)}{remedy}"
        ) from error
