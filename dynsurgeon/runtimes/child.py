"""The other side of a foreign runtime: a process that reads requests and answers them.

A request is a line of JSON on stdin, an answer one on stdout; tensors lie in files of safetensors,
by their place. `web.mjs` speaks the same to onnxruntime-web.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any

import numpy as np
from safetensors.numpy import load_file, save_file

Arrays = Sequence[np.ndarray[Any, Any]]
Compute = Callable[[Arrays], Arrays]
Load = Callable[[str, Sequence[str], int | None], Compute]
"""From a file, the names of its inputs and a number of threads to what runs it."""


def serve(load: Load) -> None:
    """Answer requests until there are no more."""
    answers = _own_stdout()
    server = _Server(load)
    for line in sys.stdin:
        try:
            answer = {"ok": True, **server.do(json.loads(line))}
        except Exception as error:
            answer = {"ok": False, "error": f"{error}" or type(error).__name__}
        answers.write(f"{json.dumps(answer)}\n")
        answers.flush()


class _Server:
    def __init__(self, load: Load) -> None:
        self._load = load
        self._run: Compute | None = None
        self._inputs: list[np.ndarray[Any, Any]] = []

    def do(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Do what is asked: ``load`` a file, ``run`` it, or run it ``again``."""
        if request["do"] == "load":
            self._run = self._load(request["file"], request["inputs"], request["threads"])
            return {}
        assert self._run is not None
        if request["do"] == "run":
            stored = load_file(request["from"])
            self._inputs = [stored[str(i)] for i in range(len(stored))]
        begin = time.perf_counter()
        outputs = self._run(self._inputs)
        seconds = time.perf_counter() - begin
        if request["do"] == "run":
            arrays = {str(i): np.ascontiguousarray(array) for i, array in enumerate(outputs)}
            save_file(arrays, request["to"])
        return {"seconds": seconds}


def _own_stdout() -> IO[str]:
    """Return what was stdout, and let what the runtime prints go to stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers
