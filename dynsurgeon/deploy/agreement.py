"""How far two files are apart in onnxruntime, on random inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort

from dynsurgeon.deploy.facts import Preprocessing
from dynsurgeon.deploy.network import CPU, DTYPES, FATAL_ONLY, Array
from dynsurgeon.errors import ConfigError, StorageError
from dynsurgeon.messages import first_line

FREE_BATCHES = (1, 2, 3, 5)
NOISE = 1e-6
FREE_SIZES = (128, 160)
"""Height and width where they are free, and the file doesn't say what images it takes."""

Shapes = Mapping[str, Sequence[object]]
Feed = dict[str, Array]
Outputs = list[Array]


def open_file(path: Path) -> ort.InferenceSession:
    """Load a file on the CPU.

    Raises:
        StorageError: onnxruntime can't.
    """
    options = ort.SessionOptions()
    options.log_severity_level = FATAL_ONLY
    try:
        return ort.InferenceSession(str(path), options, providers=[CPU])
    except Exception as error:
        raise StorageError(f"onnxruntime can't run '{path}': {first_line(error)}") from error


def random_feeds(
    session: ort.InferenceSession,
    known: Preprocessing | None,
    batches: Sequence[int],
    generator: np.random.Generator,
) -> list[Feed]:
    """Return inputs for a file, those of each batch in turn; whole numbers are 0 and 1.

    Args:
        session: The file.
        known: What images it takes, where that is known.
        batches: Samples, where the file leaves them free.
        generator: Source of the numbers.

    Raises:
        ConfigError: An input is of a type that none can be drawn of.
    """
    sizes = FREE_SIZES if known is None else (known.height, known.width)
    values = [(value.name, value.shape, value.type) for value in session.get_inputs()]
    fixed = any(isinstance(shape[0], int) for _, shape, _ in values if shape)
    return [
        {
            name: _drawn(_numbers(shape, batch, sizes), name, kind, generator)
            for name, shape, kind in values
        }
        for batch in (batches[:1] if fixed else batches)
    ]


def outputs_of(session: ort.InferenceSession, feeds: Iterable[Feed]) -> list[Outputs]:
    """Return a file's outputs for each feed.

    Raises:
        ConfigError: It can't run on these inputs.
    """
    found = []
    for feed in feeds:
        try:
            found.append(session.run(None, feed))
        except Exception as error:
            shapes = {name: array.shape for name, array in feed.items()}
            raise ConfigError(
                f"the file doesn't run on inputs of the shapes {shapes}: pass `inputs`, arrays "
                f"that it takes ({first_line(error)})"
            ) from error
    return found


def largest_difference(
    expected: Iterable[Outputs], session: ort.InferenceSession, feeds: Iterable[Feed]
) -> float:
    """Return how far a file's outputs are from those of another, over the largest of each.

    It is infinite where shapes, types or whole numbers differ.
    """
    found = (session.run(None, feed) for feed in feeds)
    pairs = (zip(*outputs, strict=True) for outputs in zip(expected, found, strict=True))
    return max((_apart(*pair) for outputs in pairs for pair in outputs), default=0.0)


def swing(session: ort.InferenceSession, feed: Feed, generator: np.random.Generator) -> float:
    """Return how far the outputs go, of the largest number of each, for a millionth of noise."""
    noisy = {
        name: array + (NOISE * array * generator.standard_normal(array.shape)).astype(array.dtype)
        for name, array in feed.items()
    }
    return largest_difference(outputs_of(session, [feed]), session, [noisy])


def _numbers(shape: Sequence[object], batch: int, sizes: Sequence[int]) -> list[int]:
    free = iter(sizes)
    rest = [size if isinstance(size, int) else next(free, sizes[-1]) for size in shape[1:]]
    first = [size if isinstance(size, int) else batch for size in shape[:1]]
    return [*first, *rest]


def _drawn(shape: Sequence[int], name: str, kind: str, generator: np.random.Generator) -> Array:
    dtype = DTYPES.get(kind)
    if dtype is None:
        raise ConfigError(f"input {name!r} is a {kind}, and none can be drawn: pass `inputs`")
    if np.issubdtype(dtype, np.floating):
        return generator.standard_normal(shape).astype(dtype)
    return generator.integers(0, 2, shape).astype(dtype)


def _apart(expected: Array, found: Array) -> float:
    if expected.shape != found.shape or expected.dtype != found.dtype:
        return float("inf")
    if not np.issubdtype(expected.dtype, np.floating):
        return 0.0 if np.array_equal(expected, found) else float("inf")
    if not np.array_equal(np.isfinite(expected), np.isfinite(found)):
        return float("inf")
    finite = np.isfinite(expected)
    gap = np.abs(expected[finite] - found[finite]).max(initial=0.0)
    return float(gap / max(np.abs(expected[finite]).max(initial=0.0), 1e-6))
