"""A file is laid out for this CPU where PyTorch is not, and computes what it did."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from export_nets import branch_input, conv_branches, perturbed
from shared_traces import share_traces
from test_native_layout import blocks, needs_blocks

import dynsurgeon as ds
from dynsurgeon import deploy
from dynsurgeon.deploy import agreement, laying_out
from dynsurgeon.deploy.__main__ import main
from dynsurgeon.errors import ConfigError, ParityError, StorageError
from dynsurgeon.graphs.initializers import array_of, is_constant
from dynsurgeon.graphs.native.optimise import NCHWC

shared_traces = pytest.fixture(autouse=True)(share_traces)
WITHOUT_TORCH = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "onnxscript"):
            raise ImportError(f"{name} is not to be imported")

sys.meta_path.insert(0, Blocker())
from dynsurgeon.deploy.__main__ import main
code = main(sys.argv[1:])
assert not {"torch", "torchvision", "onnxscript"} & set(sys.modules)
sys.exit(code)
"""


def written(path: Path, batch: int | None = None, **options: Any) -> Path:
    """Export a network whose kernels differ and whose attention is uneven."""
    ds.export_onnx(blocks(32), path, torch.randn(2, 3, 9, 7), batch=batch, **options)
    return path


def images(count: int) -> np.ndarray:
    return np.random.default_rng(count).standard_normal((count, 3, 9, 7)).astype(np.float32)


def gap(one: Path, other: Path, count: int) -> float:
    first, second = (deploy.load(path, threads=1)(images(count)) for path in (one, other))
    return float(np.abs(first - second).max() / np.abs(first).max())


def fast_convolutions(path: Path) -> int:
    """Count the convolutions with computed kernels that have onnxruntime's fast layout."""
    nodes = [node for graph in ir.load(path).graphs() for node in graph]
    fast = [node for node in nodes if (node.domain, node.op_type) == (NCHWC, "Conv")]
    return sum(not is_constant(node.inputs[1]) for node in fast)


@needs_blocks
@pytest.mark.parametrize(("batch", "form"), [(None, "scan"), (1, "plain"), (3, "scan")])
def test_it_computes_what_its_source_does(batch: int | None, form: str, tmp_path: Path) -> None:
    source = written(tmp_path / "m.onnx", batch, form=form)
    found = deploy.layout(source)
    assert found.path == tmp_path / "m.this-cpu.onnx"
    assert found.batches == ((1, 2, 3, 5) if batch is None else (batch,))
    assert found.max_rel < 1e-5
    for count in (1, 2, 4, 7):
        assert gap(source, found.path, count) < 1e-5
    assert fast_convolutions(source) == 0
    assert found.convolutions == fast_convolutions(found.path) >= 5  # two of them a DY-ReLU
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.onnx", "m.this-cpu.onnx"]


@needs_blocks
def test_it_gives_what_an_export_on_this_machine_gives(tmp_path: Path) -> None:
    found = deploy.layout(written(tmp_path / "m.onnx"), tmp_path / "laid.onnx")
    exported = written(tmp_path / "native.onnx", form="native")
    assert gap(exported, found.path, 3) < 1e-5
    assert deploy.load(found.path).form == "native"
    assert found.convolutions == fast_convolutions(exported)
    assert found.slow == 0


@needs_blocks
@pytest.mark.slow
def test_every_geometry(tmp_path: Path) -> None:
    net = perturbed(conv_branches(2))
    ds.export_onnx(net, tmp_path / "m.onnx", branch_input(2))
    found = deploy.layout(tmp_path / "m.onnx")
    x = branch_input(2, 3)
    outputs = deploy.load(found.path).run(x.numpy())
    with torch.no_grad():
        for name, expected in net(x).items():
            assert np.abs(outputs[name] - expected.numpy()).max() < 1e-5


@needs_blocks
@pytest.mark.parametrize("bank", ["int8", "half"])
def test_small_banks_are_turned_back(bank: str, tmp_path: Path) -> None:
    source = written(tmp_path / "m.onnx", bank=bank)
    found = deploy.layout(source)
    assert gap(source, found.path, 3) < 1e-5
    assert found.convolutions >= 5


@needs_blocks
def test_constant_kernels(tmp_path: Path) -> None:
    portable = written(tmp_path / "p.onnx", form="portable")
    assert gap(portable, deploy.layout(portable).path, 3) < 1e-5


@needs_blocks
@pytest.mark.slow
def test_sizes_can_stay_free(tmp_path: Path) -> None:
    x = torch.randn(2, 3, 32, 32)
    ds.export_onnx(blocks(32), tmp_path / "s.onnx", x, dynamic_size=True)
    assert deploy.layout(tmp_path / "s.onnx").max_rel < 1e-5
    fed = {"input": images(2)}
    assert deploy.layout(tmp_path / "s.onnx", inputs=fed).batches == (2,)


@needs_blocks
def test_what_the_file_says_of_itself_stays(tmp_path: Path) -> None:
    known = {"dynsurgeon.labels": json.dumps(["ant", "bee"])}
    found = deploy.layout(written(tmp_path / "m.onnx", metadata=known))
    network = deploy.load(found.path)
    assert (network.labels, network.form) == (("ant", "bee"), "native")


def test_what_can_not_be_laid_out(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="there is no file"):
        deploy.layout(tmp_path / "none.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    with pytest.raises(StorageError, match="onnxruntime can't run"):
        deploy.layout(tmp_path / "bad.onnx")
    grouped = written(tmp_path / "g.onnx", 2)
    with pytest.raises(ConfigError, match=r"form 'grouped'.*export it with a free batch"):
        deploy.layout(grouped)
    plain = written(tmp_path / "m.onnx", 1)
    with pytest.raises(ConfigError, match="give another name"):
        deploy.layout(plain, plain)
    with pytest.raises(StorageError, match="there is no folder"):
        deploy.layout(plain, tmp_path / "none" / "m.onnx")
    laid = deploy.layout(plain)
    with pytest.raises(ConfigError, match="laid out already"):
        deploy.layout(laid.path)
    with pytest.raises(ConfigError, match=r"doesn't run on inputs of the shapes.*pass `inputs`"):
        deploy.layout(plain, inputs={"input": images(2)})


@needs_blocks
@pytest.mark.parametrize("wrong", ["own", "other"])
def test_a_wrong_layout_is_not_written(
    wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels in another order than onnxruntime reads, in the file or with other weights alone."""
    right, source = laying_out._laid_out, written(tmp_path / "m.onnx", 1)
    calls: list[int] = []

    def laid_out(*arguments: Any) -> Any:
        model = right(*arguments)
        calls.append(0)
        if len(calls) == (2 if wrong == "own" else 1):
            bank = next(v for n, v in model.graph.initializers.items() if n.endswith("kernels"))
            bank.const_value = ir.Tensor(array_of(bank)[..., ::-1].copy(), name=bank.name)
        return model

    monkeypatch.setattr(laying_out, "_laid_out", laid_out)
    with pytest.raises(ParityError, match="was not written"):
        deploy.layout(source)
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


@needs_blocks
def test_the_command_needs_no_torch(tmp_path: Path) -> None:
    source, out = written(tmp_path / "m.onnx"), tmp_path / "fast.onnx"
    words = [sys.executable, "-c", WITHOUT_TORCH, str(source), "--layout", str(out)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"wrote {out} for CPUs with blocks of")
    assert gap(source, out, 4) < 1e-5


def test_the_command_says_on_one_line_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "m.onnx"), "--layout", "out.onnx"]) == StorageError.exit_code
    assert capsys.readouterr().err == f"error: there is no file '{tmp_path / 'm.onnx'}'\n"
    for words in (["m.onnx"], ["m.onnx", "a.jpg", "--layout", "out.onnx"]):
        with pytest.raises(SystemExit, match="2"):
            main(words)


def test_an_input_that_none_can_be_drawn_of_is_refused() -> None:
    with pytest.raises(ConfigError, match="pass `inputs`"):
        agreement._drawn([1], "x", "tensor(string)", np.random.default_rng(0))
