"""What images are normalised with, by option and by what the network was trained with."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from dynsurgeon.cli.work.loading import Subject
from dynsurgeon.cli.work.normalization import facts_of, statistics_of
from dynsurgeon.deploy.facts import labels_in, preprocessing_in
from dynsurgeon.errors import ConfigError, StorageError
from dynsurgeon.running.inputs import Inputs
from dynsurgeon.training.finetune.transforms import IMAGENET


def subject(model: str = "resnet18", *, channels: int = 3, **origin: Any) -> Subject:
    net = nn.Identity()
    net.pretrained_cfg = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}  # type: ignore[assignment]
    known = {"model": model, "weights": "DEFAULT", "input_size": [channels, 8, 8]}
    return Subject(net, Inputs(torch.zeros(2, channels, 8, 8)), {**known, **origin})


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (subject(), IMAGENET),
        (subject(weights="random"), None),
        (subject(channels=1), None),
        (subject("net.py:build"), None),
        (subject("timm:resnet18"), ((0.5,) * 3, (0.25,) * 3)),
    ],
)
def test_auto_takes_what_the_weights_were_trained_with(found: Subject, expected: Any) -> None:
    assert statistics_of("auto", found) == expected


def test_auto_takes_what_an_earlier_fine_tuning_used() -> None:
    before = {"preprocessing": {"mean": [0.1], "std": [0.2]}}
    assert statistics_of("auto", subject(finetuned=before)) == ((0.1,), (0.2,))
    for damaged in (3, {}, {"preprocessing": {"mean": ["x"], "std": [1]}}):
        with pytest.raises(StorageError, match="--normalize"):
            statistics_of("auto", subject(finetuned=damaged))


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("imagenet", IMAGENET),
        ("data", None),
        ("none", ((0.0,), (1.0,))),
        ("0.2860/0.3530", ((0.286,), (0.353,))),
        ("0.1,0.2,0.3/1,2,3", ((0.1, 0.2, 0.3), (1.0, 2.0, 3.0))),
    ],
)
def test_the_option_wins(option: str, expected: Any) -> None:
    assert statistics_of(option, subject()) == expected


@pytest.mark.parametrize("option", ["", "often", "1", "1/2/3", "a/b", "0.1;0.2/1;2"])
def test_anything_else_is_refused(option: str) -> None:
    with pytest.raises(ConfigError, match="--normalize takes"):
        statistics_of(option, subject())


def test_what_a_file_says_of_images_and_classes() -> None:
    facts = facts_of(subject())
    images, labels = preprocessing_in(facts), labels_in(facts)
    assert images is not None
    assert (images.height, images.mean, images.std) == (8, *IMAGENET)
    assert labels is not None
    assert (len(labels), labels[0]) == (1000, "tench")
    before = {"preprocessing": {"mean": [0.1], "std": [0.2]}, "classes": ["a", "b"]}
    assert labels_in(facts_of(subject(finetuned=before))) == ("a", "b")


@pytest.mark.parametrize(
    "found", [subject(weights="net.pth"), subject(arguments={"num_classes": 5})]
)
def test_classes_of_other_weights_are_not_known(found: Subject) -> None:
    assert labels_in(facts_of(found)) is None


def test_nothing_is_said_where_nothing_is_known() -> None:
    assert facts_of(subject(weights="random")) == {}
