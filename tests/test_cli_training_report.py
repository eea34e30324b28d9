"""How a run looks: a line an epoch, a bar in a terminal, nothing in further processes."""

from __future__ import annotations

import io
import sys

import pytest

from dynsurgeon.cli.training_report import training_progress
from dynsurgeon.training.finetune.listener import Listener
from dynsurgeon.training.finetune.results import Epoch, Score
from dynsurgeon.training.report import AttentionReport

EPOCH = Epoch(1, {"dynamic": Score(0.5, 0.75)}, {"dynamic": Score(0.25, 0.8)}, 15.0)


def play(*, shown: bool) -> None:
    with training_progress(shown=shown) as listener:
        print("a library talks")
        listener.calibrated(AttentionReport((), 32))
        listener.started(Score(1.0, 0.1), 2, 1)
        listener.step(1, 0.5)
        listener.step(2, 0.5)
        listener.epoch(EPOCH)


def test_without_a_terminal_there_are_lines_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    play(shown=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "a library talks",
        "attention fitted to 32 training images",
        "before: 10.00% on the validation set",
        "epoch 1 of 1: dynamic 80.00% (train 75.00%, loss 0.5000)",
    ]


def test_a_further_process_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    play(shown=False)
    assert capsys.readouterr() == ("", "a library talks\n")
    with training_progress(shown=False) as listener:
        assert type(listener) is Listener


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_in_a_terminal_there_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    play(shown=True)
    shown = terminal.getvalue()
    assert "2/2" in shown
    assert "loss 0.5000" in shown
    assert "dynamic 80.00%" in shown
