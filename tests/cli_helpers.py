"""Run the command line in this process, on a tiny network of its own."""

from __future__ import annotations

import importlib.util
import json
import logging
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from shared_traces import share_equal_traces

from dynsurgeon.cli.app import main
from dynsurgeon.workflow import conversion

NET = """
from torch import nn


def build(classes: int = 5, width: int = 8) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, classes),
    )


def siteless() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))


def broken() -> nn.Module:
    raise RuntimeError("first line\\nsecond line")


def nothing() -> int:
    return 3


finished = build()
constant = 7
"""
needs_timm = pytest.mark.skipif(
    importlib.util.find_spec("timm") is None, reason="timm is an extra, and not installed"
)
SIZE = ("--input-size", "3", "8", "8")


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit code and what it printed."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The one line that a failure prints; anything else fails the test."""
        assert self.code != 0
        assert self.out == ""
        assert self.err.startswith("error: ")
        assert self.err.count("\n") == 1
        assert "Traceback" not in self.err
        return self.err


class CommandLine:
    """Calls `main` with words, in a working directory of its own."""

    def __init__(self, capsys: pytest.CaptureFixture[str], directory: Path) -> None:
        self._capsys = capsys
        self.directory = directory
        self.net = directory / "net.py"
        self.net.write_text(NET)

    def __call__(self, *words: object) -> Outcome:
        self._capsys.readouterr()
        handler = signal.getsignal(signal.SIGTERM)
        try:
            with pytest.raises(SystemExit) as end:
                main([str(word) for word in words])
        finally:
            signal.signal(signal.SIGTERM, handler)
            logging.disable(logging.NOTSET)
        out, err = self._capsys.readouterr()
        assert isinstance(end.value.code, int)
        return Outcome(end.value.code, out, err)

    def left(self) -> list[str]:
        """What lies in the working directory, hidden files too, but the network's own file."""
        names = {entry.name for entry in self.directory.iterdir()}
        return sorted(names - {self.net.name, "__pycache__"})


@pytest.fixture
def cli(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> CommandLine:
    """The command line, in an empty working directory with a tiny network's ``net.py``."""
    monkeypatch.chdir(tmp_path)
    # On a busy machine a command may take ten seconds, and say so on stderr.
    monkeypatch.setattr("dynsurgeon.cli.progress.EVERY", 600.0)
    share_equal_traces(monkeypatch)  # many commands write that network
    # Nor is each file timed; `test_latency` has it done.
    monkeypatch.setattr(conversion, "measure_latency", lambda *arguments: None)
    return CommandLine(capsys, tmp_path)
