"""``plan`` shows what ``convert`` would do, and writes nothing."""

from __future__ import annotations

import pytest
from cli_helpers import SIZE, CommandLine, cli

import dynsurgeon as ds
from dynsurgeon.cli.plan import HEADER
from dynsurgeon.inputs import example_inputs
from dynsurgeon.models import build_model

__all__ = ["cli"]

TINY = ("net.py:build", *SIZE)


def test_piped_it_is_the_text_of_the_python_plan(cli: CommandLine) -> None:
    done = cli("plan", *TINY)
    model = build_model("net.py:build").eval()
    plan = ds.plan(model, example_inputs("net.py:build", model, (3, 8, 8)))
    assert (done.code, done.err) == (0, "")
    assert done.out == f"{plan}\n"
    assert cli.left() == []


def test_in_a_terminal_it_is_a_table_of_the_same_rows(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "140")
    done = cli("plan", *TINY)
    assert done.code == 0
    for text in (*HEADER, "DynamicConv2d", "DynamicReLUB", "is the stem", "3 of 4 sites"):
        assert text in done.out


def test_json_holds_every_site_and_the_totals(cli: CommandLine) -> None:
    done = cli("plan", *TINY, "--experts", 2, "--json")
    document = done.document
    assert [site["operator"] for site in document["sites"]] == [
        None,
        "DynamicReLUB",
        "DynamicConv2d",
        "DynamicReLUB",
    ]
    assert document["config"]["conv"]["experts"] == 2
    assert document["params_after"] > document["params_before"]
    assert document["model"]["model"] == "net.py:build"


def test_a_file_of_settings_is_read(cli: CommandLine) -> None:
    (cli.directory / "settings.toml").write_text("activation = false\nskip_stem = false\n")
    done = cli("plan", *TINY, "--config", "settings.toml", "--json")
    operators = [site["operator"] for site in done.document["sites"]]
    assert operators == ["DynamicConv2d", None, "DynamicConv2d", None]


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["resnet17"], 4, "did you mean"),
        ([*TINY, "--include", "layer9"], 2, "layer9"),
        (["net.py:build", "--input-size", "4", "8", "8"], 2, "input"),
    ],
)
def test_an_error_is_one_line(cli: CommandLine, words: list[str], code: int, text: str) -> None:
    done = cli("plan", *words)
    assert done.code == code
    assert text in done.error


def test_a_model_without_a_site_has_an_empty_plan(cli: CommandLine) -> None:
    done = cli("plan", "net.py:siteless", *SIZE, "--json")
    assert done.code == 0
    assert done.document["sites"] == []
