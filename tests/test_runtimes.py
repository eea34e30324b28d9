"""Foreign runtimes: a process each, whatever happens in it; the same numbers as onnxruntime."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import get_args

import onnx
import pytest
import torch
from fake_runtime import PATIENCE, fake
from onnx import TensorProto, helper
from torch import Tensor

from dynsurgeon.cli.options.onnx_file import Runtimes
from dynsurgeon.errors import ConfigError, RuntimeRefusalError
from dynsurgeon.runtimes import web
from dynsurgeon.runtimes.table import RUNTIMES, find_runtimes
from dynsurgeon.runtimes.worker import Worker

FOREIGN = [name for name in RUNTIMES if name != "onnxruntime"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """``difference = minuend - subtrahend`` and which of its numbers are above 0."""
    kinds = {"minuend": 1, "subtrahend": 1, "difference": 1, "above": 9}
    sides = [helper.make_tensor_value_info(n, kind, ["n", 2]) for n, kind in kinds.items()]
    zero = helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0])
    nodes = [
        helper.make_node("Sub", ["minuend", "subtrahend"], ["difference"]),
        helper.make_node("Greater", ["difference", "zero"], ["above"]),
    ]
    graph = helper.make_graph(nodes, "net", sides[:2], sides[2:], [zero])
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)])
    onnx.save(model, tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


INPUTS = [torch.full((3, 2), 5.0), torch.tensor([[1.0, 2, 3], [4, 5, 6]]).T]  # not contiguous


def check(outputs: list[Tensor]) -> None:
    difference, above = outputs
    assert torch.equal(difference, INPUTS[0] - INPUTS[1])
    assert torch.equal(above, difference > 0)


def test_it_has_the_face_of_a_session(file: Path) -> None:
    session = fake().load(file, 1)
    check(session.run(INPUTS))
    assert session.outputs == {"difference": ["n", 2], "above": ["n", 2]}
    assert session.bound(INPUTS)()
    check(session.run(INPUTS))


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_installed_computes_the_same(name: str, file: Path) -> None:
    runtime = RUNTIMES[name]
    if runtime.version() is None:
        pytest.skip(f"{name} is not installed")
    session = runtime.load(file, 1)
    check(session.run(INPUTS))
    assert session.bound(INPUTS)()
    model = onnx.load(file)
    model.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(model, file)
    with pytest.raises(
        RuntimeRefusalError, match=rf"(?s){name} can't load the file: .+"
    ) as refusal:
        runtime.load(file, 1)
    assert "NoSuchOperator" in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("refuse", r"fake can't load the file: no rule for Scan, nor for Conv$"),
        ("exit", r"fake ended with exit code 3 when it was to load the file: a last word$"),
        ("crash", r"fake crashed \(SIGSEGV\) when it was to run the file at 3x2, 3x2"),
        ("hang", rf"fake did not run the file at 3x2, 3x2 within {PATIENCE} seconds, and was"),
    ],
)
def test_what_goes_wrong_there_is_an_error_here(fault: str, message: str, file: Path) -> None:
    with pytest.raises(RuntimeRefusalError, match=message):
        fake(fault).load(file, None).run(INPUTS)


def test_a_program_that_is_missing_or_says_something_else() -> None:
    with pytest.raises(RuntimeRefusalError, match="odd can't be started: 'no-such-program'"):
        Worker("odd", ["no-such-program"])
    talker = Worker("odd", [sys.executable, "-c", "print('hello')"])
    with pytest.raises(RuntimeRefusalError, match="odd answered 'hello' when it was to load"):
        talker.ask({}, "load the file")
    with pytest.raises(RuntimeRefusalError, match="odd has ended, and can't load the file"):
        talker.ask({}, "load the file")


def test_the_process_ends_with_the_session(file: Path) -> None:
    session = fake().load(file, 1)
    process = session._worker._process  # type: ignore[attr-defined]
    assert process.poll() is None
    del session
    assert process.poll() is not None


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["openvin"], "unknown runtime 'openvin'; did you mean 'openvino'"),
        (["zzz"], "known runtimes: onnxruntime, openvino, tract, web"),
        ("web", "must be several names, got the string 'web'"),
        (["fake"], "the runtime 'fake' is not installed; pip install fake"),
    ],
)
def test_names_are_checked(
    names: list[str] | str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RUNTIMES, "fake", fake(version=None))
    with pytest.raises(ConfigError, match=message):
        find_runtimes(names)
    assert [runtime.name for runtime in find_runtimes(["onnxruntime"] * 2)] == ["onnxruntime"]


def test_rows_say_how_to_install_them() -> None:
    for name in ("openvino", "tract"):
        assert f"dynsurgeon[{name}]" in RUNTIMES[name].install
    assert "npm install onnxruntime-web" in RUNTIMES["web"].install
    assert get_args(Runtimes)[1].metavar.split("|") == FOREIGN


def test_the_package_for_node_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NODE_PATH", raising=False)
    monkeypatch.delenv(web.PLACE, raising=False)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    assert web.version() is None
    modules = [tmp_path / name for name in ("told", "elsewhere/onnxruntime-web")]
    modules.append(tmp_path / "node_modules" / "onnxruntime-web")
    for number, folder in enumerate(modules):
        folder.mkdir(parents=True)
        (folder / "package.json").write_text(json.dumps({"version": f"1.{number}"}))
    assert web.version() == "1.2"
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert web.version() == "1.2"
    (modules[2] / "package.json").unlink()
    monkeypatch.setenv("NODE_PATH", os.pathsep.join(["", str(tmp_path / "elsewhere")]))
    assert web.version() == "1.1"
    monkeypatch.setenv(web.PLACE, str(modules[0]))
    assert web.version() == "1.0"
    (modules[0] / "package.json").write_text("{")
    assert web.version() is None
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert web.version() is None
