"""Run a static and a dynamic model alike and measure how far apart they are, site by site."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn

from dynsurgeon.messages import first_line
from dynsurgeon.progress import counted
from dynsurgeon.recipe import Recipe
from dynsurgeon.running.blame import model_failure
from dynsurgeon.running.differences import (
    FAR,
    SAME,
    Difference,
    difference,
    largest_difference,
    worse,
)
from dynsurgeon.running.inputs import Inputs
from dynsurgeon.running.run import MODES, Mode, copied, preserved, run_model, tensors_of, widened
from dynsurgeon.surgery.cut.unshare import unshared_activations
from dynsurgeon.surgery.sites.observe import Call, Observer


@dataclass
class Comparison:
    """The differences of one comparison, by mode and by site.

    Attributes:
        outputs: Difference of the models' outputs, by mode.
        sites: Difference at each replaced site, by site and mode.
        dtype: The outputs' precision.
        notes: What could not be compared, and why.
    """

    outputs: dict[Mode, Difference] = field(default_factory=dict)
    sites: dict[tuple[str, Mode], Difference] = field(default_factory=dict)
    dtype: torch.dtype = torch.float32
    notes: list[str] = field(default_factory=list)

    @property
    def max_abs(self) -> float:
        """Largest absolute difference of the outputs in any mode."""
        return max((absolute for absolute, _ in self.outputs.values()), default=float("inf"))

    @property
    def max_rel(self) -> float:
        """Largest difference of the outputs relative to the original's largest, in any mode."""
        return max((d.relative for d in self.outputs.values()), default=float("inf"))


def compare_models(
    model: nn.Module, dynamic: nn.Module, recipe: Recipe, inputs: Inputs, seed: int
) -> Comparison:
    """Compare a static model with the dynamic one on `inputs`, in eval and in train mode.

    Raises:
        ConfigError: The model does not run on these inputs in eval mode.
    """
    comparison = Comparison()
    for mode in counted(MODES, "modes"):
        runnable = _runnable_inputs(model, mode, inputs, seed, comparison)
        if runnable is not None:
            _compare_mode(model, dynamic, recipe, mode, runnable, seed, comparison)
    return comparison


def _runnable_inputs(
    model: nn.Module, mode: Mode, inputs: Inputs, seed: int, comparison: Comparison
) -> Inputs | None:
    # BatchNorm can't train on a single value a channel: then the batch is doubled.
    errors = []
    for attempt in (inputs,) if mode == "eval" else (inputs, widened(inputs)):
        try:
            run_model(model, attempt, mode, seed)
            return attempt
        except Exception as error:
            errors.append(error)
    if mode == "eval":
        raise model_failure(model, errors[0], "inputs like these") from errors[0]
    comparison.notes.append(f"train mode was not compared: {first_line(errors[0])}")
    return None


def _compare_mode(
    model: nn.Module,
    dynamic: nn.Module,
    recipe: Recipe,
    mode: Mode,
    inputs: Inputs,
    seed: int,
    comparison: Comparison,
) -> None:
    try:
        theirs, sites = _run_dynamic(dynamic, recipe, mode, inputs, seed)
    except Exception as error:
        comparison.outputs[mode] = FAR
        comparison.notes.append(f"the dynamic model fails in {mode} mode: {first_line(error)}")
        return
    ours = _run_original(model, recipe, mode, inputs, seed, sites, comparison)
    comparison.outputs[mode] = largest_difference(ours, theirs)
    if not any(tensor.numel() for tensor in ours):  # a detector that found nothing proves nothing
        at_sites = [gap for (_, when), gap in comparison.sites.items() if when == mode]
        comparison.outputs[mode] = reduce(worse, at_sites, comparison.outputs[mode])
        comparison.notes.append(f"the outputs in {mode} mode are empty: judged by the sites")
    comparison.dtype = next((t.dtype for t in ours if t.dtype.is_floating_point), comparison.dtype)


def _run_dynamic(
    dynamic: nn.Module, recipe: Recipe, mode: Mode, inputs: Inputs, seed: int
) -> tuple[list[Tensor], dict[str, list[Tensor]]]:
    sites: dict[str, list[Tensor]] = defaultdict(list)
    handles = []
    for site in recipe.sites:

        def keep(module: nn.Module, args: Any, output: Tensor, name: str = site.name) -> None:
            sites[name].append(output.clone())

        module = dynamic.get_submodule(site.name)
        # Before the module's own hooks, where the observer of the original looks too.
        handles.append(module.register_forward_hook(keep, prepend=True))
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
    inputs: Inputs,
    seed: int,
    sites: dict[str, list[Tensor]],
    comparison: Comparison,
) -> list[Tensor]:
    with unshared_activations(model):
        names = _SiteNames(model, recipe, mode)

        def compare(call: Call) -> None:
            name = names.of(call)
            if name is not None and call.output is not None:
                theirs = sites[name].pop(0) if sites[name] else None
                before = comparison.sites.get((name, mode), SAME)
                comparison.sites[name, mode] = worse(before, difference(call.output, theirs))

        with preserved(model, mode, seed), Observer(on_call=compare).observing():
            return tensors_of(copied(inputs).call(model))


class _SiteNames:
    """Finds the dynamic module that stands for a call of the original."""

    def __init__(self, model: nn.Module, recipe: Recipe, mode: Mode) -> None:
        self._converted = {site.name for site in recipe.sites}
        self._modules = {module: name for name, module in model.named_modules()}
        self._calls = {owner.name: owner.calls[mode] for owner in recipe.owners}

    def of(self, call: Call) -> str | None:
        owner = self._modules.get(call.owner, "?")
        calls = self._calls.get(owner)
        if calls is not None and call.index < len(calls) and calls[call.index][1] is not None:
            name = f"{owner}.{calls[call.index][1]}".lstrip(".")
        else:
            name = self._modules.get(call.module, "?") if call.module is not None else "?"
        return name if name in self._converted else None
