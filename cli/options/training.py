"""The options of ``finetune``, in groups. Defaults are those of `FinetuneSettings`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from typer import Option

DATA, RECIPE, MACHINE = "Data", "Recipe", "Machine and run"


class Augment(StrEnum):
    """How training images are varied."""

    AUTO = "auto"
    NONE = "none"
    FLIP = "flip"
    CROP = "crop"


class Optimizer(StrEnum):
    """Optimizers on the command line."""

    SGD = "sgd"
    ADAMW = "adamw"


class Tracker(StrEnum):
    """What a run's numbers are written for."""

    CSV = "csv"
    TENSORBOARD = "tensorboard"


class Precision(StrEnum):
    """Precisions on the command line."""

    NO = "no"
    BF16 = "bf16"
    FP16 = "fp16"


Normalize = Annotated[
    str,
    Option(
        metavar="auto|imagenet|data|none|MEANS/DEVIATIONS",
        help="What images are normalised with: auto takes what the model's weights were trained "
        "with, or else the data's own mean and deviation.",
        rich_help_panel=DATA,
    ),
]


@dataclass(frozen=True)
class DataOptions:
    """What is trained on."""

    data: Annotated[
        Path,
        Option(
            metavar="FOLDER",
            help="A folder of images for each class, below train and val or not; or one with the "
            "idx files of MNIST or Fashion-MNIST.",
            rich_help_panel=DATA,
            show_default=False,
        ),
    ]
    val_share: Annotated[
        float,
        Option(
            metavar="S",
            help="Share of each class set aside where there is no val folder.",
            rich_help_panel=DATA,
        ),
    ] = 0.1
    augment: Annotated[
        Augment,
        Option(
            help="Random variation of the training images; auto is crop, or none for idx files.",
            rich_help_panel=DATA,
        ),
    ] = Augment.AUTO
    normalize: Normalize = "auto"
    reset_head: Annotated[
        str | None,
        Option(
            "--reset-head",
            metavar="N|auto",
            help="Put a new last layer of N classes, or of as many as the data has, in its place.",
            rich_help_panel=DATA,
            show_default=False,
        ),
    ] = None


@dataclass(frozen=True)
class RecipeOptions:
    """How is trained."""

    epochs: Annotated[
        int, Option(metavar="N", help="Passes over the data.", rich_help_panel=RECIPE)
    ] = 10
    batch: Annotated[
        int,
        Option(
            metavar="N",
            help="Samples a step, over all processes and accumulated parts.",
            rich_help_panel=RECIPE,
        ),
    ] = 128
    accumulate: Annotated[
        int,
        Option(metavar="N", help="Parts that a batch is run in.", rich_help_panel=RECIPE),
    ] = 1
    lr: Annotated[
        str,
        Option(
            metavar="R|auto",
            help="Largest learning rate; auto tries some first, for each network by itself, which "
            "takes about an epoch.",
            rich_help_panel=RECIPE,
        ),
    ] = "0.02"
    optimizer: Annotated[
        Optimizer, Option(help="SGD has Nesterov's momentum.", rich_help_panel=RECIPE)
    ] = Optimizer.SGD
    momentum: Annotated[
        float, Option(metavar="M", help="Momentum of SGD.", rich_help_panel=RECIPE)
    ] = 0.9
    weight_decay: Annotated[
        float,
        Option(metavar="W", help="Not for biases and norms.", rich_help_panel=RECIPE),
    ] = 1e-4
    warmup: Annotated[
        float,
        Option(
            metavar="E",
            help="Epochs in which the learning rate rises; then it falls on a cosine.",
            rich_help_panel=RECIPE,
        ),
    ] = 0.5
    bank_factor: Annotated[
        float | None,
        Option(
            metavar="F",
            help="Rate over --lr at which kernels part. Default: the root of their number, "
            "with adamw 1.",
            rich_help_panel=RECIPE,
            show_default=False,
        ),
    ] = None
    attention_factor: Annotated[
        float,
        Option(metavar="F", help="Rate of the attention over --lr.", rich_help_panel=RECIPE),
    ] = 0.05
    relu_factor: Annotated[
        float | None,
        Option(
            metavar="F",
            help="Rate of the DY-ReLUs' heads over --lr. Default: 1, and less for wide layers.",
            rich_help_panel=RECIPE,
            show_default=False,
        ),
    ] = None
    calibrate: Annotated[
        bool | None,
        Option(
            "--calibrate/--no-calibrate",
            help="Fit the attention to training images first; the function stays. Default: where "
            "the network comes straight from convert.",
            rich_help_panel=RECIPE,
            show_default=False,
        ),
    ] = None
    freeze: Annotated[
        list[str] | None,
        Option(
            metavar="PATTERN",
            help="Don't train: bank, attention, relu, rest, or a glob on names of parameters. Can "
            "be repeated.",
            rich_help_panel=RECIPE,
            show_default=False,
        ),
    ] = None
    temperature: Annotated[
        float | None,
        Option(
            metavar="T",
            help="Softmax temperature at the start. Default: what the network has.",
            rich_help_panel=RECIPE,
            show_default=False,
        ),
    ] = None
    temperature_end: Annotated[
        float, Option(metavar="T", help="And at the end.", rich_help_panel=RECIPE)
    ] = 1.0
    temperature_epochs: Annotated[
        float, Option(metavar="E", help="Epochs from one to the other.", rich_help_panel=RECIPE)
    ] = 10.0
    label_smoothing: Annotated[
        float, Option(metavar="S", help="Label smoothing.", rich_help_panel=RECIPE)
    ] = 0.0
    clip_norm: Annotated[
        float | None,
        Option(
            metavar="G",
            help="Largest norm of the gradient.",
            rich_help_panel=RECIPE,
            show_default=False,
        ),
    ] = None
    ema: Annotated[
        float,
        Option(
            metavar="D",
            help="Decay of a moving average of the weights, which becomes the result; 0 for none.",
            rich_help_panel=RECIPE,
        ),
    ] = 0.0
    batchnorm_samples: Annotated[
        int,
        Option(
            metavar="N",
            help="Training images on which BatchNorm's statistics are re-estimated for each "
            "evaluation and for the result; 0 leaves those that momentum found.",
            rich_help_panel=RECIPE,
        ),
    ] = 1024
    freeze_batchnorm: Annotated[
        bool,
        Option(
            "--freeze-batchnorm",
            help="Normalise with the pretrained statistics.",
            rich_help_panel=RECIPE,
        ),
    ] = False


@dataclass(frozen=True)
class RunOptions:
    """On what, and how often is saved."""

    baseline: Annotated[
        bool,
        Option(
            "--baseline",
            help="Train the original network beside it, on the same batches, and print the gain.",
            rich_help_panel=MACHINE,
        ),
    ] = False
    latency: Annotated[
        bool,
        Option(
            "--latency/--no-latency",
            help="With --baseline, time both networks at the end, for some seconds.",
            rich_help_panel=MACHINE,
        ),
    ] = True
    resume: Annotated[
        bool,
        Option("--resume", help="Go on from the last checkpoint.", rich_help_panel=MACHINE),
    ] = False
    save_every: Annotated[
        int,
        Option(
            metavar="N",
            help="Steps between checkpoints, besides those at each epoch's end; 0 for none.",
            rich_help_panel=MACHINE,
        ),
    ] = 0
    track: Annotated[
        list[Tracker] | None,
        Option(
            help="Write the numbers of each step and epoch into DIR/logs: as CSV, for TensorBoard "
            "(extra tensorboard), or both, given twice.",
            rich_help_panel=MACHINE,
            show_default=False,
        ),
    ] = None
    precision: Annotated[Precision, Option(help="Mixed precision.", rich_help_panel=MACHINE)] = (
        Precision.NO
    )
    workers: Annotated[
        int, Option(metavar="N", help="Processes that read images.", rich_help_panel=MACHINE)
    ] = 0
    seed: Annotated[
        int,
        Option(
            metavar="N",
            help="Seed of the data's order, of augmentation, drop-out and a new head.",
            rich_help_panel=MACHINE,
        ),
    ] = 0
    cpu: Annotated[bool, Option("--cpu", help="Stay on the CPU.", rich_help_panel=MACHINE)] = False
    shard: Annotated[
        bool,
        Option(
            "--shard",
            help="Divide the parameters among the processes (FSDP).",
            rich_help_panel=MACHINE,
        ),
    ] = False
