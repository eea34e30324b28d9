"""What the machine is, for a table's caption and for the key of a cache."""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")


@cache
def cpu_name() -> str:
    """Return the processor's name as the system gives it, such as ``"AMD EPYC 9654"``."""
    try:
        lines = CPU_INFO.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def describe_machine() -> dict[str, str | int]:
    """Return processor, cores and system as plain JSON values."""
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count() or 1,
        "system": f"{platform.system()} {platform.machine()}",
    }
