"""The temperature over training: high while the kernels are young, so that all of them learn.

tau(s) = start + (end - start) s / steps        (arXiv 1912.03458: 30 -> 1 over 10 epochs)
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from dynsurgeon.checks import require_count, require_positive
from dynsurgeon.errors import ConfigError, UnsupportedModelError
from dynsurgeon.operators.contract import temperatures


def temperature_at(step: int, steps: int, start: float = 30.0, end: float = 1.0) -> float:
    """Return tau at a step of a linear schedule: `start` at 0, exactly `end` from `steps` on.

    Raises:
        ConfigError: A temperature is not above 0, or `steps` is not a whole number above 0.
    """
    require_positive("start", start)
    require_positive("end", end)
    require_count("steps", steps)
    if step >= steps:
        return end
    return start if step <= 0 else start + (end - start) * (step / steps)


def annealing_steps(total: float, steps: int | None, share: float) -> int:
    """Return the steps to anneal over: `steps`, or a share of all steps of a training.

    Raises:
        ConfigError: The training has no known end, or the share is not above 0 and at most 1.
    """
    if steps is not None:
        return steps
    if isinstance(share, bool) or not 0 < share <= 1:
        raise ConfigError(f"share must be above 0 and at most 1, got {share!r}")
    if not 0 < total < math.inf:
        raise ConfigError("the training has no known number of steps; give the callback steps")
    return max(1, round(total * share))


class TemperatureSchedule:
    """Lower the temperature from step to step, as torch's schedulers lower the learning rate.

        schedule = ds.TemperatureSchedule(model, steps=10 * len(loader))
        for images, labels in loader:
            ...
            optimizer.step()
            schedule.step()

    The temperature is `start` from the beginning, and `end` after `steps` calls of `step` and ever
    after. The temperatures themselves are buffers of the model; `state_dict` holds the place in the
    schedule.

    Args:
        model: A network with dynamic convolutions or DY-ReLU-Cs, wrapped for DDP or not.
        start: First temperature of the kernel attentions.
        end: Last temperature, of every softmax.
        steps: Number of steps from the first to the last temperature; count steps or epochs.
        spatial_start: First temperature of the spatial softmax of DY-ReLU-C (10 in its paper).

    Raises:
        ConfigError: A temperature is not above 0, or `steps` is not a whole number above 0.
        UnsupportedModelError: Nothing in the model has a temperature.
    """

    def __init__(
        self,
        model: nn.Module,
        start: float = 30.0,
        end: float = 1.0,
        steps: int = 10,
        *,
        spatial_start: float = 10.0,
    ) -> None:
        for name, value in (("start", start), ("end", end), ("spatial_start", spatial_start)):
            require_positive(name, value)
        require_count("steps", steps)
        self._temperatures = temperatures(model)
        if not self._temperatures:
            raise UnsupportedModelError(
                "no module has a temperature: the model has no dynamic layer"
            )
        self.start, self.end, self.steps = float(start), float(end), steps
        self.spatial_start = float(spatial_start)
        self.last_step = 0
        self._apply()

    @property
    def temperature(self) -> float:
        """The temperature of the kernel attentions now."""
        return temperature_at(self.last_step, self.steps, self.start, self.end)

    def step(self, step: int | None = None) -> None:
        """Go one step on, or to a step that is named."""
        self.last_step = self.last_step + 1 if step is None else step
        self._apply()

    def state_dict(self) -> dict[str, Any]:
        """Return the schedule and its place in it, as plain numbers."""
        names = ("start", "end", "steps", "spatial_start", "last_step")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken, and set the model's temperatures to it."""
        for name in self.state_dict():
            setattr(self, name, state_dict[name])
        self._apply()

    @torch.no_grad()
    def _apply(self) -> None:
        spatial = temperature_at(self.last_step, self.steps, self.spatial_start, self.end)
        for each in self._temperatures:
            each.value.fill_(self.temperature if each.over == "kernels" else spatial)
