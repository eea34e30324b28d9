"""Fine-tune a converted network, with Hugging Face Accelerate as the engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from dynsurgeon.errors import ConfigError
from dynsurgeon.recipe import mark_fitted, recipe_of
from dynsurgeon.running.copying import copy_of
from dynsurgeon.running.randomness import kept_random
from dynsurgeon.timing.noise import SPREAD_LIMIT
from dynsurgeon.training.finetune.arm import Arm
from dynsurgeon.training.finetune.batch_norm import lag_notes
from dynsurgeon.training.finetune.calibration import calibrate_start
from dynsurgeon.training.finetune.checkpoint import CheckpointFolder, identity_of
from dynsurgeon.training.finetune.cost import Cost, measure_cost
from dynsurgeon.training.finetune.data import TrainingData
from dynsurgeon.training.finetune.launch import accelerators, check_classes, check_parts
from dynsurgeon.training.finetune.listener import Listener, Setup
from dynsurgeon.training.finetune.loading import Sharing
from dynsurgeon.training.finetune.rate_probe import probe_rates
from dynsurgeon.training.finetune.results import FinetuneResult, Gain, RateProbe, Score
from dynsurgeon.training.finetune.run import Run, progress_from
from dynsurgeon.training.finetune.settings import FinetuneSettings
from dynsurgeon.training.finetune.setup import describe
from dynsurgeon.training.finetune.sharding import State
from dynsurgeon.training.finetune.tracking import require_no_log, run_log
from dynsurgeon.training.finetune.twin import static_twin
from dynsurgeon.training.finetune.verdict import verdict_on

if TYPE_CHECKING:
    from accelerate import Accelerator


def finetune(
    dynamic: nn.Module,
    data: TrainingData,
    settings: FinetuneSettings | None = None,
    *,
    checkpoints: str | Path | None = None,
    logs: str | Path | None = None,
    resume: bool = False,
    listener: Listener | None = None,
) -> FinetuneResult:
    """Train a converted network, in place, and leave it with the weights of its best epoch.

        data = ds.load_images("photos", (3, 224, 224))
        result = ds.finetune(dynamic, data, ds.FinetuneSettings(epochs=20, baseline=True))

    A network that comes straight from `convert` has its attention fitted to the training images
    first, as `calibrate` does it, unless the settings say otherwise, or the images are unlike those
    that it was pretrained on; a note of the result says so.

    Under ``torchrun`` or ``accelerate launch`` each process calls it with the same arguments, and a
    step's batch is divided among them. A resumed run ends with the very weights of one that was
    never stopped, bit for bit on the CPU. BatchNorm normalises with the statistics of each
    process's own share of a batch, so there the number of processes makes a difference, unless
    ``freeze_batchnorm`` is on.

    What is measured and saved has running statistics that fit its weights, and those of its moving
    average if there is one: see `update_batch_norm` and ``batchnorm_samples``.

    Args:
        dynamic: A converted network; its output is a table of class scores ``(N, classes)``.
        data: What to train and to measure it on: from `load_images`, or any two datasets.
        settings: How.
        checkpoints: Folder of the checkpoints, with none of an earlier run unless it is resumed;
            None to keep the best weights in memory alone.
        logs: Folder that ``settings.track`` writes to: ``steps.csv`` and ``epochs.csv``, and what
            TensorBoard reads. A resumed run goes on with what is there.
        resume: Go on from the checkpoint in that folder; `dynamic` is the network that the run
            began with.
        listener: Is told what goes on.

    Raises:
        ConfigError: A setting does not fit the data or the machine, or Accelerate or TensorBoard is
            missing.
        DataError: An image can't be read, or a label is none of the network's classes.
        TrainingError: The loss or the weights are no finite numbers any more.
        StorageError: A checkpoint or a log can't be written or read, or is of another run.
        RestoreError: A twin was asked for, and the network has left its exact start.
        UnsupportedModelError: The network was not converted by dynsurgeon, is no classifier, or
            can't be calibrated as the settings insist.
    """
    settings, listener = settings or FinetuneSettings(), listener or Listener()
    recipe_of(dynamic)  # refuses what was not converted
    folder = None
    if checkpoints is not None:
        folder = CheckpointFolder(Path(checkpoints), identity_of(dynamic, data, settings))
    with _undisturbed(), ExitStack() as stack:
        check_classes(dynamic, data)
        models = {"dynamic": dynamic}
        if settings.baseline:
            models["static"] = static_twin(dynamic)
        spare = {name: copy_of(m) for name, m in models.items()} if settings.shard else {}
        logs = None if logs is None else Path(logs)
        engines = stack.enter_context(accelerators(settings, len(models), logs))
        sharing = _sharing(settings, engines[0])
        setup = describe(models, data, settings, engines[0])
        state, calibration, uncalibrated, probes = None, None, None, {}
        if resume:
            state = _last_of(folder)
            probes = progress_from(state["progress"]).probes
            listener.loaded(setup)
        else:
            _check_folders(folder, logs if settings.track else None, engines[0])
            check_parts(dynamic, data, settings, sharing)
            listener.loaded(setup)
            calibration, uncalibrated = calibrate_start(
                dynamic, data, settings, engines[0], listener
            )
            if calibration is not None:
                listener.calibrated(calibration)
            if uncalibrated is not None:
                listener.uncalibrated(uncalibrated)
            probes = probe_rates(models, data, settings, sharing, engines[0], listener)
        arms = [
            Arm(name, model, _rated(settings, probes.get(name)), setup.steps, engine)
            for (name, model), engine in zip(models.items(), engines, strict=True)
        ]
        log = stack.enter_context(run_log(engines[0], _steps_done(state, setup)))
        run = Run(arms, data, settings, sharing, folder, listener, log)
        run.start(calibration, uncalibrated, probes) if state is None else run.resume(state)
        run.train()
        scores, gain = run.finish()
        return _result(run, scores, gain, spare, setup)


def _sharing(settings: FinetuneSettings, engine: Accelerator) -> Sharing:
    return Sharing(settings.batch, settings.accumulate, engine.process_index, engine.num_processes)


def _last_of(folder: CheckpointFolder | None) -> State:
    if folder is None:
        raise ConfigError("there is nothing to resume without a folder of checkpoints")
    return folder.read_last()


def _rated(settings: FinetuneSettings, probe: RateProbe | None) -> FinetuneSettings:
    return settings if probe is None else settings.at(probe.chosen)


def _check_folders(folder: CheckpointFolder | None, logs: Path | None, engine: Accelerator) -> None:
    # Before the minutes that calibration can take.
    if not engine.is_main_process:
        return
    if folder is not None:
        folder.require_empty()
        folder.require_writable()
    if logs is not None:
        require_no_log(logs)


def _steps_done(state: State | None, setup: Setup) -> int:
    progress = {"epoch": 0, "batch": 0} if state is None else state["progress"]
    return int(progress["epoch"] * setup.steps + progress["batch"])


def _result(
    run: Run,
    scores: dict[str, Score],
    gain: Gain | None,
    spare: dict[str, nn.Module],
    setup: Setup,
) -> FinetuneResult:
    progress, history = run.progress, run.progress.history
    models: dict[str, nn.Module] = {}
    for arm in run.arms:
        if run.settings.shard:
            weights, models[arm.name] = arm.weights(), spare[arm.name].eval()
            models[arm.name].load_state_dict(weights)
        else:
            models[arm.name] = arm.release()
    if progress.calibration is not None:  # by the first process, or before the run was resumed
        mark_fitted(models["dynamic"])
    cost = _cost(run, models)
    result = FinetuneResult(
        model=models["dynamic"],
        best_epoch=progress.best,
        val=scores,
        before=progress.before,
        gain=gain,
        history=tuple(history),
        steps=run.steps * run.settings.epochs,
        processes=run.sharing.world,
        calibration=progress.calibration,
        twin=models.get("static"),
        parameters=setup.parameters,
        cost=cost,
        rates={arm.name: float(arm.settings.lr) for arm in run.arms},
        probes=progress.probes,
        notes=(
            *([progress.uncalibrated] if progress.uncalibrated else []),
            *lag_notes(history[-1].lag, run.settings),
            *_cost_notes(cost),
        ),
    )
    return replace(result, verdict=verdict_on(result))


def _cost(run: Run, models: dict[str, nn.Module]) -> Cost | None:
    if len(models) < 2 or not (run.settings.latency and run.main):
        return None
    run.listener.work("latency", 0, 1)
    found = measure_cost(models["dynamic"], models["static"], run.data.val[0][0])
    run.listener.work("latency", 1, 1)
    return found


def _cost_notes(cost: Cost | None) -> tuple[str, ...]:
    if cost is None or cost.spread <= SPREAD_LIMIT:
        return ()
    return (
        f"the machine is noisy: latencies spread by {cost.spread:.0%} of their median; "
        "dynsurgeon bench measures them again",
    )


@contextmanager
def _undisturbed() -> Iterator[None]:
    # Training seeds the generators all the time; afterwards they go on as if it had not.
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    with kept_random(devices):
        yield
