"""The work of ``report`` and of ``--report``."""

from __future__ import annotations

from pathlib import Path

from dynsurgeon.errors import StorageError
from dynsurgeon.reports.page import require_jinja2, write_report

from ..output import REPORT

__all__ = ["report_directory", "require_jinja2"]


def report_directory(directory: Path, output: Path | None = None) -> Path:
    """Write the report about a directory, and return where it lies.

    Raises:
        StorageError: The directory is not one of ours, or the file can't be written.
        ConfigError: jinja2 is not installed.
    """
    path = output or directory / REPORT
    if path.is_dir():
        raise StorageError(f"'{path}' is a directory; --output takes a file")
    if not path.parent.is_dir():
        raise StorageError(f"there is no directory '{path.parent}' to write the report to")
    return write_report(directory, path)
