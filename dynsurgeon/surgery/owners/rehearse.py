"""Prove the rewritten owners before anything becomes dynamic.

Each owner gets its traced, still static forward, and the model must give exactly what it gave; an
owner whose trace does not is left alone. An in-place activation whose write into its input is read
again (by another branch, by a caller) has to keep writing. To find these, a function that changes
every number stands in for the in-place activations, once in place and once not, and every torch
function must return the same. Neither the activations themselves nor the outputs alone would tell:
a ReLU of positive numbers writes nothing new, and a later ReLU hides what another one wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from dynsurgeon.running.differences import agree
from dynsurgeon.running.run import Mode, copied, preserved, tensors_of
from dynsurgeon.surgery.owners.rewrite import rewrite_forward, undo_rewrite
from dynsurgeon.surgery.owners.trace import OwnerTrace
from dynsurgeon.surgery.sites.candidates import Candidate
from dynsurgeon.surgery.sites.observe import Call, Observer
from dynsurgeon.surgery.sites.survey import Survey

T = TypeVar("T")
Results = dict[Mode, dict[int, str]]
"""Sums of what torch functions returned, numbered from 0, and of the outputs, from -1 down."""

THREADS = 16
"""Roundings that a reduction may be off by, for threads may split it differently from run to run.

A wrong trace is far off."""


def unfaithful_owners(
    model: nn.Module, traces: dict[nn.Module, OwnerTrace], survey: Survey
) -> set[nn.Module]:
    """Return the owners whose traced forward does not reproduce the model's outputs."""
    return _culprits(list(traces), lambda owners: _same_when_traced(model, owners, traces, survey))


def visible_writes(model: nn.Module, candidates: Iterable[Candidate], survey: Survey) -> set[int]:
    """Return the ids of the in-place candidates whose write into their input is read again."""
    inplace = {id(c): c for c in candidates if c.inplace}
    if not inplace:
        return set()
    before = _results(model, [], survey)
    if before is None:  # nothing can be shown, so every write stays
        return set(inplace)

    def differing(some: list[int]) -> set[tuple[Mode, int]] | None:
        return _differing(before, _results(model, [inplace[i] for i in some], survey))

    together = differing(list(inplace))
    if together == set():
        return set()
    # Before a search, which takes many runs: what differs from run to run by itself tells nothing,
    # as long as no output hangs on it. Else it could hide a write, and every write stays.
    unstable = differing([]) or set()
    if any(number < 0 for _, number in unstable):
        unstable = set()

    def unseen(found: set[tuple[Mode, int]] | None) -> bool:
        return found is not None and found <= unstable

    if unseen(together):
        return set()
    return _among_guilty(list(inplace), lambda some: unseen(differing(some)))


def _differing(before: Results, after: Results | None) -> set[tuple[Mode, int]] | None:
    """Return which results differ, by mode and number; None if there are others altogether."""
    if after is None or any(before[mode].keys() != after[mode].keys() for mode in before):
        return None
    return {
        (mode, number)
        for mode, sums in before.items()
        for number, value in sums.items()
        if value != after[mode][number]
    }


def _culprits(suspects: list[T], innocent: Callable[[list[T]], bool]) -> set[T]:
    # All at once is the usual case, and one run; only a guilty party costs a search by halves.
    return set() if not suspects or innocent(suspects) else _among_guilty(suspects, innocent)


def _among_guilty(suspects: list[T], innocent: Callable[[list[T]], bool]) -> set[T]:
    """Search by halves those that are not innocent together."""
    if len(suspects) == 1:
        return set(suspects)
    half = len(suspects) // 2
    found = _culprits(suspects[:half], innocent) | _culprits(suspects[half:], innocent)
    return found or set(suspects)


def _same_when_traced(
    model: nn.Module,
    owners: list[nn.Module],
    traces: dict[nn.Module, OwnerTrace],
    survey: Survey,
) -> bool:
    try:
        for owner in owners:
            rewrite_forward(traces[owner])
        return _same_outputs(model, survey, Observer())
    except TypeError:  # a class that can't be subclassed just so
        return False
    finally:
        for owner in owners:
            undo_rewrite(owner)


def _results(model: nn.Module, out_of_place: list[Candidate], survey: Survey) -> Results | None:
    """Return sums of what each torch function and the model return, these out of place."""
    places = {(site.owner, site.key) for candidate in out_of_place for site in candidate.sites}
    results: Results = {}

    def stand_in(call: Call, x: Tensor) -> Tensor:
        changed = torch.tanh(x) - 0.5
        return changed if (call.owner, call.key) in places else x.copy_(changed)

    for mode, inputs in survey.inputs.items():
        sums = results.setdefault(mode, {})

        def note(result: Any, sums: dict[int, str] = sums) -> None:
            if isinstance(result, Tensor) and not result.is_complex():
                sums[len(sums)] = _sum_of(result)

        try:
            with preserved(model, mode), Observer(stand_in=stand_in, on_result=note).observing():
                outputs = copied(inputs).call(model)
        except Exception:
            return None
        returned = [tensor for tensor in tensors_of(outputs) if not tensor.is_complex()]
        sums |= {-1 - number: _sum_of(tensor) for number, tensor in enumerate(returned)}
    return results


def _sum_of(tensor: Tensor) -> str:
    return float(tensor.sum(dtype=torch.float64)).hex()  # as words, NaN equals NaN


def _same_outputs(model: nn.Module, survey: Survey, observer: Observer) -> bool:
    for mode, inputs in survey.inputs.items():
        try:
            with preserved(model, mode), observer.observing():
                outputs = copied(inputs).call(model)
        except Exception:
            return False
        if not agree(survey.outputs[mode], outputs, roundings=THREADS):
            return False
    return True
