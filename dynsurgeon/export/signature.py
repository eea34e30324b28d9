"""Names and free axes of a network's inputs and outputs, however they are nested."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils._pytree import KeyEntry, MappingKey, tree_flatten_with_path, tree_leaves

from dynsurgeon.errors import ConfigError, ExportError
from dynsurgeon.export.target import Target

BATCH, HEIGHT, WIDTH = "batch", "height", "width"
Axes = dict[int, str]


@dataclass(frozen=True)
class Signature:
    """What goes into the file and what comes out of it.

    Attributes:
        inputs: Names of the tensors that go in, in order.
        outputs: Names of the tensors that come out, in order.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @classmethod
    def of(
        cls,
        inputs: Any,
        outputs: Any,
        input_names: Sequence[str] | None,
        output_names: Sequence[str] | None,
        taken: Collection[str],
    ) -> Signature:
        """Name the tensors of example inputs and outputs.

        Args:
            inputs: The positional inputs.
            outputs: What the model returned for them.
            input_names: The names to give, or None to choose them.
            output_names: The names to give, or None to choose them.
            taken: Names that belong to weights.

        Raises:
            ConfigError: The names given are too few, too many or not distinct.
            ExportError: An output is neither a tensor nor None.
        """
        found = _names(inputs, "input"), _names(check_outputs(outputs), "output")
        used: set[str] = set(taken)
        chosen = [
            _choose(default, given, used, kind)
            for default, given, kind in zip(
                found, (input_names, output_names), ("input", "output"), strict=True
            )
        ]
        return cls(*chosen)


def tensors(tree: Any) -> list[Tensor]:
    """Return the tensors of a nested structure, in order."""
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def check_outputs(outputs: Any) -> Any:
    """Return `outputs` if it holds tensors and None alone.

    Raises:
        ExportError: It holds something that ONNX has no value for.
    """
    for leaf in tree_leaves(outputs):
        if leaf is not None and not isinstance(leaf, Tensor):
            raise ExportError(
                f"the model returns a {type(leaf).__name__}, which no ONNX output can hold: "
                "wrap it so that it returns tensors, in tuples, lists or dicts"
            )
    if not tensors(outputs):
        raise ExportError("the model returns no tensor")
    return outputs


def free_axes(inputs: tuple[Any, ...], target: Target, batch: int) -> list[Axes]:
    """Name the free axes of each tensor of `inputs`, in order.

    Args:
        inputs: The positional inputs that the model is traced with.
        target: What is exported.
        batch: Length of the batch axis in `inputs`.
    """
    traced_free = target.batch is None and not target.scanned
    result = []
    for tensor in tensors(inputs):
        axes: Axes = {}
        if traced_free and tensor.dim() > 0 and tensor.shape[0] == batch:
            axes[0] = BATCH
        if target.dynamic_size:
            axes |= dict(zip(spatial_axes(tensor), (HEIGHT, WIDTH), strict=False))
        result.append(axes)
    return result


def spatial_axes(tensor: Tensor) -> tuple[int, ...]:
    """Axes that count as height and width: the last two of 4 or 5, the last of 3."""
    if not tensor.is_floating_point() or tensor.dim() not in (3, 4, 5):
        return ()
    return (2,) if tensor.dim() == 3 else (tensor.dim() - 2, tensor.dim() - 1)


def _names(tree: Any, prefix: str) -> list[str]:
    paths = [path for path, leaf in tree_flatten_with_path(tree)[0] if isinstance(leaf, Tensor)]
    return [_name(path, prefix, i) for i, path in enumerate(paths)]


def _name(path: tuple[KeyEntry, ...], prefix: str, index: int) -> str:
    keys = [str(entry.key) for entry in path if isinstance(entry, MappingKey)]
    return ".".join(keys) or (f"{prefix}_{index}" if index else prefix)


def _choose(
    default: list[str], given: Sequence[str] | None, used: set[str], kind: str
) -> tuple[str, ...]:
    if given is not None:
        distinct = set(given)
        if isinstance(given, str) or len(distinct) != len(default) or used & distinct:
            raise ConfigError(
                f"{kind}_names must be {len(default)} names that nothing else has, got {given!r}"
            )
        default = [str(name) for name in given]
    names = []
    for name in default:
        count, candidate = 0, name
        while candidate in used:
            count += 1
            candidate = f"{name}_{count}"
        used.add(candidate)
        names.append(candidate)
    return tuple(names)
