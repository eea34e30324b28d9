"""Compare the original with the converted model, at every replaced site and at the output."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from dynsurgeon.errors import ConfigError
from dynsurgeon.proof.inputs import fresh_inputs
from dynsurgeon.proof.receipt import TOLERANCES, Receipt, SiteParity
from dynsurgeon.recipe import Recipe, recipe_of
from dynsurgeon.surgery.accept import as_inputs, check_model, check_static
from dynsurgeon.surgery.observe import Call, Observer
from dynsurgeon.surgery.run import MODES, Mode, copied, preserved, run_model, tensors_of, widened
from dynsurgeon.surgery.unshare import unshared_activations

Difference = tuple[float, float]
"""Largest absolute difference, and largest absolute value of the original."""


def check_parity(
    model: nn.Module, dynamic: nn.Module, example_inputs: Any, *, seed: int = 0
) -> Receipt:
    """Compare a static model with its converted form on fresh inputs, in eval and in train mode.

    Both run with the same seed, so drop-out and stochastic depth draw alike. Neither model is
    changed: mode, running statistics and random state are restored.

    Args:
        model: The original.
        dynamic: What `convert` made of it.
        example_inputs: Inputs of the right shapes and ranges; fresh ones are drawn like them.
        seed: Seed of the fresh inputs and of the runs.

    Returns:
        The receipt; look at its ``passed``.

    Raises:
        ConfigError: The model does not run on inputs like these.
        UnsupportedModelError: `dynamic` was not converted by dynsurgeon, or `model` is not static.
    """
    check_model(model)
    check_static(model)
    recipe = recipe_of(dynamic)
    generator = torch.Generator().manual_seed(seed)
    inputs = fresh_inputs(as_inputs(example_inputs), None, generator)
    outcome = _Outcome()
    for mode in MODES:
        _compare_mode(model, dynamic, recipe, mode, inputs, seed, outcome)
    return outcome.receipt()


@dataclass
class _Outcome:
    outputs: dict[Mode, Difference] = field(default_factory=dict)
    sites: dict[tuple[str, Mode], Difference] = field(default_factory=dict)
    dtype: torch.dtype = torch.float32
    notes: list[str] = field(default_factory=list)

    def receipt(self) -> Receipt:
        tolerance = TOLERANCES.get(self.dtype, 1e-5)
        worst = max((_relative(d) for d in self.outputs.values()), default=float("inf"))
        return Receipt(
            passed=worst <= tolerance,
            max_abs=max((absolute for absolute, _ in self.outputs.values()), default=float("inf")),
            max_rel=worst,
            tolerance=tolerance,
            modes=tuple(self.outputs),
            sites=tuple(
                SiteParity(name, mode, difference[0], _relative(difference))
                for (name, mode), difference in self.sites.items()
            ),
            notes=tuple(self.notes),
        )


def _compare_mode(
    model: nn.Module,
    dynamic: nn.Module,
    recipe: Recipe,
    mode: Mode,
    inputs: tuple[Any, ...],
    seed: int,
    outcome: _Outcome,
) -> None:
    try:
        run_model(model, inputs, mode, seed)
    except Exception as error:
        if mode == "eval":
            raise ConfigError(f"the model can't run on inputs like these: {error}") from error
        inputs = widened(inputs)
        try:  # BatchNorm can't train on a single value a channel
            run_model(model, inputs, mode, seed)
        except Exception:
            outcome.notes.append(f"train mode was not compared: {str(error).splitlines()[0][:160]}")
            return
    theirs, sites = _run_dynamic(dynamic, recipe, mode, inputs, seed)
    ours = _run_original(model, recipe, mode, inputs, seed, sites, outcome)
    outcome.outputs[mode] = _difference_of(ours, theirs)
    outcome.dtype = next((t.dtype for t in ours if t.dtype.is_floating_point), outcome.dtype)


def _run_dynamic(
    dynamic: nn.Module, recipe: Recipe, mode: Mode, inputs: tuple[Any, ...], seed: int
) -> tuple[list[Tensor], dict[str, list[Tensor]]]:
    sites: dict[str, list[Tensor]] = defaultdict(list)
    handles = []
    for site in recipe.sites:

        def keep(module: nn.Module, args: Any, output: Tensor, name: str = site.name) -> None:
            sites[name].append(output.clone())

        handles.append(dynamic.get_submodule(site.name).register_forward_hook(keep))
    try:
        outputs = run_model(dynamic, inputs, mode, seed)
    finally:
        for handle in handles:
            handle.remove()
    return tensors_of(outputs), sites


def _run_original(
    model: nn.Module,
    recipe: Recipe,
    mode: Mode,
    inputs: tuple[Any, ...],
    seed: int,
    sites: dict[str, list[Tensor]],
    outcome: _Outcome,
) -> list[Tensor]:
    with unshared_activations(model):
        names = _SiteNames(model, recipe, mode)

        def compare(call: Call) -> None:
            name = names.of(call)
            if name is not None and call.output is not None:
                theirs = sites[name].pop(0) if sites[name] else None
                before = outcome.sites.get((name, mode), (0.0, 0.0))
                outcome.sites[name, mode] = _worse(before, _difference(call.output, theirs))

        with preserved(model, mode, seed), Observer(on_call=compare).observing():
            return tensors_of(model(*copied(inputs)))


class _SiteNames:
    """Finds the dynamic module that stands for a call of the original."""

    def __init__(self, model: nn.Module, recipe: Recipe, mode: Mode) -> None:
        self._converted = {site.name for site in recipe.sites}
        self._modules = {module: name for name, module in model.named_modules()}
        self._calls = {owner.name: owner.calls[mode] for owner in recipe.owners}

    def of(self, call: Call) -> str | None:
        owner = self._modules[call.owner]
        calls = self._calls.get(owner)
        if calls is not None and call.index < len(calls) and calls[call.index][1] is not None:
            name = f"{owner}.{calls[call.index][1]}".lstrip(".")
        else:
            name = self._modules.get(call.module, "?") if call.module is not None else "?"
        return name if name in self._converted else None


def _difference_of(ours: list[Tensor], theirs: list[Tensor]) -> Difference:
    if len(ours) != len(theirs):
        return float("inf"), 0.0
    total = (0.0, 0.0)
    for one, other in zip(ours, theirs, strict=True):
        total = _worse(total, _difference(one, other))
    return total


def _difference(ours: Tensor, theirs: Tensor | None) -> Difference:
    if theirs is None or ours.shape != theirs.shape:
        return float("inf"), 0.0
    if not ours.numel():
        return 0.0, 0.0
    one, other = ours.double(), theirs.double()
    same = (one == other) | (one.isnan() & other.isnan())
    gap = (one - other).abs().nan_to_num(float("inf")).masked_fill(same, 0.0)
    return float(gap.max()), float(one.abs().nan_to_num(0, 0, 0).max())


def _worse(one: Difference, other: Difference) -> Difference:
    return max(one, other, key=lambda difference: (_relative(difference), difference))


def _relative(difference: Difference) -> float:
    gap, scale = difference
    return 0.0 if gap == 0 else gap / scale if scale else float("inf")
