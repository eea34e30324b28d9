"""One file against torch with one set of weights: run it, and say whose fault a difference is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from math import prod
from pathlib import Path

import torch
from torch import Tensor, nn

from dynsurgeon.errors import ExportError
from dynsurgeon.export.arbiter import arbitrate
from dynsurgeon.export.cases import Case
from dynsurgeon.export.passes.round_bank import to_int8
from dynsurgeon.export.result import ExportCheck
from dynsurgeon.export.running import State
from dynsurgeon.export.verify import COARSER, TOLERANCES, coarsest_dtype, compare, references
from dynsurgeon.form_names import Rounding
from dynsurgeon.graphs.filters import Filters
from dynsurgeon.messages import first_line
from dynsurgeon.operators.contract import dynamic_layers
from dynsurgeon.running.differences import Tolerance, difference
from dynsurgeon.runtimes.contract import LoadedFile, Runtime
from dynsurgeon.runtimes.onnxruntime import Session

BIAS_BANK_AXES = 2

TIMES_ROUNDED = 4
"""How many times what torch is off with banks rounded to 8 bits a file may be off: it rounds other
pieces."""


@dataclass(frozen=True)
class Trial:
    """A file and the weights that are in it.

    Attributes:
        prefix: Put before the name of each check.
        path: The file.
        state: Weights in place of the model's own, by their key in the state_dict.
        rounding: What the file is rounded to, whatever the precision of the network is.
    """

    prefix: str
    path: Path
    state: State
    rounding: Rounding | None = None

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
        tolerance = self._tolerance(model, cases, expected, dtype)
        checks = compare(session, cases, expected, tolerance, self.prefix)
        if dtype != torch.float32 or self.rounding is not None:  # their tolerance is no tight one
            return checks
        return arbitrate(model, self.state, cases, expected, session, checks, tolerance)

    def _tolerance(
        self,
        model: nn.Module,
        cases: Sequence[Case],
        expected: Sequence[Sequence[Tensor]],
        dtype: torch.dtype,
    ) -> Tolerance:
        """Return what the file may be off; by what torch is off where that is not known before."""
        usual = TOLERANCES[dtype]
        relative, absolute = max(usual, COARSER.get(self.rounding, usual))
        if self.rounding == "int8":
            state = {**self.state, **rounded_banks(model, self.state)}
            pairs = zip(chain(*expected), chain(*references(model, state, cases)), strict=True)
            gaps = [difference(e, f).relative for e, f in pairs if e.is_floating_point()]
            relative += min(TIMES_ROUNDED * max(gaps, default=0.0), 1.0)
        return relative, absolute

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


def rounded_banks(model: nn.Module, state: State) -> dict[str, Tensor]:
    """Return every bank of kernels rounded to 8 bits, by its key in the state_dict."""
    rounded = {}
    for path, layer in dynamic_layers(model):
        for name, own in layer.banks().items():
            key = f"{path}.{name}" if path else name
            bank = state.get(key, own).detach()
            if bank.dim() > BIAS_BANK_AXES:
                filters = Filters(prod(bank.shape[2:]), kernels=len(bank))
                whole, scales = to_int8(bank.flatten(1), filters)
                rounded[key] = (whole * scales).view_as(bank)
    return rounded


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
