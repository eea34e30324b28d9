"""onnxruntime-web, as a browser runs it (WebAssembly), under Node in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from dynsurgeon.runtimes.contract import LoadedFile, Runtime

PACKAGE = "onnxruntime-web"
PLACE = "DYNSURGEON_ONNXRUNTIME_WEB"
"""Environment variable: the folder of the package, where it lies at no usual place."""

SCRIPT = Path(__file__).with_name("web.mjs")


def version() -> str | None:
    """Return the version of the package that Node would run, or None without either."""
    folder = package_folder()
    if folder is None or shutil.which("node") is None:
        return None
    try:
        return str(json.loads((folder / "package.json").read_text(encoding="utf-8"))["version"])
    except (OSError, ValueError, KeyError):
        return None


def package_folder() -> Path | None:
    """Return the folder of the package, or None where it is not installed."""
    return next((place for place in _places() if (place / "package.json").is_file()), None)


def _places() -> Iterator[Path]:
    """Yield where it may lie: as told, then where Node looks from here."""
    if os.environ.get(PLACE):
        yield Path(os.environ[PLACE])
    here = Path.cwd()
    yield from (folder / "node_modules" / PACKAGE for folder in (here, *here.parents))
    for entry in os.environ.get("NODE_PATH", "").split(os.pathsep):
        if entry:
            yield Path(entry, PACKAGE)


def load(path: Path, threads: int | None = None) -> LoadedFile:
    """Read a file in a process of its own."""
    from dynsurgeon.runtimes.foreign import ForeignSession

    RUNTIME.installed_version()
    node, folder = shutil.which("node"), package_folder()
    assert node is not None
    assert folder is not None
    command = [node, str(SCRIPT), str(folder.resolve())]
    return ForeignSession(RUNTIME.name, (command, {}), path, threads)


RUNTIME = Runtime(
    name="web",
    summary="onnxruntime-web (WebAssembly) under Node",
    install=f"it takes node and, in this folder, `npm install {PACKAGE}`; "
    f"or name the package's folder in {PLACE}",
    target="web",
    version=version,
    load=load,
)
