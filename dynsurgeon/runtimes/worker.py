"""A process of a foreign runtime's own: whatever happens there becomes an error with a message."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Mapping, Sequence
from tempfile import TemporaryFile
from typing import IO, Any

from dynsurgeon.errors import RuntimeRefusalError
from dynsurgeon.messages import shortened

PATIENCE = 300.0
"""Seconds for an answer: a large file on a slow machine may take one of these minutes to load."""

WORDS = 300
"""Most letters that are passed on of what a runtime says."""


class Worker:
    """A process that answers requests, a line of JSON each.

    Args:
        name: The runtime, for messages.
        command: Program and arguments.
        environment: Environment variables, added to this process's.

    Attributes:
        patience: Seconds after which it is ended for not answering.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.patience = name, PATIENCE
        self._said = TemporaryFile()  # noqa: SIM115 - lives as long as the process
        try:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
                env={**os.environ, **(environment or {})},
            )
        except OSError as error:
            raise RuntimeRefusalError(
                f"{name} can't be started: '{command[0]}': {error.strerror}"
            ) from error
        self.close = weakref.finalize(self, _end, self._process, self._said)

    def ask(self, request: Mapping[str, Any], doing: str) -> dict[str, Any]:
        """Send a request and return the answer.

        Args:
            request: Plain JSON values.
            doing: What it amounts to, for messages, as in ``"load the file"``.

        Raises:
            RuntimeRefusalError: The runtime can't do it, crashed, or didn't answer in time.
        """
        if not self.close.alive:
            raise RuntimeRefusalError(f"{self.name} has ended, and can't {doing}")
        line = self._exchange(json.dumps(request), doing)
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError:
            self.close()
            said = shortened(line.strip(), WORDS)
            raise RuntimeRefusalError(
                f"{self.name} answered {said!r} when it was to {doing}"
            ) from None
        if not answer["ok"]:
            said = shortened(" ".join(str(answer["error"]).split()), WORDS)
            raise RuntimeRefusalError(f"{self.name} can't {doing}: {said}")
        return answer

    def _exchange(self, request: str, doing: str) -> str:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(f"{request}\n".encode())
            stdin.flush()
        except OSError:  # it has ended already
            raise self._ended(doing) from None
        end, answer = time.monotonic() + self.patience, b""
        while not answer.endswith(b"\n"):
            if not select.select([stdout], [], [], max(0.0, end - time.monotonic()))[0]:
                self.close()
                raise RuntimeRefusalError(
                    f"{self.name} did not {doing} within {self.patience:g} seconds, and was ended"
                )
            piece = os.read(stdout.fileno(), 2**16)
            if not piece:
                raise self._ended(doing)
            answer += piece
        return answer.decode(errors="replace")

    def _ended(self, doing: str) -> RuntimeRefusalError:
        try:
            code = self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            code = 0
        last = _last_line(self._said)
        self.close()
        how = f"crashed ({_signal(-code)})" if code < 0 else f"ended with exit code {code}"
        said = f": {last}" if last else ""
        return RuntimeRefusalError(f"{self.name} {how} when it was to {doing}{said}")


def python_command(module: str) -> tuple[list[str], dict[str, str]]:
    """Return how to run a module in a Python like this one, and the environment that it needs.

    It finds what this process finds, and nothing in the folder that it happens to start in.
    """
    command = [sys.executable, "-P", "-m", module]
    return command, {"PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path)}


def _end(process: subprocess.Popen[bytes], said: IO[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, said):
        try:
            if pipe is not None:
                pipe.close()
        except OSError:  # what could not be sent any more
            pass


def _last_line(said: IO[bytes]) -> str:
    said.seek(0)
    lines = said.read().decode(errors="replace").strip().splitlines()
    return shortened(lines[-1].strip(), WORDS) if lines else ""


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
