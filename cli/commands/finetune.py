"""``dynsurgeon finetune``: train a converted network on images, and measure what it gains."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

from ..options.shared import Callable, Directory, Force, Json, Report
from ..options.training import TrainingOptions
from ..options.training_data import DataOptions
from ..options.training_machine import MachineOptions
from ..progress import steps
from ..render import print_json
from ..work.finetuning import (
    default_output,
    finetune_directory,
    is_first,
    prepare_output,
    settings_of,
)
from ..work.training_progress import training_progress
from ..work.training_report import print_result

Quiet = Annotated[
    bool, Option("--quiet", "-q", help="Say nothing while it runs; --json implies it.")
]
EXAMPLES = (
    "dynsurgeon finetune resnet18-dynamic --data photos --reset-head auto --baseline",
    "dynsurgeon finetune mynet-dynamic --model net.py:build --data fashion-mnist --epochs 18",
    "dynsurgeon finetune resnet18-dynamic --data photos --resume",
    "dynsurgeon finetune resnet18-dynamic --data photos --track csv --track tensorboard",
    "dynsurgeon finetune resnet18-dynamic --data photos --lr 0.01 --attention-factor 0.1",
    "dynsurgeon finetune resnet18-dynamic --data photos --lr auto --baseline",
    "torchrun --nproc-per-node 4 -m dynsurgeon finetune resnet18-dynamic --data photos "
    "--precision bf16",
)


def run(
    directory: Directory,
    data: DataOptions,
    recipe: TrainingOptions,
    machine: MachineOptions,
    output: Annotated[
        Path | None,
        Option("--output", "-o", metavar="DIR", help="Where to write. Default: DIR-finetuned."),
    ] = None,
    model: Callable = None,
    report: Report = False,
    force: Force = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Train the dynamic network in DIR on a folder of images.

    The output gets the network with the weights of its best epoch, which export and verify take as
    they take DIR, and the checkpoints. A network straight from convert has its attention fitted to
    training images first. After a kill at any moment, --resume goes on from the last checkpoint to
    the same result. Under torchrun or accelerate launch, all processes share the work.
    """
    settings = settings_of(recipe, machine)
    if report:
        from ..work.reporting import require_jinja2

        require_jinja2()
    target = output or default_output(directory)
    if is_first():
        prepare_output(target, resume=machine.resume, force=force)
    with training_progress(shown=is_first() and not (quiet or json)) as listener:
        document = finetune_directory(
            directory,
            target,
            data,
            settings,
            model=model,
            resume=machine.resume,
            listener=listener,
        )
    if not is_first():
        return
    if report:
        from ..work.reporting import report_directory

        with steps() as step:
            step("writing the report")
            report_directory(target)
    if json:
        print_json({**document, "directory": str(target)})
        return
    print_result(document, target)
