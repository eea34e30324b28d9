"""A file is proven in other runtimes too, or gets no name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from cli_helpers import SIZE, CommandLine, cli
from export_nets import DynamicNet, perturbed
from fake_runtime import fake
from shared_traces import share_equal_traces
from torch import nn

from dynsurgeon.errors import ConfigError, ParityError, RuntimeRefusalError
from dynsurgeon.export import export_onnx, verify_onnx
from dynsurgeon.export.result import RuntimeProof
from dynsurgeon.operators import DynamicConv2d, DynamicConv3d
from dynsurgeon.runtimes.contract import Runtime
from dynsurgeon.runtimes.table import RUNTIMES

equal_traces = pytest.fixture(autouse=True)(share_equal_traces)

__all__ = ["cli"]

CHECKS = ["batch 1", "batch 3", "batch 3, permuted"]


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put a runtime into the table."""

    def put(runtime: Runtime) -> None:
        monkeypatch.setitem(RUNTIMES, runtime.name, runtime)

    return put


def test_both_weights_are_compared_there(table: Any, tmp_path: Path) -> None:
    table(fake())
    net, path, x = perturbed(DynamicNet()), tmp_path / "m.onnx", torch.randn(2, 3, 12, 12)
    result = export_onnx(net, path, x, runtimes=["fake"])
    (proof,) = result.runtimes
    assert [check.name for check in proof.checks] == [
        *CHECKS,
        *(f"perturbed, {name}" for name in CHECKS),
    ]
    assert (proof.name, proof.version, proof.passed) == ("fake", "1.2", True)
    assert 0 < proof.max_rel < 1e-5
    assert "fake 1.2 passed: max rel" in str(result)
    assert result.to_dict()["runtimes"][0]["version"] == "1.2"
    again = verify_onnx(net, path, x, runtimes=["fake"])
    assert [check.name for check in again.runtimes[0].checks] == CHECKS
    table(fake("wrong"))
    wrong = verify_onnx(net, path, x, runtimes=["fake"])
    assert not wrong.passed
    assert wrong.max_rel < 1e-5 < wrong.runtimes[0].max_rel
    table(fake("crash"))
    with pytest.raises(RuntimeRefusalError, match=r"fake crashed .*; try target 'openvino'$"):
        verify_onnx(net, path, x, runtimes=["fake"])


@pytest.mark.parametrize(
    ("fault", "kind", "message"),
    [
        ("wrong", ParityError, r"was not written: in fake 1\.2 it is off by .* at batch 2"),
        ("refuse", RuntimeRefusalError, "no rule for Scan, nor for Conv; try target 'openvino'$"),
    ],
)
def test_a_file_that_fails_there_gets_no_name(
    fault: str, kind: type[Exception], message: str, table: Any, tmp_path: Path
) -> None:
    table(fake(fault))
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(kind, match=message):
        export_onnx(net, tmp_path / "m.onnx", torch.randn(2, 4), batch=2, runtimes=["fake"])
    assert list(tmp_path.iterdir()) == []


def test_a_runtime_that_is_missing_is_told_first(table: Any, tmp_path: Path) -> None:
    table(fake(version=None))
    with pytest.raises(ConfigError, match="pip install fake"):
        export_onnx(nn.Identity(), tmp_path / "m.onnx", torch.ones(1), runtimes=["fake"])


def test_the_worst_check_counts() -> None:
    assert RuntimeProof("fake", "1", ()).max_abs == 0


def test_the_command_line_tells_it(cli: CommandLine, table: Any) -> None:
    table(fake())
    words = ("convert", "net.py:build", *SIZE, "-o", "out", "--batch", 1, "--target", "web")
    done = cli(*words, "--runtime", "fake", "--relu", "none")
    assert done.code == 0, done.err
    assert "fake 1.2: max difference from torch" in done.out
    found = cli("verify", "out", "--model", "net.py:build", "--runtime", "fake", "--json").document
    assert found["onnx"]["runtimes"][0]["name"] == "fake"
    assert (found["onnx"]["target"], found["onnx"]["form"]) == ("web", "plain")
    table(fake("wrong"))
    done = cli("verify", "out", "--model", "net.py:build", "--runtime", "fake")
    assert (done.code, done.error.count("\n")) == (3, 1)
    assert "does not compute what the network does in fake" in done.error
    table(fake("crash"))
    done = cli("verify", "out", "--model", "net.py:build", "--runtime", "fake")
    assert (done.code, "crashed (SIGSEGV)" in done.error) == (5, True)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--runtime", "openvin"], "did you mean 'openvino'"),
        (["--target", "web", "--form", "scan"], "leave out form 'scan'"),
        (["--target", "webb"], "did you mean 'web'"),
        (["--no-onnx", "--runtime", "web"], "--no-onnx writes no ONNX file"),
    ],
)
def test_usage_is_one_line(cli: CommandLine, words: list[str], text: str) -> None:
    done = cli("convert", "net.py:build", *SIZE, *words)
    assert (done.code, cli.left()) == (2, [])
    assert text in done.error


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in RUNTIMES if name != "onnxruntime"])
@pytest.mark.parametrize("form", ["scan", "portable"])
def test_the_true_ones(name: str, form: str, tmp_path: Path) -> None:
    if RUNTIMES[name].version() is None:
        pytest.skip(f"{name} is not installed")
    net, x = perturbed(DynamicNet()), torch.randn(2, 3, 12, 12)
    assert export_onnx(net, tmp_path / "m.onnx", x, form=form, runtimes=[name]).runtimes[0].passed


@pytest.mark.slow
@pytest.mark.parametrize(("layer", "spatial"), [(DynamicConv2d, 2), (DynamicConv3d, 3)])
def test_a_bank_without_bias_is_no_attention(layer: Any, spatial: int, tmp_path: Path) -> None:
    if RUNTIMES["openvino"].version() is None:
        pytest.skip("openvino is not installed")
    net = perturbed(layer(3, 4, 3, bias=False))
    x = torch.randn(2, 3, *[5] * spatial)
    result = export_onnx(net, tmp_path / "m.onnx", x, batch=1, runtimes=["openvino"])
    assert result.runtimes[0].passed
