"""How a run looks: lines, a bar in a terminal, nothing in further processes."""

from __future__ import annotations

import io
import sys

import pytest

from dynsurgeon.cli.progress import duration
from dynsurgeon.cli.work.training_progress import Pace, ProgressLines, training_progress
from dynsurgeon.training.finetune.listener import Listener, Setup
from dynsurgeon.training.finetune.results import Epoch, RateProbe, Score
from dynsurgeon.training.report import AttentionReport

SETUP = Setup(40, 10, 5, 20, 2, 1, 1, "cpu", {"dynamic": 12345}, {"dynamic": 1234})
PROBE = RateProbe((0.1, 0.3), (0.5, None), 0.1, 16, 8)
EPOCH = Epoch(1, {"dynamic": Score(0.5, 0.75)}, {"dynamic": Score(0.25, 0.8)}, 15.0)


def play(*, shown: bool) -> None:
    with training_progress(shown=shown) as listener:
        print("a library talks")
        listener.loaded(SETUP)
        listener.calibrated(AttentionReport((), 32))
        listener.probed("dynamic", PROBE)
        listener.started(Score(1.0, 0.1), 2, 1)
        listener.step(1, 0.5)
        listener.step(2, 0.5)
        listener.work("evaluation", 0, 1)
        listener.work("evaluation", 1, 1)
        listener.epoch(EPOCH)


def test_without_a_terminal_there_are_lines_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    play(shown=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "a library talks",
        "40 training and 10 validation images of 5 classes; 1 epochs of 2 steps of 20 images (cpu)",
        "dynamic network: 1,234 of 12,345 parameters are trained",
        "attention fitted to 32 training images",
        "learning rate 0.1 for the dynamic network (losses after 16 steps, 0.1: 0.5000, 0.3: "
        "diverged)",
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
    assert "images/s" in shown
    assert "evaluation" in shown


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_without_a_terminal_something_is_said_every_ten_seconds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = Clock()
    lines = ProgressLines(None, clock)
    lines.loaded(SETUP)
    lines.started(Score(1.0, 0.1), 100, 3)
    capsys.readouterr()
    said = []
    for done in range(1, 151):
        clock.now += 0.5
        lines.step(done, 0.25)
        if text := capsys.readouterr().err:
            said.append((clock.now, text))
    assert [when for when, _ in said] == [10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0]
    assert said[-1][1] == (
        "step 140 of 300, epoch 2 of 3: loss 0.2500, 40 images/s, 1 min 20 s left\n"
    )


def test_what_takes_long_is_told_while_it_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    lines = ProgressLines(None, clock)
    for total, seconds in ((3, 0.5), (30, 1.0)):
        lines.work("evaluation", 0, total)
        for done in range(1, total + 1):
            clock.now += seconds
            lines.work("evaluation", done, total)
    assert capsys.readouterr().err.splitlines() == [
        "evaluation: 2 of 30, 1.0 a second, 28 s left",
        "evaluation: 12 of 30, 1.0 a second, 18 s left",
        "evaluation: 22 of 30, 1.0 a second, 8 s left",
    ]


def test_an_evaluation_does_not_slow_the_pace() -> None:
    pace = Pace()
    pace.resume(0.0)
    for done in range(1, 5):
        pace.step(done, float(done))
    pace.resume(1000.0)
    pace.step(5, 1001.0)
    pace.step(6, 1002.0)
    assert pace.rate == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("seconds", "words"), [(3.4, "3 s"), (95, "1 min 35 s"), (4800, "1 h 20 min")]
)
def test_a_time_is_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words
