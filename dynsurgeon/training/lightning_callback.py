"""The temperature schedule as a callback of Lightning (``pip install lightning``).

from dynsurgeon.training.lightning_callback import TemperatureCallback

trainer = lightning.Trainer(callbacks=[TemperatureCallback(start=30.0, share=0.5)])
"""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from dynsurgeon.training.annealing import Annealing


class TemperatureCallback(Annealing, Callback):
    """Lower the temperature with every optimizer step of a Lightning training.

    Takes the arguments of `Annealing`.
    """

    _state: dict[str, Any] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the temperature of the step at which training starts or goes on."""
        schedule = self.begin(pl_module, trainer.estimated_stepping_batches)
        if self._state is not None:  # of a checkpoint: its own schedule goes on
            schedule.load_state_dict(self._state)
        self.go_to(trainer.global_step)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Go as far as the optimizer went: accumulated batches are one step."""
        self.go_to(trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        """Return the place in the schedule, for Lightning's checkpoint."""
        return {} if self.schedule is None else self.schedule.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember the place in the schedule of a checkpoint."""
        self._state = state_dict or None
