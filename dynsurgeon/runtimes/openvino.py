"""OpenVINO on the CPU, in a process of its own: its reader can crash on a file that it dislikes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from dynsurgeon.runtimes.child import Arrays, Compute, serve
from dynsurgeon.runtimes.contract import Runtime, in_python, package_version

PLACES = re.compile(r"(Exception from|Check '.*?' failed at) \S+:\d+:\s*")
"""What OpenVINO says before it says what is wrong: places in its own source."""


def load_here(file: str, inputs: Sequence[str], threads: int | None) -> Compute:
    """Read a file, in this process, for `child.serve`."""
    import openvino

    # In single precision: some CPUs would compute in bfloat16, unasked.
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    settings |= {} if threads is None else {"INFERENCE_NUM_THREADS": threads}
    core = openvino.Core()
    try:
        compiled = core.compile_model(core.read_model(file), "CPU", settings)
    except RuntimeError as error:
        raise RuntimeError(PLACES.sub("", str(error))) from error

    def run(arrays: Arrays) -> Arrays:
        found = compiled(dict(zip(inputs, arrays, strict=True)))
        return [found[i] for i in range(len(compiled.outputs))]

    return run


RUNTIME = Runtime(
    name="openvino",
    summary="OpenVINO on the CPU",
    install="pip install 'dynsurgeon[openvino]'",
    target="openvino",
    version=lambda: package_version("openvino"),
    load=in_python("openvino", __name__),
)

if __name__ == "__main__":
    serve(load_here)
