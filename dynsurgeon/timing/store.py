"""Times that were measured on this machine, kept for the next run.

One file a version of onnxruntime, processor and number of threads, under ``$XDG_CACHE_HOME`` or
``~/.cache``. Times of another version of the exporting code are forgotten, since it writes other
files. A cache that can't be read or written is no error: then everything is measured again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from functools import cache
from importlib.metadata import version
from pathlib import Path

from dynsurgeon.files import staged_file
from dynsurgeon.timing.machine import cpu_name

FORMAT = 1
APART = (
    "__init__.py", "__main__.py",
    "cli", "inspection", "quantization", "reports", "training", "workflow",
)  # fmt: skip
"""What, inside the package, no measured time depends on. All else counts, and so does a new file:
measuring again for nothing is cheap, and a time of code that is gone would choose the sites."""


class TimeStore:
    """Measured times by key, in seconds; in memory, and in a file.

    Args:
        path: The file; see `times_file`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._times = _read(path)

    def get(self, key: str) -> float | None:
        """Return the seconds stored under `key`."""
        return self._times.get(key)

    def put(self, key: str, seconds: float) -> None:
        """Store seconds under `key`, and write the file; what others stored there stays."""
        self._times = {**_read(self._path), **self._times, key: seconds}
        document = {"format": FORMAT, "code": code_digest(), "seconds": self._times}
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with staged_file(self._path) as path:
                path.write_text(json.dumps(document, indent=1, sort_keys=True), encoding="utf-8")


def times_file(threads: int) -> Path:
    """Return where the times of this machine at so many threads are kept."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    name = f"onnxruntime {version('onnxruntime')} {cpu_name()} {threads} threads"
    return Path(home) / "dynsurgeon" / "latency" / (re.sub(r"[^\w.]+", "-", name) + ".json")


@cache
def code_digest() -> str:
    """Return a digest of the code that a measured time depends on."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in code_files(root):
        digest.update(f"{path.relative_to(root)}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def code_files(root: Path) -> list[Path]:
    """Return the sources in the package at `root` that a measured time depends on."""
    every = sorted(root.rglob("*.py"))
    return [path for path in every if path.relative_to(root).parts[0] not in APART]


def _read(path: Path) -> dict[str, float]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] != FORMAT or document["code"] != code_digest():
            return {}
        return {str(key): float(seconds) for key, seconds in document["seconds"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}
