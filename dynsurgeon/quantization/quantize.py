"""onnxruntime's static quantisation of a dynamic network, calibrated on images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)
from torch import Tensor, nn

from dynsurgeon.errors import ConfigError, DataError, ExportError
from dynsurgeon.export import export_onnx
from dynsurgeon.export.verify import check_file
from dynsurgeon.graphs.saving import install, staging
from dynsurgeon.messages import first_line
from dynsurgeon.operators.contract import dynamic_layers
from dynsurgeon.quantization.choice import WEIGHTED, quantizable
from dynsurgeon.quantization.compare import FileComparison, compare_files
from dynsurgeon.running.quiet import quiet

FORM = "portable"
"""A free batch and constant kernels, without a Scan, into which the quantiser doesn't look."""

QUANTIZED_KEY = "dynsurgeon.quantized"
"""Key, in a file's metadata, of the type that it computes in."""


@dataclass(frozen=True)
class QuantizeResult:
    """A quantised file.

    Attributes:
        path: The file.
        layers: Convolutions and linear layers that compute in 8 bits.
        float_layers: Convolutions, linear layers and other products that stay in single precision.
        comparison: What it does otherwise than the file in single precision.
    """

    path: Path
    layers: int
    float_layers: int
    comparison: FileComparison

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain JSON values."""
        return {
            "path": str(self.path),
            "layers": self.layers,
            "float_layers": self.float_layers,
            **self.comparison.to_dict(),
        }


def quantize_onnx(
    model: nn.Module,
    path: str | PathLike[str],
    example_inputs: Any,
    images: Iterable[Tensor],
    test: Iterable[tuple[Tensor, Tensor | None]],
    *,
    reference: str | PathLike[str] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> QuantizeResult:
    """Write a network as ONNX that computes in 8 bits where it can.

    Convolutions and linear layers do (QDQ, a scale for each filter); attentions, mixing and the
    lines of a DY-ReLU stay in single precision. A dynamic convolution takes the form with constant
    kernels, at K times the multiply-adds. The network is exported and verified in single precision
    first; how far the quantised file is off is measured and returned, whatever it is.

    Args:
        model: The network; it is exported in eval mode and stays as it is.
        path: The file to write. One that is there already is replaced, once the new one is good.
        example_inputs: As `export_onnx` takes them; a single tensor.
        images: Batches ``(N, C, H, W)`` to calibrate on, as the network takes them.
        test: Batches to measure on: images and classes ``(N,)``, or None for classes.
        reference: A file of the same network to compare with; the one in single precision by
            default.
        metadata: What else the file says of itself, as `export_onnx` takes it.

    Raises:
        ConfigError: The network has several inputs.
        DataError: There are no images.
        ExportError: The network can't be exported, nothing in it can be quantised, or onnxruntime
            fails at it.
        StorageError: The file can't be written there.
    """
    path = Path(path)
    with staging(path) as folder:
        single, staged = folder / "float.onnx", folder / path.name
        export_onnx(model, single, example_inputs, form=FORM, metadata=metadata)
        graph = onnx.load(single, load_external_data=False).graph
        if len(graph.input) != 1:
            raise ConfigError(f"only networks of one input are quantised, got {len(graph.input)}")
        nodes = quantizable(graph, [name for name, _ in dynamic_layers(model)])
        if not nodes:
            raise ExportError("nothing in this network can be quantised: no constant kernels")
        _quantize(single, staged, _Reader(graph.input[0].name, images), nodes)
        _note(staged)
        check_file(staged)
        comparison = compare_files(Path(reference or single), staged, test)
        install(staged, path)
    weighted = [node.name for node in graph.node if node.op_type in WEIGHTED]
    count = len(set(weighted) & set(nodes))
    return QuantizeResult(path, count, len(weighted) - count, comparison)


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Gives onnxruntime the batches to calibrate on."""

    def __init__(self, name: str, batches: Iterable[Tensor]) -> None:
        self.name, self.batches, self.count = name, iter(batches), 0

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self.batches, None)
        if batch is None:
            return None
        self.count += len(batch)
        return {self.name: batch.detach().cpu().numpy()}


def _quantize(single: Path, staged: Path, reader: _Reader, nodes: list[str]) -> None:
    # Weights get 7 bits: without VNNI, onnxruntime adds two products of 8 bits each in 16, and the
    # K copies of a depthwise convolution overflow there (1 % of answers right instead of 89).
    try:
        with quiet():  # it recommends steps that the export has done
            quantize_static(
                single,
                staged,
                reader,
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                reduce_range=True,
                nodes_to_quantize=nodes,
            )
    except DataError:
        raise
    except Exception as error:
        if not reader.count:
            raise DataError("there is no image to calibrate on") from error
        raise ExportError(f"onnxruntime can't quantise the file: {first_line(error)}") from error


def _note(path: Path) -> None:
    """Put into the metadata that the file is quantised; onnxruntime keeps the rest."""
    model = onnx.load(path)
    model.metadata_props.add(key=QUANTIZED_KEY, value="int8")
    onnx.save(model, path)
