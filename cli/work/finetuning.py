"""The work of ``finetune``: load, train, save with a receipt."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynsurgeon.errors import ConfigError, StorageError
from dynsurgeon.training.finetune.settings import FinetuneSettings, Rate

from ..options.training import TrainingOptions
from ..options.training_data import DataOptions
from ..options.training_machine import MachineOptions
from ..output import (
    CHECKPOINTS,
    INSPECTION,
    LOGS,
    ONNX,
    RECEIPT,
    RECIPE,
    REPORT,
    TENSORS,
    check_free,
)

if TYPE_CHECKING:
    from dynsurgeon.training.finetune.data import TrainingData
    from dynsurgeon.training.finetune.listener import Listener
    from dynsurgeon.training.finetune.results import FinetuneResult

    from .loading import Subject

Document = dict[str, Any]
FUNCTION = "fine-tuned: the function differs from the original's, on purpose"


def default_output(directory: Path) -> Path:
    """Return ``DIR-finetuned``."""
    return directory.with_name(f"{directory.resolve().name}-finetuned")


def is_first() -> bool:
    """Whether this process prints and writes: the only one, or the first that was launched."""
    return int(os.environ.get("RANK", "0")) == 0


def prepare_output(directory: Path, *, resume: bool, force: bool) -> None:
    """Make sure that the run can write, before anything is loaded.

    Raises:
        StorageError: Something is in the way, or there is nothing to resume.
        ConfigError: `resume` and `force` contradict each other.
    """
    if resume and force:
        raise ConfigError("--resume goes on with a run that --force would throw away; choose one")
    _sweep(directory)
    last = directory / CHECKPOINTS / "last.pt"
    if resume:
        if not last.is_file():
            raise StorageError(f"there is no checkpoint '{last}' to resume from")
        return
    if last.is_file() and not force:
        raise StorageError(
            f"'{directory}' holds an earlier run; pass --resume to go on with it, --force to "
            "start over, or another --output"
        )
    check_free(directory, force=force)
    for earlier in (CHECKPOINTS, LOGS):
        shutil.rmtree(directory / earlier, ignore_errors=True)


def _sweep(directory: Path) -> None:
    """Remove what a run that was killed while it wrote its result has left."""
    for name in (RECIPE, TENSORS, RECEIPT):
        for part in directory.glob(f".{name}.*"):
            part.unlink(missing_ok=True)


def finetune_directory(
    directory: Path,
    target: Path,
    data: DataOptions,
    settings: FinetuneSettings,
    *,
    model: str | None,
    resume: bool,
    listener: Listener,
) -> Document:
    """Train the network in `directory`, and write the result into `target`.

    Returns:
        The receipt, as written to ``receipt.json``.

    Raises:
        SurgeryError: Whatever stands in the way.
    """
    from dynsurgeon.training.finetune.data import load_images
    from dynsurgeon.training.finetune.engine import finetune

    from .loading import reload_subject
    from .normalization import statistics_of

    subject = reload_subject(directory, model)
    images = load_images(
        data.data,
        subject.origin["input_size"],
        augment=data.augment.value,
        statistics=statistics_of(data.normalize, subject),
        val_share=data.val_share,
        seed=settings.seed,
    )
    head = renew_head(subject, data.reset_head, len(images.classes), settings.seed)
    origin = {**subject.origin, **({"head": head} if head else {})}
    result = finetune(
        subject.model,
        images,
        settings,
        checkpoints=target / CHECKPOINTS,
        logs=target / LOGS,
        resume=resume,
        listener=listener,
    )
    document: Document = {}
    if is_first():
        subject = replace(subject, origin=origin)
        document = _write(directory, target, subject, images, settings, result)
    _leave_group()
    return document


def settings_of(recipe: TrainingOptions, machine: MachineOptions) -> FinetuneSettings:
    """Merge the options into settings.

    Raises:
        ConfigError: One of them is not valid.
    """
    values = {**vars(recipe), **vars(machine)}
    values["temperature_start"] = values.pop("temperature")
    values["calibrate"] = "auto" if recipe.calibrate is None else recipe.calibrate
    values["freeze"] = tuple(recipe.freeze or ())
    values["lr"] = _rate(recipe.lr)
    values["track"] = tuple(name.value for name in machine.track or ())
    values["optimizer"], values["precision"] = recipe.optimizer.value, machine.precision.value
    del values["resume"]
    return FinetuneSettings(**values)


def _rate(text: str) -> Rate:
    if text == "auto":
        return "auto"
    try:
        return float(text)
    except ValueError as error:
        raise ConfigError(f"--lr takes a number or auto, got {text!r}") from error


def renew_head(
    subject: Subject, wanted: str | None, classes: int, seed: int
) -> dict[str, Any] | None:
    """Put a new last layer in place, if one is asked for and needed; say what it is.

    Raises:
        ConfigError: `wanted` is neither ``auto`` nor a number of classes.
        UnsupportedModelError: The last layer can't be replaced.
    """
    from dynsurgeon.training.finetune.head import count_classes, find_head, reset_head

    if wanted is None:
        return None
    if wanted != "auto" and not (wanted.isdecimal() and int(wanted) > 0):
        raise ConfigError(f"--reset-head takes auto or a number of classes, got {wanted!r}")
    if wanted == "auto" and count_classes(subject.model, subject.inputs) == classes:
        return None
    count = classes if wanted == "auto" else int(wanted)
    name = find_head(subject.model, subject.inputs)
    reset_head(subject.model, name, count, seed)
    return {"name": name, "classes": count}


def _write(
    directory: Path,
    target: Path,
    subject: Subject,
    images: TrainingData,
    settings: FinetuneSettings,
    result: FinetuneResult,
) -> Document:
    import dynsurgeon as ds
    from dynsurgeon.recipe import recipe_of
    from dynsurgeon.workflow.receipt import read_receipt, versions, write_receipt

    before = read_receipt(directory)
    short = {
        "accuracy": result.val["dynamic"].accuracy,
        "classes": list(images.classes),
        "preprocessing": images.facts["preprocessing"],
    }
    origin = {**subject.origin, "finetuned": short}
    model = result.model.cpu()
    old = _digest(target)
    ds.save(model, target, origin=origin)
    same = _digest(target) == old  # a run that was complete was resumed
    if not same:
        for stale in (ONNX, f"{ONNX}.data", REPORT):  # of an earlier run's network
            (target / stale).unlink(missing_ok=True)
        shutil.rmtree(target / INSPECTION, ignore_errors=True)
    document = {
        "format": 1,
        "model": origin,
        "config": recipe_of(model).config,
        "function": FUNCTION,
        "costs": _costs(before.get("costs"), model),
        "sites": before.get("sites"),
        "torch": None,
        "onnx": read_receipt(target).get("onnx") if same else None,
        "agreement": None,
        "start": {"torch": before.get("torch"), "calibration": before.get("calibration")},
        "finetuned": {
            "from": directory.name,
            "settings": settings.to_dict(),
            "data": images.facts,
            "classes": list(images.classes),
            **result.to_dict(),
        },
        "notes": before.get("notes") or [],
        "versions": {**versions(), "accelerate": version("accelerate")},
    }
    write_receipt(target, document)
    return document


def _digest(directory: Path) -> str | None:
    from dynsurgeon.storage import read_recipe

    try:
        return read_recipe(directory).sha256
    except StorageError:
        return None


def _costs(before: Mapping[str, Any] | None, model: Any) -> Document:
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {**(before or {}), "params_after": parameters}


def _leave_group() -> None:
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()
