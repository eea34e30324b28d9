"""A directory appears whole or not at all, and never over something that isn't ours."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dynsurgeon.cli.output import RECIPE, check_free, default_directory, staged_directory
from dynsurgeon.errors import StorageError


def write_and_fail(target: Path, *, force: bool = False) -> None:
    with staged_directory(target, force=force) as staging:
        (staging / RECIPE).write_text("new")
        raise ZeroDivisionError


def names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


def ours(directory: Path, text: str = "old") -> Path:
    directory.mkdir()
    (directory / RECIPE).write_text(text)
    return directory


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("resnet18", "resnet18-dynamic"),
        ("timm:mobilenetv3_small_100.lamb_in1k", "mobilenetv3_small_100.lamb_in1k-dynamic"),
        ("package.nets:build", "package.nets-build-dynamic"),
        ("some/where/net.py:build", "net-build-dynamic"),
    ],
)
def test_default_directory_is_named_after_the_model(spec: str, name: str) -> None:
    assert default_directory(spec) == Path(name)


def test_it_appears_at_the_end_of_the_block(tmp_path: Path) -> None:
    target = tmp_path / "new" / "deeper" / "out"
    with staged_directory(target) as staging:
        (staging / RECIPE).write_text("new")
        assert not target.exists()
    assert names(target) == [RECIPE]
    assert names(target.parent) == ["out"]


def test_its_permissions_are_those_of_any_new_directory(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    with staged_directory(tmp_path / "out"):
        pass
    modes = [(tmp_path / name).stat().st_mode for name in ("plain", "out")]
    assert modes[0] == modes[1]


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        write_and_fail(tmp_path / "new" / "out")
    assert names(tmp_path) == []


def test_an_interruption_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), staged_directory(tmp_path / "out"):
        raise KeyboardInterrupt
    assert names(tmp_path) == []


def test_what_is_there_stays_without_force(tmp_path: Path) -> None:
    target = ours(tmp_path / "out")
    with pytest.raises(StorageError, match="--force"), staged_directory(target):
        pytest.fail("the block must not run")
    assert (target / RECIPE).read_text() == "old"


def test_an_error_names_the_directory_and_not_its_temporary_place(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with pytest.raises(StorageError) as caught, staged_directory(target) as staging:
        raise StorageError(f"{staging / RECIPE} can't be written")
    assert str(caught.value) == f"{target / RECIPE} can't be written"


def test_force_replaces_what_we_wrote(tmp_path: Path) -> None:
    target = ours(tmp_path / "out")
    with staged_directory(target, force=True) as staging:
        (staging / RECIPE).write_text("new")
        assert (target / RECIPE).read_text() == "old"
    assert (target / RECIPE).read_text() == "new"
    assert names(tmp_path) == ["out"]


def test_a_failure_under_force_leaves_the_old(tmp_path: Path) -> None:
    target = ours(tmp_path / "out")
    with pytest.raises(ZeroDivisionError):
        write_and_fail(target, force=True)
    assert (target / RECIPE).read_text() == "old"
    assert names(tmp_path) == ["out"]


def test_a_failed_move_brings_the_old_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = ours(tmp_path / "out")
    replace = os.replace

    def fail_into_place(source: str | Path, destination: str | Path) -> None:
        if Path(destination) == target and Path(source).name != target.name:
            raise OSError(28, "No space left on device")
        replace(source, destination)

    monkeypatch.setattr(os, "replace", fail_into_place)
    with pytest.raises(OSError, match="No space"), staged_directory(target, force=True):
        pass
    assert (target / RECIPE).read_text() == "old"
    assert names(tmp_path) == ["out"]


def test_force_never_deletes_files_of_somebody_else(tmp_path: Path) -> None:
    target = ours(tmp_path / "out")
    (target / "notes.txt").write_text("mine")
    with pytest.raises(StorageError, match=r"notes\.txt"):
        check_free(target, force=True)


def test_a_file_in_the_way_is_never_replaced(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.write_text("mine")
    for force in (False, True):
        with pytest.raises(StorageError, match="no directory"):
            check_free(target, force=force)


def test_a_place_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="out"), staged_directory(tmp_path / "file" / "out"):
        pytest.fail("the block must not run")
