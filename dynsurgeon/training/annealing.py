"""What the callbacks of every trainer share: which schedule a training gets."""

from __future__ import annotations

from torch import nn

from dynsurgeon.training.schedule import TemperatureSchedule, annealing_steps


class Annealing:
    """Lower the temperature over the optimizer steps of a training.

    Args:
        start: First temperature.
        end: Last temperature.
        steps: Optimizer steps from the first to the last; None for `share`.
        share: Share of the training's steps, where `steps` is None.
        spatial_start: First temperature of the spatial softmax of DY-ReLU-C.

    Attributes:
        schedule: The schedule of the training that has begun, or None.
    """

    def __init__(
        self,
        start: float = 30.0,
        end: float = 1.0,
        steps: int | None = None,
        *,
        share: float = 0.5,
        spatial_start: float = 10.0,
    ) -> None:
        self.start, self.end, self.spatial_start = start, end, spatial_start
        self.steps, self.share = steps, share
        self.schedule: TemperatureSchedule | None = None

    def begin(self, model: nn.Module, total: float) -> TemperatureSchedule:
        """Make and keep the schedule of a training of `total` steps.

        Raises:
            ConfigError: A temperature, the steps or the share is not valid.
            UnsupportedModelError: Nothing in the model has a temperature.
        """
        steps = annealing_steps(total, self.steps, self.share)
        self.schedule = TemperatureSchedule(
            model, self.start, self.end, steps, spatial_start=self.spatial_start
        )
        return self.schedule

    def go_to(self, step: int) -> None:
        """Set the temperature of an optimizer step, if a training has begun."""
        if self.schedule is not None:
            self.schedule.step(step)
