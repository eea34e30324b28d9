"""``bench``: directories and models, tables and documents, what stands in the way."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cli_helpers import SIZE, CommandLine, cli

from dynsurgeon.cli.commands.bench import HEADER

__all__ = ["cli"]

TINY = ("net.py:build", *SIZE)
QUICK = ("--engine", "eager", "--threads", 1, "--rounds", 2)


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is idle, whatever this one is doing."""
    monkeypatch.setattr("dynsurgeon.cli.work.benching.others_load", lambda: 0.0)
    monkeypatch.setattr("dynsurgeon.timing.interleave.Timing.spread", 0.01)


@pytest.mark.usefixtures("quiet")
def test_a_model_is_converted_and_timed(cli: CommandLine) -> None:
    done = cli("bench", *TINY, *QUICK, "--batch", 1, "--batch", 2)
    assert (done.code, done.err) == (0, "")
    header, one, two = done.out.strip().splitlines()
    assert header.split() == list(HEADER)
    assert one.split()[:3] == ["eager", "1", "1"]
    assert two.split()[:3] == ["eager", "2", "1"]
    assert "1.0%" in one
    assert cli.left() == []


@pytest.mark.usefixtures("quiet")
def test_a_directory_is_timed_as_it_is(cli: CommandLine) -> None:
    assert cli("convert", *TINY, "--batch", 1, "-o", "out").code == 0
    done = cli("bench", "out", "--model", "net.py:build", "--threads", 1, "--rounds", 2, "--json",
               "--engine", "onnxruntime", "--engine", "eager")  # fmt: skip
    document = done.document
    assert [row["engine"] for row in document["rows"]] == ["onnxruntime", "eager"]
    assert all(row["problem"] is None and row["ratio"] > 0 for row in document["rows"])
    assert document["model"]["model"] == "net.py:build"
    assert document["machine"]["cores"] >= 1
    assert "onnxruntime" in document["versions"]
    assert document["warnings"] == []
    assert cli.left() == ["out"]
    receipt = json.loads((cli.directory / "out" / "receipt.json").read_text())
    assert receipt["bench"] == document["rows"]
    assert receipt["torch"]["passed"]


def test_the_document_of_a_model_holds_its_configuration(cli: CommandLine) -> None:
    done = cli("bench", *TINY, *QUICK, "--experts", 2, "--json")
    assert done.document["config"]["conv"]["experts"] == 2


def test_a_noisy_machine_is_told(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynsurgeon.cli.work.benching.others_load", lambda: 7.0)
    done = cli("bench", *TINY, *QUICK)
    assert "warning: the machine is noisy" in done.out
    assert "load average 7.0" in done.out


@pytest.mark.usefixtures("quiet")
def test_a_failed_engine_is_a_row(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_compiler(*_: Any) -> Any:
        raise RuntimeError("no C++ compiler")

    monkeypatch.setitem(
        __import__("dynsurgeon.bench.engines", fromlist=["ENGINES"]).ENGINES,
        "compile",
        no_compiler,
    )
    done = cli("bench", *TINY, *QUICK, "--engine", "compile")
    assert done.code == 0
    assert "failed: RuntimeError: no C++ compiler" in done.out
    only = cli("bench", *TINY, "--engine", "compile", "--threads", 1)
    assert only.code == 5
    assert "no engine runs both networks" in only.error


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["resnet17"], 4, "did you mean"),
        ([*TINY, "--engine", "eagr"], 2, "did you mean 'eager'"),
        ([*TINY, *QUICK, "--model", "net.py:build"], 2, "--model names the code of a directory"),
        ([*TINY, "--rounds", 0], 2, "--rounds"),
        ([*TINY, "--latency-budget", 0.5], 2, "ratio, dynamic over static"),
        (["empty"], 6, "recipe.json"),
        (["empty", "--experts", 2], 2, "--experts would do nothing"),
        (["empty", "--weights", "random"], 2, "--weights would do nothing"),
        (["empty", "--preset", "balanced"], 2, "--preset would do nothing"),
        (["net.py:siteless", *SIZE], 5, "no convolution"),
    ],
)
def test_an_error_is_one_line(cli: CommandLine, words: list[Any], code: int, text: str) -> None:
    (cli.directory / "empty").mkdir()
    done = cli("bench", *words)
    assert done.code == code
    assert text in done.error
