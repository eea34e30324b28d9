"""Files and folders that appear whole or not at all, and the digest of a file."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def staged_file(path: Path, *, lasting: bool = False) -> Iterator[Path]:
    """Give a temporary file beside `path` to fill, and move it into place if nothing fails.

    Args:
        path: The file, which is replaced if it is there; its folder must be.
        lasting: Whether it must survive a power cut: then its content reaches the disk first.

    Raises:
        OSError: It can't be written.
    """
    draft = _beside(path)
    draft.touch(exist_ok=False)
    mode = draft.stat().st_mode
    try:
        yield draft
        draft.chmod(mode)  # whoever wrote it may have put a private file in its place
        if lasting:  # the name must never come before the content
            _flush(draft)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def staged_folder(folder: Path) -> Iterator[Path]:
    """Give a temporary folder beside `folder` to fill, and move it into place if nothing fails.

    Args:
        folder: The folder, which is replaced if it is there; the one that it lies in must be.

    Raises:
        OSError: It can't be written.
    """
    with folder_beside(folder) as staging:
        yield staging
        if folder.exists():
            _swap(staging, folder)
        else:
            os.replace(staging, folder)


@contextmanager
def folder_beside(path: Path, purpose: str = "") -> Iterator[Path]:
    """Give a temporary folder beside `path`, on the same disk, that is removed at the end.

    Raises:
        OSError: It can't be made.
    """
    folder = _beside(path, purpose)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _swap(staging: Path, folder: Path) -> None:
    # Two folders can't be swapped at once: if the new one can't move in, the old one moves back.
    with folder_beside(folder, "old-") as aside:
        os.replace(folder, aside / folder.name)
        try:
            os.replace(staging, folder)
        except OSError:
            os.replace(aside / folder.name, folder)
            raise


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _beside(path: Path, purpose: str = "") -> Path:
    # A new file has the mode of any new file. `tempfile` would make it private, and asking for the
    # process's umask means setting it: for a moment the files of other threads would be anybody's.
    return path.with_name(f".{path.name}.{purpose}{secrets.token_hex(8)}")
