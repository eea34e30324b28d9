"""The options of ``finetune`` that say how is trained. Defaults are those of `FinetuneSettings`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from typer import Option

TRAINING = "Recipe"


class Optimizer(StrEnum):
    """Optimizers on the command line."""

    SGD = "sgd"
    ADAMW = "adamw"


@dataclass(frozen=True)
class TrainingOptions:
    """How is trained."""

    epochs: Annotated[
        int, Option(metavar="N", help="Passes over the data.", rich_help_panel=TRAINING)
    ] = 10
    batch: Annotated[
        int,
        Option(
            metavar="N",
            help="Samples a step, over all processes and accumulated parts.",
            rich_help_panel=TRAINING,
        ),
    ] = 128
    accumulate: Annotated[
        int,
        Option(metavar="N", help="Parts that a batch is run in.", rich_help_panel=TRAINING),
    ] = 1
    lr: Annotated[
        str,
        Option(
            metavar="R|auto",
            help="Largest learning rate; auto tries some first, for each network by itself, which "
            "takes about an epoch.",
            rich_help_panel=TRAINING,
        ),
    ] = "0.02"
    optimizer: Annotated[
        Optimizer, Option(help="SGD has Nesterov's momentum.", rich_help_panel=TRAINING)
    ] = Optimizer.SGD
    momentum: Annotated[
        float, Option(metavar="M", help="Momentum of SGD.", rich_help_panel=TRAINING)
    ] = 0.9
    weight_decay: Annotated[
        float,
        Option(metavar="W", help="Not for biases and norms.", rich_help_panel=TRAINING),
    ] = 1e-4
    warmup: Annotated[
        float,
        Option(
            metavar="E",
            help="Epochs in which the learning rate rises; then it falls on a cosine.",
            rich_help_panel=TRAINING,
        ),
    ] = 0.5
    bank_factor: Annotated[
        float | None,
        Option(
            metavar="F",
            help="Rate over --lr at which kernels part. Default: the root of their number, "
            "with adamw 1.",
            rich_help_panel=TRAINING,
            show_default=False,
        ),
    ] = None
    attention_factor: Annotated[
        float,
        Option(metavar="F", help="Rate of the attention over --lr.", rich_help_panel=TRAINING),
    ] = 0.05
    relu_factor: Annotated[
        float | None,
        Option(
            metavar="F",
            help="Rate of the DY-ReLUs' heads over --lr. Default: 1, and less for wide layers.",
            rich_help_panel=TRAINING,
            show_default=False,
        ),
    ] = None
    calibrate: Annotated[
        bool | None,
        Option(
            "--calibrate/--no-calibrate",
            help="Fit the attention to training images first; the function stays. Default: where "
            "the network comes straight from convert.",
            rich_help_panel=TRAINING,
            show_default=False,
        ),
    ] = None
    freeze: Annotated[
        list[str] | None,
        Option(
            metavar="PATTERN",
            help="Don't train: bank, attention, relu, rest, or a glob on names of parameters. Can "
            "be repeated.",
            rich_help_panel=TRAINING,
            show_default=False,
        ),
    ] = None
    temperature: Annotated[
        float | None,
        Option(
            metavar="T",
            help="Softmax temperature at the start. Default: what the network has.",
            rich_help_panel=TRAINING,
            show_default=False,
        ),
    ] = None
    temperature_end: Annotated[
        float, Option(metavar="T", help="And at the end.", rich_help_panel=TRAINING)
    ] = 1.0
    temperature_epochs: Annotated[
        float, Option(metavar="E", help="Epochs from one to the other.", rich_help_panel=TRAINING)
    ] = 10.0
    label_smoothing: Annotated[
        float, Option(metavar="S", help="Label smoothing.", rich_help_panel=TRAINING)
    ] = 0.0
    clip_norm: Annotated[
        float | None,
        Option(
            metavar="G",
            help="Largest norm of the gradient.",
            rich_help_panel=TRAINING,
            show_default=False,
        ),
    ] = None
    ema: Annotated[
        float,
        Option(
            metavar="D",
            help="Decay of a moving average of the weights, which becomes the result; 0 for none.",
            rich_help_panel=TRAINING,
        ),
    ] = 0.0
    batchnorm_samples: Annotated[
        int,
        Option(
            metavar="N",
            help="Training images on which BatchNorm's statistics are re-estimated for each "
            "evaluation and for the result; 0 leaves those that momentum found.",
            rich_help_panel=TRAINING,
        ),
    ] = 1024
    freeze_batchnorm: Annotated[
        bool,
        Option(
            "--freeze-batchnorm",
            help="Normalise with the pretrained statistics.",
            rich_help_panel=TRAINING,
        ),
    ] = False
