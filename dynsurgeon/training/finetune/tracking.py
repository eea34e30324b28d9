"""The numbers of a run as they come, sent to Accelerate's trackers: CSV files, TensorBoard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynsurgeon.errors import ConfigError, StorageError
from dynsurgeon.training.finetune.settings import FinetuneSettings

if TYPE_CHECKING:
    from accelerate import Accelerator

    from dynsurgeon.training.finetune.arm import Arm
    from dynsurgeon.training.finetune.results import Epoch
    from dynsurgeon.training.finetune.tally import Tally

TENSORBOARD = "tensorboard"
"""Name of Accelerate's tracker, and of the folder that it writes to."""


def trackers_for(settings: FinetuneSettings, folder: Path | None) -> dict[str, Any]:
    """Return what an `Accelerator` takes so as to log as the settings ask.

    Args:
        settings: Whose `track` names the trackers.
        folder: Where they write.

    Raises:
        ConfigError: There is no folder, or TensorBoard is not installed.
    """
    if not settings.track:
        return {}
    if folder is None:
        raise ConfigError("track needs a folder to write to: pass logs to ds.finetune")
    from accelerate.utils import ProjectConfiguration, is_tensorboard_available

    from dynsurgeon.training.finetune.csv_tracker import CsvTracker

    if TENSORBOARD in settings.track and not is_tensorboard_available():
        raise ConfigError(  # Accelerate would leave it out without a word
            "a log for TensorBoard takes the package tensorboard, which is not installed; pip "
            "install 'dynsurgeon[tensorboard]', or track by csv"
        )
    chosen = [CsvTracker(folder) if name == "csv" else name for name in settings.track]
    return {
        "log_with": chosen,
        "project_config": ProjectConfiguration(logging_dir=str(folder)),
    }


def require_no_log(folder: Path) -> None:
    """Make sure that no earlier run's log would be continued.

    Raises:
        StorageError: There is one.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise StorageError(f"'{folder}' holds the log of an earlier run; choose another folder")


class RunLog:
    """Sends the numbers of a run to the trackers of its first engine; without any, nowhere.

    Args:
        engine: Set up with what `trackers_for` returned.
        done: Steps that were done before; what a log holds of later ones is dropped.
    """

    def __init__(self, engine: Accelerator, done: int = 0) -> None:
        self.engine = engine
        if engine.log_with:
            # TensorBoard's own way to leave out what a run that died had written too far.
            engine.init_trackers(
                TENSORBOARD, init_kwargs={TENSORBOARD: {"purge_step": done + 1 if done else None}}
            )
        for tracker in engine.trackers:
            if tracker.name == "csv":
                tracker.go_on_from(done)

    def step(self, arms: Sequence[Arm], done: int, tallies: Mapping[str, Tally]) -> None:
        """Take in that so many steps are done, and each arm's mean loss since the last time."""
        if not self.engine.trackers:
            return
        values = {f"loss/{name}": tally.latest for name, tally in tallies.items()}
        values |= {f"rate/{arm.name}": arm.rate for arm in arms}
        if (schedule := arms[0].temperature) is not None:
            values["temperature"] = schedule.temperature
        self.engine.log(values, step=done)

    def epoch(self, epoch: Epoch, done: int) -> None:
        """Take in a complete epoch, after so many steps."""
        if not self.engine.trackers:
            return
        values: dict[str, float] = {"epoch": epoch.number}
        for part, scores in (("train", epoch.train), ("val", epoch.val)):
            for name, score in scores.items():
                values[f"{part}/accuracy/{name}"] = score.accuracy
                values[f"{part}/loss/{name}"] = score.loss
        self.engine.log(values, step=done)

    def close(self) -> None:
        """Let the trackers finish; the processes stay together."""
        for tracker in self.engine.trackers:  # `end_training` would part them
            tracker.finish()
        self.engine.trackers = []


@contextmanager
def run_log(engine: Accelerator, done: int) -> Iterator[RunLog]:
    """Give the log of a run, and close it however the run ends."""
    log = RunLog(engine, done)
    try:
        yield log
    finally:
        log.close()
