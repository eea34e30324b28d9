"""A tracker of Accelerate that appends to CSV files: a row a step, and a row an epoch."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerate.tracking import GeneralTracker, on_main_process

from dynsurgeon.errors import StorageError
from dynsurgeon.files import staged_file

STEPS, EPOCHS = "steps.csv", "epochs.csv"


class CsvTracker(GeneralTracker):  # type: ignore[misc]
    """Writes ``steps.csv`` and ``epochs.csv``; each row is on the disk before the run goes on.

    Args:
        folder: Where; made at the first row.
    """

    name = "csv"
    requires_logging_directory = True
    main_process_only = True

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    @property
    def tracker(self) -> Path:
        """The folder."""
        return self.folder

    @on_main_process  # type: ignore[untyped-decorator]
    def go_on_from(self, step: int) -> None:
        """Drop the rows of later steps, which a resumed run writes again.

        Raises:
            StorageError: A file can't be read or written.
        """
        for path in (self.folder / STEPS, self.folder / EPOCHS):
            try:
                if path.exists():
                    _cut(path, step)
            except (OSError, csv.Error, UnicodeDecodeError) as error:
                raise StorageError(f"the log '{path}' can't be continued: {error}") from error

    @on_main_process  # type: ignore[untyped-decorator]
    def log(self, values: Mapping[str, Any], step: int | None = None, **kwargs: Any) -> None:
        """Append a row: to ``epochs.csv`` where the values name an epoch.

        Raises:
            StorageError: The file can't be written.
        """
        path = self.folder / (EPOCHS if "epoch" in values else STEPS)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            _append(path, {"step": step, **values})
        except OSError as error:
            raise StorageError(f"can't write the log '{path}': {error.strerror}") from error


def _append(path: Path, row: Mapping[str, Any]) -> None:
    is_new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if is_new:
            writer.writerow(row)
        writer.writerow(row.values())


def _cut(path: Path, step: int) -> None:
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    # A process that was killed may have left half a row.
    whole = [row for row in rows if len(row) == len(header) and row[0].isdecimal()]
    with staged_file(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *(row for row in whole if int(row[0]) <= step)])
