"""What a runtime is: something that an ONNX file can be proven and timed in.

A new one is a file beside this one with a `Runtime`, and a line in `table.py`. Nothing here needs
torch: the processes in which foreign runtimes run import this file too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from dynsurgeon.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor


class LoadedFile(Protocol):
    """An ONNX file that a runtime has read."""

    @property
    def outputs(self) -> Mapping[str, Sequence[int | str | None]]:
        """Declared shape of each output by its name; free axes are no numbers."""

    def run(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Run on the inputs in the file's order and return the outputs."""

    def bound(self, inputs: Sequence[Tensor]) -> Callable[[], object]:
        """Return a call that runs on these inputs alone, to be timed."""


@dataclass(frozen=True)
class Runtime:
    """A runtime, as the table holds it.

    Attributes:
        name: Its name, as a user gives it.
        summary: What it is, in a few words.
        install: The command that installs it.
        target: The target whose files suit it.
        version: Tells the version that is installed; None where it is not.
        load: Reads a file, to be run with so many threads (the runtime's own choice if None).
    """

    name: str
    summary: str
    install: str
    target: str
    version: Callable[[], str | None]
    load: Callable[[Path, int | None], LoadedFile]

    def installed_version(self) -> str:
        """Return the version that is installed.

        Raises:
            ConfigError: None is; says how to install it.
        """
        found = self.version()
        if found is None:
            raise ConfigError(f"the runtime {self.name!r} is not installed; {self.install}")
        return found


def in_python(name: str, module: str) -> Callable[[Path, int | None], LoadedFile]:
    """Return what reads a file in a Python process of its own, where `module` serves requests.

    Args:
        name: The runtime, for messages.
        module: One that calls `child.serve` when it is run.
    """

    def load(path: Path, threads: int | None = None) -> LoadedFile:
        from dynsurgeon.runtimes.foreign import ForeignSession
        from dynsurgeon.runtimes.worker import python_command

        return ForeignSession(name, python_command(module), path, threads)

    return load


def package_version(package: str) -> str | None:
    """Return the version of an installed Python package, or None."""
    try:
        return version_of(package)
    except PackageNotFoundError:
        return None
