"""``convert`` from end to end on a tiny network, and everything that can stand in its way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from cli_helpers import SIZE, CommandLine, cli, needs_timm
from nets import perturb_
from torch import nn

import dynsurgeon as ds
from dynsurgeon.models.names import build_model

__all__ = ["cli"]

FILES = ["model.onnx", "model.safetensors", "receipt.json", "recipe.json"]
TINY = ("net.py:build", *SIZE)


def files_in(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


def test_it_writes_everything_and_ends_with_one_table(cli: CommandLine) -> None:
    done = cli("convert", *TINY)
    assert (done.code, done.err) == (0, "")
    assert cli.left() == ["net-build-dynamic"]
    assert files_in(cli.directory / "net-build-dynamic") == FILES
    lines = done.out.splitlines()
    columns = ["network", "parameters", "MACs", "max difference", "top-1 agreement"]
    assert all(column in lines[0] for column in columns)
    assert [line.split()[0] for line in lines[1:4]] == ["original", "dynamic", "ONNX"]
    assert all(line.endswith("100%") for line in lines[2:4])
    assert "dynsurgeon verify net-build-dynamic" in lines[4]
    assert "\x1b" not in done.out


def test_the_receipt_holds_parity_costs_and_versions(cli: CommandLine) -> None:
    cli("convert", *TINY, "-o", "out", "--experts", 3, "--seed", 5, "--model-arg", "classes=7")
    receipt = json.loads((cli.directory / "out" / "receipt.json").read_text())
    assert receipt["torch"]["passed"] is True
    assert {site["mode"] for site in receipt["torch"]["sites"]} == {"eval", "train"}
    assert receipt["onnx"]["passed"] is True
    assert receipt["onnx"]["batch"] is None
    assert receipt["agreement"] == {"dynamic": 1.0, "onnx": 1.0}
    assert receipt["model"]["arguments"] == {"classes": 7}
    assert receipt["model"]["input_size"] == [3, 8, 8]
    assert receipt["config"]["conv"]["experts"] == 3
    assert receipt["config"]["seed"] == 5
    assert receipt["costs"]["params_after"] > receipt["costs"]["params_before"]
    assert {"torch", "onnx", "onnxruntime", "dynsurgeon"} <= receipt["versions"].keys()


def test_what_it_writes_is_what_python_loads(cli: CommandLine) -> None:
    static = build_model("net.py:build").eval()
    perturb_(static)
    torch.save(static.state_dict(), "net.pth")
    assert cli("convert", *TINY, "--weights", "net.pth", "-o", "out", "--no-onnx").code == 0
    dynamic = ds.load("out", build_model("net.py:build").eval())
    x = torch.randn(4, 3, 8, 8)
    with torch.no_grad():
        assert torch.allclose(dynamic(x), static(x), rtol=0, atol=1e-5)
    assert type(dynamic.get_submodule("3")).__name__ == "DynamicConv2d"


def test_json_is_one_document_and_nothing_else(cli: CommandLine) -> None:
    done = cli("convert", *TINY, "-o", "out", "--json")
    assert done.code == 0
    assert done.document["directory"] == "out"
    stored = json.loads((cli.directory / "out" / "receipt.json").read_text())
    assert {key: done.document[key] for key in stored} == stored


def test_without_onnx_there_is_none(cli: CommandLine) -> None:
    done = cli("convert", *TINY, "-o", "out", "--no-onnx")
    assert files_in(cli.directory / "out") == [name for name in FILES if name != "model.onnx"]
    assert "ONNX" not in done.out


def test_a_fixed_batch_and_opset_reach_the_file(cli: CommandLine) -> None:
    done = cli("convert", *TINY, "-o", "out", "--batch", 3, "--opset", 18, "--json")
    assert done.code == 0, done.err
    assert done.document["onnx"]["batch"] == 3
    assert done.document["onnx"]["opset"] == 18
    assert done.document["agreement"]["onnx"] == 1.0


def test_the_same_seed_gives_the_same_network(cli: CommandLine) -> None:
    def tensors(name: str, seed: int) -> bytes:
        assert cli("convert", *TINY, "-o", name, "--no-onnx", "--force", "--seed", seed).code == 0
        return (cli.directory / name / "model.safetensors").read_bytes()

    assert tensors("one", 1) == tensors("again", 1)
    assert tensors("one", 1) != tensors("other", 2)


def test_patterns_and_kinds_choose_the_sites(cli: CommandLine) -> None:
    done = cli("convert", *TINY, "-o", "out", "--no-onnx", "--json", "--relu", "none")
    assert done.document["costs"]["converted"] == 1
    done = cli("convert", *TINY, "-o", "relu", "--no-onnx", "--json", "--no-conv", "--relu", "c")
    assert done.document["costs"]["converted"] == 2
    assert done.document["config"]["activation"]["kind"] == "C"


def test_a_torchvision_model_goes_the_same_way(cli: CommandLine) -> None:
    size = ("--input-size", "3", "33", "33")
    only = ("--include", "features.1[12].*", "--weights", "random")
    done = cli("convert", "squeezenet1_1", *size, *only, "--no-onnx", "--json")
    assert (done.code, done.err) == (0, "")
    assert done.document["directory"] == "squeezenet1_1-dynamic"
    assert done.document["costs"]["converted"] == 12


def test_force_replaces_an_earlier_run(cli: CommandLine) -> None:
    cli("convert", *TINY, "-o", "out")
    done = cli("convert", *TINY, "-o", "out", "--no-onnx", "--force")
    assert done.code == 0
    assert cli.left() == ["out"]
    assert "model.onnx" not in files_in(cli.directory / "out")


# ---- what can stand in the way: exit code, one line, nothing left behind


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["resnet17"], 4, "did you mean 'resnet18'"),
        pytest.param(["timm:resnet17"], 4, "did you mean 'resnet18'", marks=needs_timm),
        (["none.py:build"], 4, "no file 'none.py'"),
        (["net.py:biuld"], 4, "did you mean 'build'"),
        (["net.py:broken"], 4, "RuntimeError: first line second line"),
        (["net.py:nothing"], 4, "not an nn.Module"),
        ([*TINY, "--weights", "none.pth"], 4, "no weights file 'none.pth'"),
        ([*TINY, "--weights", "damaged.pth"], 4, "damaged.pth"),
        ([*TINY, "--weights", "other.pth"], 4, "2 of another shape"),
        ([*TINY, "--weights", "IMAGENET1K_V9"], 4, "neither weights"),
        (["resnet18", "--weights", "IMAGENET1K_V9"], 4, "IMAGENET1K_V1"),
        ([*TINY, "--include", "layer9.*"], 2, "layer9.*"),
        ([*TINY, "--exclude", "Conv7d"], 2, "Conv7d"),
        ([*TINY, "--experts", "0"], 2, "at least 1"),
        ([*TINY, "--temperature", "-1"], 2, "temperature"),
        ([*TINY, "--no-conv", "--relu", "none"], 2, "nothing to do"),
        ([*TINY, "--no-onnx", "--batch", "2"], 2, "--no-onnx"),
        ([*TINY, "--opset", "3"], 2, "opset"),
        ([*TINY, "--form", "scam"], 2, "did you mean 'scan'"),
        ([*TINY, "--model-arg", "classes"], 2, "KEY=VALUE"),
        ([*TINY, "--model-arg", "colour=3"], 2, "colour"),
        (["resnet18", "--model-arg", "weights=3"], 2, "--weights"),
        ([*TINY, "--config", "none.toml"], 2, "none.toml"),
        ([*TINY, "--config", "bad.toml"], 2, "no valid TOML"),
        ([*TINY, "--config", "unknown.toml"], 2, "did you mean 'experts'"),
        (["net.py:build", "--input-size", "3", "0", "8"], 2, "--input-size"),
        (["net.py:build", "--input-size", "4", "8", "8"], 2, "input"),
        (["net.py:siteless", *SIZE], 5, "no convolution"),
        ([*TINY, "-o", "net.py"], 6, "no directory"),
        ([*TINY, "-o", "net.py/out"], 6, "net.py/out"),
    ],
)
def test_an_error_is_one_line_and_leaves_nothing(
    cli: CommandLine, words: list[str], code: int, text: str
) -> None:
    (cli.directory / "damaged.pth").write_bytes(b"no weights at all")
    torch.save(build_model("net.py:build", arguments={"classes": 9}).state_dict(), "other.pth")
    (cli.directory / "bad.toml").write_text("[conv\n")
    (cli.directory / "unknown.toml").write_text("[conv]\nexpert = 2\n")
    before = cli.left()
    done = cli("convert", *words)
    assert text in done.error
    assert done.code == code
    assert cli.left() == before


def test_no_network_is_an_error_that_names_the_ways_out(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*args: Any, **kwargs: Any) -> Any:
        print("Downloading: …")
        raise URLError("Name or service not known")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", no_network)
    done = cli("convert", "resnet18")
    assert done.code == 4
    assert "--weights FILE" in done.error
    assert "--weights random" in done.error
    assert cli.left() == []


def test_an_existing_directory_is_refused_before_any_work(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def must_not_run(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("work was done")

    monkeypatch.setattr("dynsurgeon.cli.work.loading.load_subject", must_not_run)
    (cli.directory / "out").mkdir()
    done = cli("convert", *TINY, "-o", "out")
    assert done.code == 6
    assert "--force" in done.error
    assert files_in(cli.directory / "out") == []


def test_a_failed_parity_is_3_and_leaves_nothing(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert = ds.convert

    def convert_wrongly(*args: Any, **kwargs: Any) -> nn.Module:
        dynamic = convert(*args, **kwargs)
        with torch.no_grad():
            dynamic.get_submodule("3").weight.mul_(1.01)  # type: ignore[operator]
        return dynamic

    monkeypatch.setattr("dynsurgeon.workflow.conversion.convert", convert_wrongly)
    done = cli("convert", *TINY)
    assert done.code == 3
    assert "parity FAILED" in done.error
    assert cli.left() == []


def test_a_failed_onnx_parity_is_3_and_leaves_nothing(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def export_wrongly(*args: Any, **kwargs: Any) -> Any:
        raise ds.ParityError("onnxruntime computes something else")

    monkeypatch.setattr("dynsurgeon.workflow.conversion.export_onnx", export_wrongly)
    done = cli("convert", *TINY)
    assert done.code == 3
    assert cli.left() == []


def test_a_failed_export_names_the_way_out(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def export_wrongly(*args: Any, **kwargs: Any) -> Any:
        raise ds.ExportError("no ONNX operator for this")

    monkeypatch.setattr("dynsurgeon.workflow.conversion.export_onnx", export_wrongly)
    done = cli("convert", *TINY)
    assert done.code == 5
    assert "--no-onnx" in done.error
    assert cli.left() == []


def test_an_interruption_leaves_nothing(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: Any, **kwargs: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("dynsurgeon.workflow.conversion.save", interrupted)
    done = cli("convert", *TINY)
    assert done.code == 130
    assert cli.left() == []


def test_a_budget_is_kept_and_needed_no_more(cli: CommandLine) -> None:
    done = cli("convert", *TINY, "--params-budget", 2, "--no-onnx", "-o", "out", "--json")
    costs = done.document["costs"]
    assert costs["converted"] > 0
    assert costs["params_after"] <= 2 * costs["params_before"]
    assert done.document["config"]["params_budget"] == 2
    assert any("within the budgets" in note for note in done.document["notes"])
    assert cli("verify", "out", "--model", "net.py:build").code == 0


def test_latency_is_planned_once_and_kept_in_the_receipt(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cli.directory / "cache"))
    done = cli("convert", *TINY, "--latency-budget", 1000, "--latency-threads", 1, "--relu", "none",
               "--batch", 1, "--form", "portable", "-o", "out", "--json")  # fmt: skip
    assert done.document["costs"]["latency"]["form"] == "portable"
    assert done.document["onnx"]["form"] == "portable"
