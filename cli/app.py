"""The application: its commands, and what becomes of their errors.

Exit codes: 0 done; 1 a fault of ours; 2 usage or configuration; 3 parity failed; 4 the model or its
weights can't be had; 5 the model is of a kind that isn't supported; 6 files in the way or damaged;
7 the data can't be trained on; 8 training diverged; 130 interrupted.
"""

from __future__ import annotations

import logging
import os
import platform
import signal
import sys
import traceback
import warnings
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from dynsurgeon.errors import StorageError, SurgeryError

from .commands import (
    bench,
    convert,
    export,
    finetune,
    inspect,
    models,
    plan,
    quantize,
    report,
    verify,
)
from .options.arguments import join_sizes
from .options.groups import grouped

FAULT, USAGE = 1, 2
DEBUG = "--debug"
EPILOG = """
Examples:

dynsurgeon convert resnet18

dynsurgeon plan timm:mobilenetv3_small_100 --weights random

dynsurgeon verify resnet18-dynamic

Exit codes: 0 done, 1 fault of dynsurgeon, 2 usage, 3 parity failed, 4 no model or weights,

5 model not supported, 6 files in the way or damaged, 7 unfit data, 8 training diverged.
"""


class Commands(TyperGroup):
    """The group of commands; takes ``--debug`` anywhere, and sizes of any number of axes."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the words into the form that typer takes."""
        if DEBUG in args:
            args = [DEBUG, *(word for word in args if word != DEBUG)]
        return super().parse_args(ctx, join_sizes(args))


app = typer.Typer(
    name="dynsurgeon",
    cls=Commands,
    help="Make a pretrained network dynamic without changing what it computes, and prove it.",
    epilog=EPILOG,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def show_version(wanted: bool) -> None:
    """Print the version, and those of what it stands on, and end."""
    if wanted:
        below = [_installed(name) for name in ("torch", "onnx", "onnxruntime")]
        print(f"dynsurgeon {version('dynsurgeon')}")
        print(", ".join((f"Python {platform.python_version()}", *below, platform.platform())))
        raise typer.Exit


def _installed(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:  # installed under another name, as onnxruntime-gpu is
        return f"{name} unknown"


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=show_version, is_eager=True, help="Show the versions."),
    ] = False,
    debug: Annotated[
        bool, typer.Option(DEBUG, help="Show warnings, and the traceback of an error.")
    ] = False,
) -> None:
    """Set up what all commands share."""
    if not debug:  # libraries warn about their own affairs
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)


for module in (
    convert, plan, finetune, export, quantize, verify, report, inspect, bench, models,
):  # fmt: skip
    name = module.__name__.rpartition(".")[2]
    app.command(name, epilog="\n\n".join(("Examples:", *module.EXAMPLES)))(grouped(module.run))


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line, and exit with its code."""
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        sys.exit(app(words, standalone_mode=False, prog_name="dynsurgeon") or 0)
    except Exception as error:
        sys.exit(tell(error, debug=DEBUG in words))


def tell(error: Exception, *, debug: bool) -> int:
    """Say on one line what went wrong, and return the exit code."""
    if isinstance(error, BrokenPipeError):  # the reader of our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAULT
    if debug:
        traceback.print_exception(error)
    message, code = _describe(error)
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return code


def _describe(error: Exception) -> tuple[str, int]:
    if isinstance(error, SurgeryError):
        return str(error), error.exit_code
    if hasattr(error, "format_message"):  # typer's usage errors
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "dynsurgeon"
        return f"{error.format_message().rstrip('.')} (see {command} --help)", USAGE
    if isinstance(error, OSError) and error.filename is not None:
        return f"'{error.filename}': {error.strerror}", StorageError.exit_code
    if isinstance(error, OSError) and error.strerror:
        return error.strerror, StorageError.exit_code
    kind = type(error).__name__
    return f"{kind}: {error} (a fault of dynsurgeon; {DEBUG} shows where)", FAULT
