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
    draft = _draft(path)
    draft.touch(exist_ok=False)
    try:
        yield draft
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
def folder_beside(path: Path) -> Iterator[Path]:
    """Give a temporary folder beside `path`, on the same disk, that is removed at the end.

    Raises:
        OSError: It can't be made.
    """
    folder = _draft(path)
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
    with folder_beside(folder) as aside:
        os.replace(folder, aside / folder.name)
        try:
            os.replace(staging, folder)
        except OSError:
            os.replace(aside / folder.name, folder)
            raise


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _draft(path: Path) -> Path:
    # Made by its plain name, a file has the mode of any new file. `tempfile` would give it another,
    # and asking for the umask means setting it: for a moment other threads' files were anybody's.
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}")
