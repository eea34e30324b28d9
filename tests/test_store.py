"""Measured times survive the process; what can't be read is forgotten, never an error."""

from __future__ import annotations

import ast
import json
import shutil
from pathlib import Path

import pytest

import dynsurgeon
from dynsurgeon.timing import store
from dynsurgeon.timing.store import APART, TimeStore, code_digest, code_files, times_file

ROOT = Path(dynsurgeon.__file__).parent
NO_CODE = shutil.ignore_patterns("__pycache__", "cli")


def test_times_are_there_in_the_next_run(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "times.json"
    one = TimeStore(path)
    assert one.get("a") is None
    one.put("a", 0.25)
    one.put("b", 1e-6)
    assert one.get("a") == 0.25
    other = TimeStore(path)
    assert (other.get("a"), other.get("b"), other.get("c")) == (0.25, 1e-6, None)
    assert [entry.name for entry in path.parent.iterdir()] == ["times.json"]


def test_two_stores_of_one_file_keep_what_the_other_measured(tmp_path: Path) -> None:
    path = tmp_path / "times.json"
    one, other = TimeStore(path), TimeStore(path)
    one.put("a", 1.0)
    other.put("b", 2.0)
    one.put("c", 3.0)
    again = TimeStore(path)
    assert [again.get(key) for key in "abc"] == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"format": 0}', '{"format": 1, "code": "other", "seconds": {"a": 1}}', "\x00"],
)
def test_what_is_damaged_or_old_is_forgotten(tmp_path: Path, text: str) -> None:
    path = tmp_path / "times.json"
    path.write_text(text)
    times = TimeStore(path)
    assert times.get("a") is None
    times.put("a", 2.0)
    assert TimeStore(path).get("a") == 2.0


def test_values_that_are_no_numbers_are_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "times.json"
    path.write_text(json.dumps({"format": 1, "code": code_digest(), "seconds": {"a": "soon"}}))
    assert TimeStore(path).get("a") is None


def test_other_code_makes_other_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "times.json"
    TimeStore(path).put("a", 2.0)
    monkeypatch.setattr(store, "code_digest", lambda: "another")
    assert TimeStore(path).get("a") is None


def test_a_place_that_can_not_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    times = TimeStore(tmp_path / "file" / "times.json")
    times.put("a", 2.0)
    assert times.get("a") == 2.0


def test_the_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    one, two = times_file(1), times_file(2)
    assert one != two
    assert one.parent == tmp_path / "dynsurgeon" / "latency"
    assert "onnxruntime" in one.name
    assert "/" not in one.name
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert times_file(1).parent == tmp_path / "home" / ".cache" / "dynsurgeon" / "latency"


def test_a_new_file_counts_wherever_it_is(tmp_path: Path) -> None:
    for name in ("operators/a.py", "surgery/deep/b.py", "c.py", "cli/d.py", "training/e.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    counted = [path.relative_to(tmp_path).as_posix() for path in code_files(tmp_path)]
    assert counted == ["c.py", "operators/a.py", "surgery/deep/b.py"]


def test_the_digest_is_of_every_source_that_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = shutil.copytree(ROOT, tmp_path / "dynsurgeon", ignore=NO_CODE, symlinks=True)
    monkeypatch.setattr(store, "__file__", str(package / "timing" / "store.py"))
    digest = code_digest.__wrapped__
    before = digest()
    for name in ("surgery/cut/build.py", "running/inputs.py", "graphs/native/layout.py"):
        source = (package / name).read_bytes()
        (package / name).write_bytes(source + b"\n")
        assert digest() != before, name
        (package / name).write_bytes(source)
    assert digest() == before
    (package / "operators" / "new.py").write_text("")
    assert digest() != before


def test_what_counts_imports_nothing_that_does_not() -> None:
    inside = [part for part in APART if not part.endswith(".py")]
    for path in code_files(ROOT):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                assert not any(node.module.startswith(f"dynsurgeon.{part}") for part in inside), (
                    f"{path} imports {node.module}, whose change would leave stored times"
                )
