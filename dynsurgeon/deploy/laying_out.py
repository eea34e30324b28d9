"""Lay a file of standard operators out for the CPU that it will run on, without PyTorch.

What ``--form native`` does where a network is exported, this does where it runs: convolutions whose
kernels are computed get onnxruntime's fast layout, which it gives to constant ones alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort

from dynsurgeon.deploy.agreement import (
    FREE_BATCHES,
    Feed,
    largest_difference,
    open_file,
    outputs_of,
    random_feeds,
    swing,
)
from dynsurgeon.deploy.facts import BANK_KEY, FORM_KEY, PRECISION_KEY, TARGET_KEY, preprocessing_in
from dynsurgeon.deploy.network import Array
from dynsurgeon.errors import ConfigError, ParityError, StorageError
from dynsurgeon.form_names import NATIVE, THIS_CPU
from dynsurgeon.messages import first_line

if TYPE_CHECKING:
    import onnx_ir as ir

TOLERANCE = 1e-4
"""Largest difference, over the largest output, that may come of another order of sums."""

STRENGTHS = (1.0, 0.3, 0.1)
"""How strongly weights are changed for the second comparison."""

FOLDED = "grouped"
CONVOLUTIONS = ("Conv", "FusedConv")


@dataclass(frozen=True)
class Layout:
    """A file that was laid out.

    Attributes:
        path: The file.
        source: What it was made of.
        block: Channels that lie side by side on this CPU, or None if onnxruntime gave no operator
            of the network such a layout; the file then runs on any CPU.
        convolutions: Convolutions with computed kernels that got the fast layout.
        slow: Convolutions with computed kernels that stayed as they were.
        batches: Batches at which it was compared with its source.
        max_rel: Largest difference, over the largest output.
    """

    path: Path
    source: Path
    block: int | None
    convolutions: int
    slow: int
    batches: tuple[int, ...]
    max_rel: float

    def __str__(self) -> str:
        where = "any CPU" if self.block is None else f"CPUs with blocks of {self.block} channels"
        batches = ", ".join(map(str, self.batches))
        count = self.convolutions + self.slow
        return (
            f"wrote {self.path} for {where}: laid out {self.convolutions} of {count} convolutions "
            f"whose kernels are computed; max difference from {self.source} {self.max_rel:.2g}, "
            f"batch {batches}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {**asdict(self), "path": str(self.path), "source": str(self.source)}


def layout(
    path: str | PathLike[str],
    output: str | PathLike[str] | None = None,
    *,
    inputs: Mapping[str, Array] | None = None,
    seed: int = 0,
) -> Layout:
    """Write a file that computes what `path` does, laid out for this machine's CPU.

    It is compared with its source in onnxruntime before it gets its name: on random inputs at
    batches 1, 2, 3 and 5 (or the fixed one), and once more with other weights in both. It refuses
    CPUs whose blocks of channels have another width, as files of form *native* do. Banks in 8 or
    16 bits are turned back into single precision.

    Args:
        path: A file of form *scan*, *plain* or *portable*; it stays as it is.
        output: The file to write, replaced if it is there; ``<name>.this-cpu.onnx`` beside `path`
            by default.
        inputs: What both files are run on, by the names of the inputs, instead of random numbers.
        seed: Seed of inputs and weights.

    Raises:
        ConfigError: The file is of a form that can't be laid out, or onnx-ir is not installed.
        StorageError: The file is missing or damaged, or `output` can't be written.
        ExportError: onnxruntime can't lay it out.
        ParityError: The result computes something else; it was not written.
    """
    if find_spec("onnx_ir") is None:
        raise ConfigError("laying a file out takes onnx-ir: pip install onnx-ir")
    from dynsurgeon.graphs.initializers import EXTERNAL_DATA_LIMIT
    from dynsurgeon.graphs.saving import install, save_model, staging

    source = Path(path)
    target = source.with_suffix(f".{THIS_CPU}.onnx") if output is None else Path(output)
    session, model = _read(source)
    if target.exists() and target.samefile(source):
        raise ConfigError(f"'{source}' is what is laid out: give another name for the result")
    generator = np.random.default_rng(seed)
    known = preprocessing_in(model.metadata_props)
    feeds = [dict(inputs)] if inputs else random_feeds(session, known, FREE_BATCHES, generator)
    expected, batch = outputs_of(session, feeds), _prepare(model)
    with staging(target) as folder:
        gap = _gap_of_others(model, folder, _first(feeds, batch), generator)
        _check(gap, target)
        laid = _laid_out(model, batch)
        save_model(laid, folder / target.name, EXTERNAL_DATA_LIMIT)
        gap = largest_difference(expected, open_file(folder / target.name), feeds)
        _check(gap, target)
        install(folder / target.name, target)
    return _told(laid, target, source, feeds, gap)


def _read(path: Path) -> tuple[ort.InferenceSession, ir.Model]:
    """Load a file in onnxruntime, and as a graph.

    Raises:
        StorageError: It is missing or damaged.
        ConfigError: It is of a form that can't be laid out.
    """
    import onnx_ir as ir

    if not path.is_file():
        raise StorageError(f"there is no file '{path}'")
    session = open_file(path)
    try:
        model = ir.load(path)
    except Exception as error:
        raise StorageError(f"'{path}' can't be read as ONNX: {first_line(error)}") from error
    form = model.metadata_props.get(FORM_KEY)
    if form == NATIVE:
        raise ConfigError(f"'{path}' is laid out already: give the file that it was made of")
    if form == FOLDED:
        raise ConfigError(
            f"'{path}' is of form 'grouped', whose kernels are those of all samples at once: "
            "export it with a free batch, or for batch 1"
        )
    if PRECISION_KEY in model.metadata_props:
        raise ConfigError(f"'{path}' computes in half precision, which is for GPUs")
    return session, model


def _prepare(model: ir.Model) -> str | int | None:
    """Make the graph one of single samples; return the batch that is scanned, or None."""
    from dynsurgeon.graphs.native.whole import single_sample

    batch = single_sample(model)
    model.metadata_props.pop(BANK_KEY, None)
    model.metadata_props.update({FORM_KEY: NATIVE, TARGET_KEY: THIS_CPU})
    return batch


def _laid_out(model: ir.Model, batch: str | int | None) -> ir.Model:
    from dynsurgeon.graphs.native.whole import laid_out

    return laid_out(model, batch)


def _gap_of_others(
    model: ir.Model, folder: Path, feed: Feed, generator: np.random.Generator
) -> float:
    """Lay the graph out with other weights too: kernels that are all equal would hide a mistake.

    They are changed less where the network blows a millionth of its inputs up.
    """
    from dynsurgeon.graphs.initializers import EXTERNAL_DATA_LIMIT
    from dynsurgeon.graphs.saving import save_model
    from dynsurgeon.graphs.vary import vary_weights

    plain, laid = folder / "varied.onnx", folder / "varied-laid-out.onnx"
    for strength in STRENGTHS:
        varied = model.clone()
        vary_weights(varied.graph, generator, strength)
        save_model(varied, plain, EXTERNAL_DATA_LIMIT)
        session = open_file(plain)
        if swing(session, feed, generator) < TOLERANCE / 4:
            break
    save_model(_laid_out(varied, None), laid, EXTERNAL_DATA_LIMIT)
    return largest_difference(outputs_of(session, [feed]), open_file(laid), [feed])


def _first(feeds: Sequence[Feed], batch: str | int | None) -> Feed:
    """Return what the graph without its Scan takes."""
    return feeds[0] if batch is None else {name: array[:1] for name, array in feeds[0].items()}


def _check(gap: float, path: Path) -> None:
    if not gap <= TOLERANCE:
        raise ParityError(
            f"'{path}' was not written: laid out for this CPU, the network is off by {gap:.3g} of "
            "the largest output; use the file as it is, and please report it"
        )


def _told(laid: ir.Model, path: Path, source: Path, feeds: Sequence[Feed], gap: float) -> Layout:
    from dynsurgeon.graphs.initializers import is_constant
    from dynsurgeon.graphs.native.guard import block_width
    from dynsurgeon.graphs.native.optimise import NCHWC

    nodes = [node for graph in laid.graphs() for node in graph]
    mixed = [n for n in nodes if n.op_type in CONVOLUTIONS and not is_constant(n.inputs[1])]
    return Layout(
        path=path,
        source=source,
        block=block_width() if any(node.domain == NCHWC for node in nodes) else None,
        convolutions=sum(node.domain == NCHWC for node in mixed),
        slow=sum(node.domain != NCHWC for node in mixed),
        batches=tuple(len(next(iter(feed.values()))) for feed in feeds),
        max_rel=gap,
    )
