"""The temperature schedule as a callback of Lightning (``pip install lightning``).

from dynsurgeon.training.lightning_callback import TemperatureCallback

trainer = lightning.Trainer(callbacks=[TemperatureCallback(start=30.0, share=0.5)])
"""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from dynsurgeon.training.schedule import TemperatureSchedule, annealing_steps


class TemperatureCallback(Callback):
    """Lower the temperature with every optimizer step of a Lightning training.

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
        self._state: dict[str, Any] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the temperature of the step at which training starts or goes on."""
        total = trainer.estimated_stepping_batches
        self.schedule = TemperatureSchedule(
            pl_module,
            self.start,
            self.end,
            annealing_steps(total, self.steps, self.share),
            spatial_start=self.spatial_start,
        )
        if self._state is not None:  # of a checkpoint: its own schedule goes on
            self.schedule.load_state_dict(self._state)
        self.schedule.step(trainer.global_step)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Go as far as the optimizer went: accumulated batches are one step."""
        if self.schedule is not None:
            self.schedule.step(trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        """Return the place in the schedule, for Lightning's checkpoint."""
        return {} if self.schedule is None else self.schedule.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember the place in the schedule of a checkpoint."""
        self._state = state_dict or None
