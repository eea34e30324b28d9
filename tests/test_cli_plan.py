"""``plan`` shows what ``convert`` would do, and writes nothing."""

from __future__ import annotations

import pytest
from cli_helpers import SIZE, CommandLine, cli

import dynsurgeon as ds
from dynsurgeon.models.examples import example_inputs
from dynsurgeon.models.names import build_model
from dynsurgeon.surgery.decide.plan_table import HEADER

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


@pytest.mark.parametrize(("budget", "ratio"), [("--macs-budget", 1.08), ("--params-budget", 1.6)])
def test_a_budget_leaves_sites_out_and_says_so(cli: CommandLine, budget: str, ratio: float) -> None:
    done = cli("plan", *TINY, budget, ratio)
    assert done.code == 0
    assert "static: left out by the " in done.out
    assert "note: within the budgets" in done.out
    document = cli("plan", *TINY, budget, ratio, "--json").document
    kind = budget.strip("-").partition("-")[0]
    assert document[f"{kind}_after"] <= ratio * document[f"{kind}_before"]
    assert document["config"][f"{kind}_budget"] == ratio


def test_latency_is_measured_and_shown(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cli.directory / "cache"))
    words = ("plan", *TINY, "--latency-budget", 1000, "--latency-threads", 1, "--no-conv")
    done = cli(*words)
    assert (done.code, done.err) == (0, "")
    header, _, *rows = done.out.splitlines()
    assert header.split()[-1] == "adds"
    assert sum(" ms" in row for row in rows if "DynamicReLUB" in row) == 2
    assert (
        "measured in onnxruntime at batch 1, 1 threads, form plain"
        in cli(*words, "--form", "plain").out
    )
    document = cli(*words, "--json").document
    assert document["latency"]["ratio"] > 0
    assert document["config"]["measure"]["threads"] == 1


def test_a_preset_and_a_file_with_budgets(cli: CommandLine) -> None:
    (cli.directory / "settings.toml").write_text(
        'preset = "last-1x1"\nmacs_budget = 1.5\n[measure]\nform = "portable"\n'
    )
    document = cli("plan", *TINY, "--config", "settings.toml", "--json").document
    assert document["config"]["preset"] == "last-1x1"
    assert document["config"]["macs_budget"] == 1.5
    assert document["config"]["measure"]["form"] == "portable"
    assert all("preset" in site["reason"] or "stem" in site["reason"] for site in document["sites"])
    wins = cli("plan", *TINY, "--config", "settings.toml", "--preset", "all", "--json").document
    assert any(site["operator"] for site in wins["sites"])


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["--latency-budget", 0.9], 2, "ratio, dynamic over static, of at least 1"),
        (["--macs-budget", 1], 5, "no site fits the MACs budget of 1: the cheapest"),
        (["--preset", "most"], 2, "--preset"),
        (["--latency-budget", 2, "--form", "plian"], 2, "did you mean 'plain'"),
    ],
)
def test_a_wrong_budget_is_one_line(
    cli: CommandLine, words: list[object], code: int, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cli.directory / "cache"))
    done = cli("plan", *TINY, *words)
    assert done.code == code
    assert text in done.error
