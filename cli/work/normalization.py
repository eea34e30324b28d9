"""What images are normalised with, from an option and from what the network was trained with."""

from __future__ import annotations

from dynsurgeon.deploy.facts import to_metadata
from dynsurgeon.errors import ConfigError, StorageError
from dynsurgeon.models.examples import DETECTORS
from dynsurgeon.models.names import source_of
from dynsurgeon.training.finetune.data import Statistics
from dynsurgeon.training.finetune.transforms import IMAGENET

from .loading import Subject

NONE = ((0.0,), (1.0,))


def statistics_of(option: str, subject: Subject) -> Statistics | None:
    """Return mean and deviation of each channel, or None to measure them on the data.

    ``auto`` takes those of an earlier fine-tuning, those that torchvision's or timm's weights were
    trained with, and else the data's: nobody knows those of a user's own network.

    Raises:
        ConfigError: The option is neither a word that is known nor numbers.
        StorageError: The recipe says something that is no mean and deviation.
    """
    if option == "auto":
        return _known(subject)
    words = {"imagenet": IMAGENET, "data": None, "none": NONE}
    if option in words:
        return words[option]
    try:
        mean, std = (tuple(map(float, part.split(","))) for part in option.split("/"))
    except ValueError as error:
        raise ConfigError(
            "--normalize takes auto, imagenet, data, none, or numbers as in 0.5,0.5,0.5/0.2,0.2,0.2"
            f", got {option!r}"
        ) from error
    return mean, std


def facts_of(subject: Subject) -> dict[str, str]:
    """Return what is known of a network's images and classes, as metadata of its ONNX file."""
    size, statistics = subject.origin["input_size"], _known(subject)
    if statistics is None or len(size) != 3:
        return {}
    mean, std = statistics
    plane = {"height": size[1], "width": size[2]}
    return to_metadata({**plane, "mean": [*mean], "std": [*std]}, _labels(subject))


def _labels(subject: Subject) -> list[str] | None:
    finetuned = subject.origin.get("finetuned") or {}
    if "classes" in finetuned:
        return [str(name) for name in finetuned["classes"]]
    name = subject.origin["model"]
    if source_of(name) != "torchvision" or "num_classes" in subject.origin.get("arguments", {}):
        return None
    from torchvision.models import get_model_weights

    known = {weights.name: weights for weights in get_model_weights(name)}
    known["DEFAULT"] = get_model_weights(name).DEFAULT
    chosen = known.get(str(subject.origin.get("weights")))  # None for weights of a file
    names = None if chosen is None else chosen.meta.get("categories")
    return list(names) if names else None


def _known(subject: Subject) -> Statistics | None:
    origin = subject.origin
    if "finetuned" in origin:
        try:
            before = origin["finetuned"]["preprocessing"]
            return tuple(map(float, before["mean"])), tuple(map(float, before["std"]))
        except (TypeError, KeyError, ValueError) as error:
            raise StorageError("the recipe has no valid preprocessing; pass --normalize") from error
    if isinstance(subject.model, DETECTORS):  # these normalise images themselves
        return NONE
    source = source_of(origin["model"])
    if origin.get("weights") == "random" or source == "callable" or origin["input_size"][0] != 3:
        return None
    settings = getattr(subject.model, "pretrained_cfg", None) or {}
    if source == "timm" and {"mean", "std"} <= settings.keys():
        return settings["mean"], settings["std"]
    return IMAGENET
