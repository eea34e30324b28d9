"""How a command says how far it is: what it counts, how fast, and how long it will go on."""

from __future__ import annotations

import io
import sys
import time
from typing import Any

import pytest
from cli_helpers import CommandLine, cli

import dynsurgeon as ds
from dynsurgeon.cli import progress
from dynsurgeon.cli.progress import Steps, pace, steps
from dynsurgeon.progress import OVER, counted

__all__ = ["cli"]


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_says_how_far_it_is() -> None:
    clock = Clock()
    told = Steps(None, clock)
    told("planning")
    clock.now = 12.0
    assert told.line() == "planning: 12 s"
    told.count("sites", 0, 40)
    clock.now = 22.0
    told.count("sites", 20, 40)
    assert told.line() == "planning: 20 of 40 sites, 2.0 a second, 10 s left"
    clock.now = 25.0  # the next one takes longer
    assert told.line() == "planning: 20 of 40 sites, 2.0 a second, 7 s left"


def test_what_is_counted_inside_is_shown_where_the_whole_is_one_or_over() -> None:
    told = Steps(None, Clock())
    told("timing")
    told.count("rows", 0, 3)
    told.count("rounds", 0, 30)
    told.count("rounds", 7, 30)
    assert "0 of 3 rows" in told.line()
    told.count("rounds", OVER, 30)
    told.count("rows", OVER, 3)
    assert told.line() == "timing: 0 s"
    told.count("rows", 0, 1)
    told.count("rounds", 0, 30)
    told.count("rounds", 7, 30)
    assert "7 of 30 rounds" in told.line()
    told.count("rows", OVER, 1)  # whatever was left inside is over too
    assert told.counts == []


@pytest.mark.parametrize(
    ("done", "total", "seconds", "text"),
    [
        (0, 9, 5.0, ""),
        (10, 40, 5.0, ", 2.0 a second, 15 s left"),
        (2, 4, 10.0, ", 5.0 s each, 10 s left"),
        (10, None, 5.0, ", 2.0 a second"),
    ],
)
def test_a_pace_is_in_words(done: int, total: int | None, seconds: float, text: str) -> None:
    assert pace(done, total, seconds) == text


def test_piped_there_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.02)
    with steps() as step:
        step("waiting")
        for _ in counted(range(2), "naps"):
            time.sleep(0.1)
    out, err = capsys.readouterr()
    assert out == ""
    assert "waiting: 1 of 2 naps, " in err
    time.sleep(0.05)
    assert capsys.readouterr().err == ""  # it ends with the block


def test_a_short_command_says_nothing_when_piped(capsys: pytest.CaptureFixture[str]) -> None:
    with steps() as step:
        step("quick")
    assert capsys.readouterr() == ("", "")


def test_in_a_terminal_there_is_a_bar_with_rate_and_time_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "120")
    with steps() as step:
        step("drawing [1]")
        for _ in counted(range(4), "sites"):
            time.sleep(0.06)
        with step.aside("building"):
            print("a bar of a library", file=terminal)
        assert step.bar is not None
        assert step.bar.live.is_started
    shown = terminal.getvalue()
    assert "drawing [1]" in shown
    assert "of 4 sites" in shown
    assert "a second" in shown
    assert "left" in shown
    assert "a bar of a library" in shown


@pytest.mark.parametrize("terminal", [False, True])
def test_a_download_has_its_library_s_bar_in_a_terminal(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch, *, terminal: bool
) -> None:
    seen: list[bool] = []

    def build(*_: Any, progress: bool = False) -> Any:
        seen.append(progress)
        raise ds.ConfigError("seen")

    monkeypatch.setattr("dynsurgeon.cli.work.loading.build_model", build)
    if terminal:
        monkeypatch.setattr(sys, "stderr", Terminal())
    assert cli("plan", "resnet18").code == ds.ConfigError.exit_code
    assert seen == [terminal]
