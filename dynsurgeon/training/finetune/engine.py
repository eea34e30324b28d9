"""Fine-tune a converted network, with Hugging Face Accelerate as the engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from dynsurgeon.recipe import recipe_of
from dynsurgeon.surgery.copying import copy_of
from dynsurgeon.surgery.randomness import forked_random
from dynsurgeon.training.finetune.arm import Arm
from dynsurgeon.training.finetune.calibration import calibrate_start
from dynsurgeon.training.finetune.checkpoint import CheckpointFolder, identity_of
from dynsurgeon.training.finetune.data import TrainingData
from dynsurgeon.training.finetune.launch import accelerators, check_classes, check_parts
from dynsurgeon.training.finetune.listener import Listener
from dynsurgeon.training.finetune.loading import Sharing, steps_an_epoch
from dynsurgeon.training.finetune.rates import make_optimizer
from dynsurgeon.training.finetune.results import FinetuneResult, Gain, Score
from dynsurgeon.training.finetune.run import Run
from dynsurgeon.training.finetune.settings import FinetuneSettings
from dynsurgeon.training.finetune.twin import static_twin

if TYPE_CHECKING:
    from accelerate import Accelerator


def finetune(
    dynamic: nn.Module,
    data: TrainingData,
    settings: FinetuneSettings | None = None,
    *,
    checkpoints: str | Path | None = None,
    resume: bool = False,
    listener: Listener | None = None,
) -> FinetuneResult:
    """Train a converted network, in place, and leave it with the weights of its best epoch.

        data = ds.load_images("photos", (3, 224, 224))
        result = ds.finetune(dynamic, data, ds.FinetuneSettings(epochs=20, baseline=True))

    A network that comes straight from `convert` has its attention fitted to the training images
    first, as `calibrate` does it, unless the settings say otherwise.

    Under ``torchrun`` or ``accelerate launch`` each process calls it with the same arguments, and a
    step's batch is divided among them. A resumed run ends with the very weights of one that was
    never stopped, bit for bit on the CPU. BatchNorm normalises with the statistics of each
    process's own share of a batch (and the running ones are those of process 0), so there the
    number of processes makes a difference, unless ``freeze_batchnorm`` is on.

    Args:
        dynamic: A converted network; its output is a table of class scores ``(N, classes)``.
        data: What to train and to measure it on: from `load_images`, or any two datasets.
        settings: How.
        checkpoints: Folder of the checkpoints, with none of an earlier run unless it is resumed;
            None to keep the best weights in memory alone.
        resume: Go on from the checkpoint in that folder; `dynamic` is the network that the run
            began with.
        listener: Is told what goes on.

    Raises:
        ConfigError: A setting does not fit the data or the machine, or Accelerate is missing.
        DataError: An image can't be read, or a label is none of the network's classes.
        TrainingError: The loss or the weights are no finite numbers any more.
        StorageError: A checkpoint can't be written or read, or is of another run.
        RestoreError: A twin was asked for, and the network has left its exact start.
        UnsupportedModelError: The network was not converted by dynsurgeon, is no classifier, or
            can't be calibrated as the settings insist.
    """
    settings, listener = settings or FinetuneSettings(), listener or Listener()
    recipe_of(dynamic)  # refuses what was not converted
    folder = None
    if checkpoints is not None:
        folder = CheckpointFolder(Path(checkpoints), identity_of(dynamic, data, settings))
    steps = steps_an_epoch(len(data.train), settings.batch)  # type: ignore[arg-type]
    with _undisturbed(), ExitStack() as stack:
        check_classes(dynamic, data)
        models = {"dynamic": dynamic}
        if settings.baseline:
            models["static"] = static_twin(dynamic)
        spare = {name: copy_of(m) for name, m in models.items()} if settings.shard else {}
        engines = stack.enter_context(accelerators(settings, len(models)))
        sharing = _sharing(settings, engines[0])
        calibration = None
        if not resume:
            _check_start(dynamic, settings, folder, engines[0])
            check_parts(dynamic, data, settings, sharing)
            calibration = calibrate_start(dynamic, data, settings, engines[0])
            if calibration is not None:
                listener.calibrated(calibration)
        arms = [
            Arm(name, model, settings, steps, engine)
            for (name, model), engine in zip(models.items(), engines, strict=True)
        ]
        run = Run(arms, data, settings, sharing, folder, listener)
        run.resume() if resume else run.start(calibration)
        run.train()
        scores, gain = run.finish()
        return _result(run, scores, gain, spare)


def _sharing(settings: FinetuneSettings, engine: Accelerator) -> Sharing:
    return Sharing(settings.batch, settings.accumulate, engine.process_index, engine.num_processes)


def _check_start(
    dynamic: nn.Module,
    settings: FinetuneSettings,
    folder: CheckpointFolder | None,
    engine: Accelerator,
) -> None:
    # Before the minutes that calibration can take.
    make_optimizer(dynamic, settings)
    if folder is not None and engine.is_main_process:
        folder.require_empty()
        folder.require_writable()


def _result(
    run: Run, scores: dict[str, Score], gain: Gain | None, spare: dict[str, nn.Module]
) -> FinetuneResult:
    progress = run.progress
    models: dict[str, nn.Module] = {}
    for arm in run.arms:
        if run.settings.shard:
            weights, models[arm.name] = arm.weights(), spare[arm.name].eval()
            models[arm.name].load_state_dict(weights)
        else:
            models[arm.name] = arm.release()
    return FinetuneResult(
        model=models["dynamic"],
        best_epoch=progress.best,
        val=scores,
        before=progress.before,
        gain=gain,
        history=tuple(progress.history),
        steps=run.steps * run.settings.epochs,
        processes=run.sharing.world,
        calibration=progress.calibration,
        twin=models.get("static"),
    )


@contextmanager
def _undisturbed() -> Iterator[None]:
    # Training seeds the generators all the time; afterwards they go on as if it had not.
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    with forked_random(devices):
        yield
