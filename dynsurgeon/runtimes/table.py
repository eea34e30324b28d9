"""The runtimes that a file can be proven and timed in: a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dynsurgeon.errors import ConfigError, suggest
from dynsurgeon.runtimes import onnxruntime, openvino, tract, web
from dynsurgeon.runtimes.contract import Runtime

RUNTIMES: Mapping[str, Runtime] = {
    runtime.name: runtime
    for runtime in (onnxruntime.RUNTIME, openvino.RUNTIME, tract.RUNTIME, web.RUNTIME)
}
"""By the name that a user gives."""


def find_runtimes(names: Iterable[str]) -> tuple[Runtime, ...]:
    """Return the runtimes of these names, each once.

    Raises:
        ConfigError: One is unknown, or not installed.
    """
    if isinstance(names, str):
        raise ConfigError(f"runtimes must be several names, got the string {names!r}")
    found = [_runtime(name) for name in dict.fromkeys(names)]
    for runtime in found:
        runtime.installed_version()
    return tuple(found)


def _runtime(name: object) -> Runtime:
    if name not in RUNTIMES:
        hint = suggest(str(name), RUNTIMES) or f"; known runtimes: {', '.join(RUNTIMES)}"
        raise ConfigError(f"unknown runtime {name!r}{hint}")
    return RUNTIMES[str(name)]
