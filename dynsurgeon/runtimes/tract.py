"""tract, an engine in Rust without dependencies, in a process of its own."""

from __future__ import annotations

from collections.abc import Sequence

from dynsurgeon.runtimes.child import Arrays, Compute, serve
from dynsurgeon.runtimes.contract import Runtime, in_python, package_version


def load_here(file: str, inputs: Sequence[str], threads: int | None) -> Compute:
    """Read a file, in this process, for `child.serve`; tract uses one thread, whatever is asked."""
    del inputs, threads
    import tract

    try:
        model = tract.onnx().load(file).into_model().into_runnable()
    except tract.TractError as error:
        raise _without_trace(error) from error

    def run(arrays: Arrays) -> Arrays:
        try:
            return [found.to_numpy() for found in model.run(list(arrays))]
        except tract.TractError as error:
            raise _without_trace(error) from error

    return run


def _without_trace(error: Exception) -> RuntimeError:
    return RuntimeError(str(error).partition("Stack backtrace:")[0])


RUNTIME = Runtime(
    name="tract",
    summary="tract on the CPU, one thread",
    install="pip install 'dynsurgeon[tract]'",
    target="tract",
    version=lambda: package_version("tract"),
    load=in_python("tract", __name__),
)

if __name__ == "__main__":
    serve(load_here)
