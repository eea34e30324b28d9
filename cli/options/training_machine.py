"""The options of ``finetune`` that say on what it runs, and how often it saves."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from typer import Option

MACHINE = "Machine and run"


class Tracker(StrEnum):
    """What a run's numbers are written for."""

    CSV = "csv"
    TENSORBOARD = "tensorboard"


class Precision(StrEnum):
    """Precisions on the command line."""

    NO = "no"
    BF16 = "bf16"
    FP16 = "fp16"


@dataclass(frozen=True)
class MachineOptions:
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
