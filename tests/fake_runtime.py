"""A runtime for the tests, in a process of its own: onnxruntime, with a fault if one is asked for.

Called as ``python -m fake_runtime FAULT``.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort

from dynsurgeon.runtimes.child import Arrays, Compute, serve
from dynsurgeon.runtimes.contract import LoadedFile, Runtime

PATIENCE = 0.2


def fake(fault: str = "none", *, version: str | None = "1.2") -> Runtime:
    """Return a row for the table."""

    def load(path: Path, threads: int | None) -> LoadedFile:
        from dynsurgeon.runtimes.foreign import ForeignSession  # it imports torch
        from dynsurgeon.runtimes.worker import python_command

        command, environment = python_command(__name__)
        session = ForeignSession("fake", ([*command, fault], environment), path, threads)
        session.patience = PATIENCE if fault == "hang" else session.patience
        return session

    return Runtime("fake", "for tests", "pip install fake", "openvino", lambda: version, load)


def load_here(file: str, inputs: Sequence[str], threads: int | None) -> Compute:
    """Read a file, and go wrong as the first argument says."""
    fault = sys.argv[1]
    session = ort.InferenceSession(file)
    print("what a runtime prints is no answer", flush=True)
    if fault == "refuse":
        raise ValueError("no rule for Scan,\n  nor for Conv")
    if fault == "exit":
        print("a last word", file=sys.stderr, flush=True)
        os._exit(3)

    def run(arrays: Arrays) -> Arrays:
        if fault == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if fault == "hang":
            time.sleep(60)
        outputs: Arrays = session.run(None, dict(zip(inputs, arrays, strict=True)))
        if fault == "phantom" and len(outputs[0]) == 0:
            return [np.zeros((1, *output.shape[1:]), output.dtype) for output in outputs]
        return [output * 1.01 for output in outputs] if fault == "wrong" else outputs

    return run


if __name__ == "__main__":
    serve(load_here)
