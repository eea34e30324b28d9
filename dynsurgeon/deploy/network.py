"""An exported file, loaded: arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from dynsurgeon.deploy.facts import FORM_KEY, labels_in, preprocessing_in, recipe_in
from dynsurgeon.errors import ConfigError, MachineError, StorageError
from dynsurgeon.form_names import NATIVE, other_cpu
from dynsurgeon.messages import first_line

Array = NDArray[Any]
FATAL_ONLY = 4
"""Level of onnxruntime's log: an error is raised, and need not be printed too."""
CPU = "CPUExecutionProvider"
DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
    "tensor(uint8)": np.uint8,
}


class Network:
    """A network in onnxruntime; `load` makes it.

    Attributes:
        path: The file.
        inputs: Shape of each input by its name; free axes are names or None.
        outputs: The same of the outputs.
        batch: The fixed batch of the file, or None where it is free.
        form: Layout of the file.
        recipe: How the network became dynamic, as ``recipe.json`` has it; None if unknown.
        preprocessing: How images are prepared for it; None if unknown.
        labels: Names of the classes; None if unknown.
    """

    def __init__(self, path: Path, session: ort.InferenceSession) -> None:
        metadata = session.get_modelmeta().custom_metadata_map
        self.path, self._session = path, session
        self.inputs = {value.name: tuple(value.shape) for value in session.get_inputs()}
        self.outputs = {value.name: tuple(value.shape) for value in session.get_outputs()}
        self._dtypes = {value.name: DTYPES.get(value.type) for value in session.get_inputs()}
        first = next(iter(self.inputs.values()))[:1]
        self.batch = first[0] if first and isinstance(first[0], int) else None
        self.form = metadata.get(FORM_KEY, "unknown")
        self.recipe = recipe_in(metadata)
        self.preprocessing = preprocessing_in(metadata)
        self.labels = labels_in(metadata)

    def __call__(self, *arrays: Array, **named: Array) -> Array:
        """Run, and return the first output; see `run`."""
        return next(iter(self.run(*arrays, **named).values()))

    def run(self, *arrays: Array, **named: Array) -> dict[str, Array]:
        """Run on any number of samples.

        Where the file's batch is fixed, samples run in batches of that size; the last batch is
        filled up.

        Args:
            arrays: Inputs in the file's order, samples on their first axis.
            named: Inputs by their names.

        Returns:
            The outputs by their names, samples on their first axis; of a detector, which takes
            one image, what it found on that axis.

        Raises:
            ConfigError: An input is missing, unknown, or of another shape or type.
            MachineError: The file was laid out for another CPU.
        """
        feed = self._feed(arrays, named)
        count = len(next(iter(feed.values())))
        if self.finds:
            return self._found(feed, count)
        size = self.batch or count
        parts = [self._part(feed, start, size) for start in range(0, count, size)]
        joined = [np.concatenate(found)[:count] for found in zip(*parts, strict=True)]
        return dict(zip(self.outputs, joined, strict=True))

    @property
    def finds(self) -> bool:
        """Whether it takes one image and returns as many rows as it finds boxes."""
        rows = [size for shape in self.outputs.values() for size in shape[:1]]
        return self.batch == 1 and not any(isinstance(size, int) for size in rows)

    def _found(self, feed: Mapping[str, Array], count: int) -> dict[str, Array]:
        if count != 1:
            raise ConfigError(
                f"'{self.path}' finds boxes in one image, and got {count}: call it for each"
            )
        return dict(zip(self.outputs, self._call(feed), strict=True))

    def _feed(self, arrays: Sequence[Array], named: Mapping[str, Array]) -> dict[str, Array]:
        given = {**dict(zip(self.inputs, arrays, strict=False)), **named}
        if given.keys() != self.inputs.keys() or len(arrays) + len(named) != len(given):
            raise ConfigError(
                f"'{self.path}' takes the inputs {', '.join(self.inputs)}, each once; got "
                f"{len(arrays)} in order and {', '.join(named) or 'none'} by name"
            )
        feed = {name: self._checked(name, np.asarray(given[name])) for name in self.inputs}
        if len({len(array) for array in feed.values()}) != 1:
            sizes = {name: len(array) for name, array in feed.items()}
            raise ConfigError(f"inputs hold different numbers of samples: {sizes}")
        return feed

    def _checked(self, name: str, array: Array) -> Array:
        shape, dtype = self.inputs[name], self._dtypes[name]
        fixed = zip(shape[1:], array.shape[1:], strict=False)
        wrong = any(isinstance(size, int) and size != found for size, found in fixed)
        if array.ndim != len(shape) or wrong or not len(array):
            raise ConfigError(
                f"input {name!r} of '{self.path}' is {_words(shape)}, got {_words(array.shape)}"
            )
        if dtype is None or array.dtype == dtype:
            return np.ascontiguousarray(array)
        if np.issubdtype(array.dtype, np.floating) and np.issubdtype(dtype, np.floating):
            return np.ascontiguousarray(array, dtype)
        kind = np.dtype(dtype).name
        raise ConfigError(f"input {name!r} of '{self.path}' holds {kind}, got {array.dtype.name}")

    def _part(self, feed: Mapping[str, Array], start: int, size: int) -> list[Array]:
        cut = {name: array[start : start + size] for name, array in feed.items()}
        return self._call({name: _filled(array, size) for name, array in cut.items()})

    def _call(self, feed: Mapping[str, Array]) -> list[Array]:
        try:
            found: list[Array] = self._session.run(None, dict(feed))
        except Exception as error:
            raise _explained(self.path, error) from error
        return found

    def check(self) -> None:
        """Run on zeros, so that a file for another CPU is refused before it is used.

        Raises:
            MachineError: The file was laid out for another CPU.
        """
        feed = {}
        for name, shape in self.inputs.items():
            sizes = [size if isinstance(size, int) else 1 for size in shape]
            feed[name] = np.zeros(sizes, self._dtypes[name])
        self._call(feed)


def load(
    path: str | PathLike[str],
    *,
    providers: Sequence[str] | None = None,
    threads: int | None = None,
) -> Network:
    """Load a file that `export_onnx` or the command line wrote.

    Args:
        path: The file.
        providers: onnxruntime's execution providers, the best first; the CPU's by default.
        threads: Threads of an operator; onnxruntime's choice by default.

    Raises:
        StorageError: The file is missing or damaged.
        ConfigError: There is no such provider here.
        MachineError: The file was laid out for another CPU.
    """
    path, wanted = Path(path), list(providers or [CPU])
    known = ort.get_available_providers()
    strange = [name for name in wanted if name not in known]
    if strange:
        raise ConfigError(f"no provider {strange[0]!r} here; there are {', '.join(known)}")
    if not path.is_file():
        raise StorageError(f"there is no file '{path}'")
    options = ort.SessionOptions()
    options.log_severity_level = FATAL_ONLY
    options.intra_op_num_threads = threads or 0
    try:
        network = Network(path, ort.InferenceSession(str(path), options, providers=wanted))
    except StorageError:
        raise
    except Exception as error:
        raise _explained(path, error) from error
    if network.form == NATIVE:
        network.check()
    return network


def _explained(path: Path, error: Exception) -> MachineError | StorageError:
    said = f"onnxruntime can't run '{path}': {first_line(error)}"
    return other_cpu(error, path) or StorageError(said)


def _filled(array: Array, size: int) -> Array:
    """Repeat the last sample until there are `size`."""
    missing = size - len(array)
    return np.concatenate([array, array[-1:].repeat(missing, 0)]) if missing else array


def _words(shape: Sequence[object]) -> str:
    return " x ".join(map(str, shape)) or "a number"
