"""The temperature schedule as a callback of the Hugging Face Trainer.

from dynsurgeon.training.transformers_callback import TemperatureCallback

trainer = transformers.Trainer(model, args, callbacks=[TemperatureCallback(start=30.0)])
"""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from dynsurgeon.training.schedule import TemperatureSchedule, annealing_steps


class TemperatureCallback(TrainerCallback):  # type: ignore[misc, unused-ignore]
    """Lower the temperature with every optimizer step of a Trainer.

    The temperature is a function of the Trainer's global step, which its checkpoints hold, so a
    training that is resumed goes on at the right one.

    Args:
        start: First temperature.
        end: Last temperature.
        steps: Optimizer steps from the first to the last; None for `share`.
        share: Share of the training's steps, where `steps` is None.
        spatial_start: First temperature of the spatial softmax of DY-ReLU-C.
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

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module | None = None,
        **kwargs: Any,
    ) -> None:
        """Set the temperature of the step at which training starts or goes on."""
        assert model is not None, "the Trainer hands its model to every callback"
        self.schedule = TemperatureSchedule(
            model,
            self.start,
            self.end,
            annealing_steps(state.max_steps, self.steps, self.share),
            spatial_start=self.spatial_start,
        )
        self.schedule.step(state.global_step)

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Go as far as the optimizer went."""
        if self.schedule is not None:
            self.schedule.step(state.global_step)
