"""The temperature schedule as a callback of the Hugging Face Trainer.

from dynsurgeon.training.transformers_callback import TemperatureCallback

trainer = transformers.Trainer(model, args, callbacks=[TemperatureCallback(start=30.0)])
"""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from dynsurgeon.training.annealing import Annealing


class TemperatureCallback(Annealing, TrainerCallback):  # type: ignore[misc, unused-ignore]
    """Lower the temperature with every optimizer step of a Trainer.

    The temperature is a function of the Trainer's global step, which its checkpoints hold, so a
    training that is resumed goes on at the right one.

    Takes the arguments of `Annealing`.
    """

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
        self.begin(model, state.max_steps)
        self.go_to(state.global_step)

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Go as far as the optimizer went."""
        self.go_to(state.global_step)
