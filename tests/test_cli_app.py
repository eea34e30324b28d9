"""The application itself: help, start-up, exit codes, one line for an error."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pytest
from cli_helpers import CommandLine, cli

from dynsurgeon import errors

__all__ = ["cli"]

COMMANDS = ("convert", "plan", "finetune", "export", "verify", "bench", "models")
HEAVY = ("torch", "torchvision", "onnx", "onnxruntime", "numpy", "timm", "accelerate")


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_help_imports_nothing_heavy_and_is_quick() -> None:
    code = (
        "import sys, json, contextlib, io\n"
        "from dynsurgeon.cli.app import main\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
        "    main(['--help'])\n"
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))\n"
    )
    start = time.perf_counter()
    done = python(code)
    assert json.loads(done.stdout) == [], done.stderr
    assert time.perf_counter() - start < 5  # a second, with room for a busy machine


def test_the_module_runs_as_the_command_does() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dynsurgeon", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[0] == f"dynsurgeon {version('dynsurgeon')}"


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_help_shows_commands_examples_and_exit_codes(cli: CommandLine, words: Any) -> None:
    done = cli(*words)
    assert done.code == 0
    for text in (*COMMANDS, "Examples", "dynsurgeon convert resnet18", "Exit codes"):
        assert text in done.out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_shows_examples(cli: CommandLine, command: str) -> None:
    done = cli(command, "--help")
    assert done.code == 0
    assert done.out.count(f"dynsurgeon {command}") >= 3


def test_version(cli: CommandLine) -> None:
    done = cli("--version")
    first, second = done.out.splitlines()
    assert (done.code, first) == (0, f"dynsurgeon {version('dynsurgeon')}")
    for name in ("torch", "onnx", "onnxruntime"):
        assert f"{name} {version(name)}" in second


def test_a_package_of_another_name_has_a_version_that_is_unknown(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def only_ours(name: str) -> str:
        if name != "dynsurgeon":
            raise PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr("dynsurgeon.cli.app.version", only_ours)
    assert "onnxruntime unknown" in cli("--version").out


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["convrt"], "No such command 'convrt'"),
        (["convert"], "Missing argument 'MODEL'"),
        (["convert", "resnet18", "--expert", "3"], "--experts"),
        (["convert", "resnet18", "--experts", "three"], "--experts"),
        (["convert", "resnet18", "--batch", "0"], "--batch"),
        (["convert", "resnet18", "extra"], "extra"),
        (["plan", "resnet18", "--output", "x"], "--output"),
        (["verify"], "DIR"),
        (["models", "--costly"], "--costs"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    cli: CommandLine, words: list[str], text: str
) -> None:
    done = cli(*words)
    assert done.code == 2
    assert text in done.error
    assert "--help" in done.error


def all_errors(kind: type[errors.SurgeryError]) -> list[type[errors.SurgeryError]]:
    return [kind, *(found for child in kind.__subclasses__() for found in all_errors(child))]


@pytest.mark.parametrize("kind", all_errors(errors.SurgeryError), ids=lambda kind: kind.__name__)
def test_every_error_of_ours_ends_in_its_exit_code(
    cli: CommandLine, kind: type[errors.SurgeryError], monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_with(kind("what was wrong\nand what to do"), monkeypatch)
    done = cli("plan", "net.py:build")
    assert done.code == kind.exit_code
    assert done.error == "error: what was wrong and what to do\n"


def test_the_exit_codes_are_those_of_the_help() -> None:
    codes = {kind.__name__: kind.exit_code for kind in all_errors(errors.SurgeryError)}
    assert codes["SurgeryError"] == 1
    assert codes["ConfigError"] == codes["PatternError"] == 2
    assert codes["ParityError"] == 3
    assert codes["ModelNotFoundError"] == codes["WeightsError"] == 4
    assert codes["UnsupportedModelError"] == codes["ExportError"] == codes["NoSiteError"] == 5
    assert codes["StorageError"] == 6
    assert (codes["DataError"], codes["TrainingError"]) == (7, 8)


def fail_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise error

    monkeypatch.setattr("dynsurgeon.cli.work.loading.load_subject", fail)


def test_a_fault_of_ours_is_one_line_with_a_hint(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_with(ZeroDivisionError("division by zero"), monkeypatch)
    done = cli("plan", "net.py:build")
    assert done.code == 1
    assert "ZeroDivisionError: division by zero" in done.error
    assert "--debug" in done.error


@pytest.mark.parametrize("words", [("--debug", "plan", "m"), ("plan", "m", "--debug")])
def test_debug_shows_the_traceback(
    cli: CommandLine, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_with(errors.WeightsError("no weights"), monkeypatch)
    done = cli(*words)
    assert done.code == 4
    assert "Traceback" in done.err
    assert done.err.endswith("error: no weights\n")


def test_a_full_disk_is_about_files(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(OSError(28, "No space left on device"), monkeypatch)
    done = cli("plan", "net.py:build")
    assert (done.code, done.error) == (6, "error: No space left on device\n")


def test_an_interruption_is_130(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(KeyboardInterrupt(), monkeypatch)
    done = cli("plan", "net.py:build")
    assert (done.code, done.out, done.err) == (130, "", "")


def test_a_reader_that_leaves_early_is_no_fault() -> None:
    code = "from dynsurgeon.cli.app import main\nmain(['convert', '--help'])\n"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    process.wait()
