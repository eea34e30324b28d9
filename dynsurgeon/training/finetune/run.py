"""One run of training, from wherever it stands to its end."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from dynsurgeon.errors import TrainingError
from dynsurgeon.training.batch_norm import broken_layer
from dynsurgeon.training.finetune.arm import Arm
from dynsurgeon.training.finetune.batch_norm import fit_statistics
from dynsurgeon.training.finetune.checkpoint import CheckpointFolder
from dynsurgeon.training.finetune.data import TrainingData
from dynsurgeon.training.finetune.evaluate import evaluate
from dynsurgeon.training.finetune.listener import Listener
from dynsurgeon.training.finetune.loading import Sharing, steps_an_epoch, training_batches
from dynsurgeon.training.finetune.results import Epoch, Gain, RateProbe, Score
from dynsurgeon.training.finetune.settings import FinetuneSettings
from dynsurgeon.training.finetune.sharding import State
from dynsurgeon.training.finetune.tally import Tally
from dynsurgeon.training.finetune.tracking import RunLog
from dynsurgeon.training.report import AttentionReport

CHECK_EVERY = 20
"""Steps between looks at the loss on an accelerator, where each look waits for it."""


@dataclass
class Progress:
    """Where a run stands.

    Attributes:
        epoch: Epochs that are complete.
        batch: Steps of the present epoch.
        before: Score of the dynamic network before its first step.
        calibration: Its attention as fitted before that, if it was.
        uncalibrated: Why it was not, where that is to be told.
        probes: How each arm's learning rate was chosen, if it was.
        history: The complete epochs.
        best: Each arm's best epoch.
    """

    before: Score
    epoch: int = 0
    batch: int = 0
    calibration: AttentionReport | None = None
    uncalibrated: str | None = None
    probes: dict[str, RateProbe] = field(default_factory=dict)
    history: list[Epoch] = field(default_factory=list)
    best: dict[str, int] = field(default_factory=dict)


class Run:
    """One fine-tuning, from wherever it stands to its end."""

    def __init__(
        self,
        arms: list[Arm],
        data: TrainingData,
        settings: FinetuneSettings,
        sharing: Sharing,
        folder: CheckpointFolder | None,
        listener: Listener,
        log: RunLog,
    ) -> None:
        self.arms, self.data, self.settings, self.sharing = arms, data, settings, sharing
        self.folder, self.listener, self.accelerator = folder, listener, arms[0].accelerator
        self.log, self.main = log, self.accelerator.is_main_process
        count: int = len(data.train)  # type: ignore[arg-type]
        self.steps = steps_an_epoch(count, settings.batch)
        share = settings.batch // self.sharing.world
        self.tallies = {arm.name: Tally(share) for arm in arms}
        self.kept: dict[str, State] = {}
        self.progress = Progress(Score(math.inf, 0.0))
        self.check_every = 1 if self.accelerator.device.type == "cpu" else CHECK_EVERY

    def start(
        self,
        calibration: AttentionReport | None,
        uncalibrated: str | None,
        probes: dict[str, RateProbe],
    ) -> None:
        """Measure the network before its first step, and note what was done before that."""
        scores, _ = self._evaluate(self.arms[:1], adjusted=False)
        self.progress = Progress(
            scores["dynamic"], calibration=calibration, uncalibrated=uncalibrated, probes=probes
        )
        self.listener.started(scores["dynamic"], self.steps, self.settings.epochs)

    def resume(self, state: State) -> None:
        """Go on where the last checkpoint was written.

        Args:
            state: That checkpoint.

        Raises:
            StorageError: The weights of the best epoch are missing or damaged.
        """
        assert self.folder is not None
        self.progress = progress_from(state["progress"])
        for name in self.progress.best:
            self.folder.read_best(name)  # or its loss would be told at the very end
        for arm in self.arms:
            arm.load_state_dict(state["arms"][arm.name])
            self.tallies[arm.name].load_state_dict(state["meters"][arm.name])
        self.listener.started(self.progress.before, self.steps, self.settings.epochs)
        for epoch in self.progress.history:
            self.listener.epoch(epoch)

    def train(self) -> None:
        """Go through the epochs that are left."""
        while self.progress.epoch < self.settings.epochs:
            self._epoch()

    def _epoch(self) -> None:
        progress, settings = self.progress, self.settings
        batches = training_batches(
            self.data,
            self.sharing,
            seed=settings.seed,
            epoch=progress.epoch,
            first=progress.batch,
            workers=settings.workers,
        )
        for parts in batches:
            step = progress.epoch * self.steps + progress.batch
            for arm in self.arms:
                self.tallies[arm.name].add(arm.train_step(parts, step))
            progress.batch += 1
            last = progress.batch == self.steps
            due = settings.save_every and (step + 1) % settings.save_every == 0
            if last or due or progress.batch % self.check_every == 0:
                self._check_losses()
                self.listener.step(step + 1, self.tallies["dynamic"].mean_loss)
                self.log.step(self.arms, step + 1, self.tallies)
            if due and not last:
                self._save()
        self._end_epoch()

    def _check_losses(self) -> None:
        for arm in self.arms:
            if not self.tallies[arm.name].flush():
                self._diverged(arm, "its loss is no finite number")

    def _end_epoch(self) -> None:
        lag = self._fit_statistics()
        scores, _ = self._evaluate(self.arms)
        train = {arm.name: self.tallies[arm.name].score(self.accelerator) for arm in self.arms}
        progress, schedule = self.progress, self.arms[0].temperature
        progress.epoch, progress.batch = progress.epoch + 1, 0
        for arm in self.arms:
            if not math.isfinite(scores[arm.name].loss):
                self._diverged(arm, "its loss on the validation set is no finite number")
        temperature = None if schedule is None else schedule.temperature
        epoch = Epoch(progress.epoch, train, scores, temperature, lag)
        progress.history.append(epoch)
        for arm in self.arms:
            self._keep_best(arm, epoch)
        self.log.epoch(epoch, epoch.number * self.steps)
        self._save()
        self.listener.epoch(epoch)

    def _fit_statistics(self) -> dict[str, float]:
        last = self.progress.epoch + 1 == self.settings.epochs
        lag = fit_statistics(self.arms, self.data, self.settings, self.listener, last=last)
        for arm in self.arms:
            if arm.statistics is not None and broken_layer(arm.statistics):
                self._diverged(arm, "its BatchNorm statistics are no finite numbers")
        return lag

    def _evaluate(
        self, arms: list[Arm], *, adjusted: bool = True
    ) -> tuple[dict[str, Score], Gain | None]:
        return evaluate(
            arms,
            self.data,
            self.sharing,
            self.settings.workers,
            adjusted=adjusted,
            listener=self.listener,
        )

    def _keep_best(self, arm: Arm, epoch: Epoch) -> None:
        best = self.progress.best.get(arm.name)
        if best is not None:
            before = self.progress.history[best - 1].val[arm.name]
            if not epoch.val[arm.name].better_than(before):
                return
        self.progress.best[arm.name] = epoch.number
        with arm.evaluating():
            weights = arm.weights()
        if self.folder is None:
            self.kept[arm.name] = weights
        elif self.main:
            self.folder.write_best(arm.name, weights)

    def _save(self) -> None:
        if self.folder is None:
            return
        states = {arm.name: arm.state_dict() for arm in self.arms}
        for arm in self.arms:
            if not _finite(states[arm.name]["model"]):
                self._diverged(arm, "its weights are no finite numbers")
        if self.main:
            tallies = {name: tally.state_dict() for name, tally in self.tallies.items()}
            self.folder.write_last(
                {"progress": asdict(self.progress), "arms": states, "meters": tallies}
            )
        self.accelerator.wait_for_everyone()

    def _diverged(self, arm: Arm, what: str) -> None:
        step = self.progress.epoch * self.steps + self.progress.batch
        saved = self.folder is not None and self.folder.has_last()
        kept = "; the last good checkpoint is kept" if saved else ""
        raise TrainingError(
            f"the {arm.name} network diverged by step {step}: {what}; lower the learning rate or "
            f"clip the gradient{kept}"
        )

    def finish(self) -> tuple[dict[str, Score], Gain | None]:
        """Put each arm's best weights in place, and measure them together."""
        self.accelerator.wait_for_everyone()
        for arm in self.arms:
            best = self.kept[arm.name] if self.folder is None else self.folder.read_best(arm.name)
            arm.set_weights(best)
        return self._evaluate(self.arms, adjusted=False)


def progress_from(state: dict[str, Any]) -> Progress:
    """Build it from `dataclasses.asdict`."""
    calibration = state["calibration"]
    return Progress(
        Score(**state["before"]),
        state["epoch"],
        state["batch"],
        None if calibration is None else AttentionReport.from_dict(calibration),
        state.get("uncalibrated"),
        {name: RateProbe.from_dict(probe) for name, probe in state.get("probes", {}).items()},
        [Epoch.from_dict(epoch) for epoch in state["history"]],
        dict(state["best"]),
    )


def _finite(weights: State) -> bool:
    tensors = (tensor for tensor in weights.values() if tensor.is_floating_point())
    return all(bool(tensor.isfinite().all()) for tensor in tensors)
