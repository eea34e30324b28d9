"""Files and folders appear whole or not at all; more of folders in `test_cli_output.py`."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from dynsurgeon.files import file_digest, folder_beside, staged_file, staged_folder


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@pytest.mark.parametrize("lasting", [False, True])
def test_a_file_appears_at_the_end_of_the_block(lasting: bool, tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("old")
    with staged_file(target, lasting=lasting) as path:
        path.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert names(tmp_path) == ["file"]


def test_a_lasting_file_reaches_the_disk_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    move = os.replace

    def replace(source: str, target: Path) -> None:
        steps.append("name")
        move(source, target)

    monkeypatch.setattr(os, "fsync", lambda _: steps.append("content"))
    monkeypatch.setattr(os, "replace", replace)
    for lasting in (False, True):
        with staged_file(tmp_path / "file", lasting=lasting) as path:
            path.write_text("new")
    assert steps == ["name", "content", "name"]


@pytest.mark.parametrize("staged", [staged_file, staged_folder, folder_beside])
def test_a_failure_leaves_nothing(staged: object, tmp_path: Path) -> None:
    assert callable(staged)
    with pytest.raises(ZeroDivisionError), staged(tmp_path / "it"):
        raise ZeroDivisionError
    assert names(tmp_path) == []


def test_a_private_file_put_in_its_place_becomes_like_any_other(tmp_path: Path) -> None:
    with staged_file(tmp_path / "file") as path:
        other = tmp_path / "other"
        other.write_text("new")
        other.chmod(0o600)
        other.replace(path)
    (tmp_path / "usual").touch()
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "usual").stat().st_mode
    assert (tmp_path / "file").read_text() == "new"


def test_what_is_staged_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    with staged_file(tmp_path / "staged"):
        pass
    modes = [(tmp_path / name).stat().st_mode for name in ("plain", "staged")]
    assert modes[0] == modes[1]


def test_a_folder_replaces_the_one_before_with_all_that_is_in_it(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (target / "old").write_text("")
    with staged_folder(target) as folder:
        (folder / "new").write_text("")
        assert names(target) == ["old"]
    assert names(target) == ["new"]
    assert names(tmp_path) == ["folder"]


def test_a_folder_beside_is_gone_afterwards(tmp_path: Path) -> None:
    with folder_beside(tmp_path / "it") as folder:
        (folder / "part").write_text("")
        assert folder.parent == tmp_path
    assert names(tmp_path) == []


def test_the_digest_is_that_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert file_digest(tmp_path / "file") == hashlib.sha256(b"abc").hexdigest()
