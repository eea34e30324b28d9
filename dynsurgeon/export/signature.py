"""Names and free axes of a network's inputs and outputs, however they are nested."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from torch import Tensor

from dynsurgeon.compat import tree_flatten, tree_leaves
from dynsurgeon.errors import ConfigError, ExportError
from dynsurgeon.export.target import Target
from dynsurgeon.running.inputs import Inputs

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
            inputs: The inputs.
            outputs: What the model returned for them.
            input_names: The names to give, or None to choose them.
            output_names: The names to give, or None to choose them.
            taken: Names that belong to weights.

        Raises:
            ConfigError: The names given are too few, too many or not distinct.
            ExportError: An output is neither a tensor nor None.
        """
        fed = Inputs.of(inputs)
        found = (
            _names((fed.args, fed.kwargs), "input"),
            _names(check_outputs(outputs), "output"),
        )
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
                f"{_registration(leaf)}"
            )
    if not tensors(outputs):
        raise ExportError("the model returns no tensor")
    return outputs


def _registration(leaf: Any) -> str:
    """Say how torch learns of a class that holds tensors, if this is one."""
    if is_dataclass(leaf):
        return f", or tell torch of it: torch.export.register_dataclass({type(leaf).__name__})"
    if any(isinstance(value, Tensor) for value in getattr(leaf, "__dict__", {}).values()):
        return ", or tell torch of it: torch.utils._pytree.register_pytree_node"
    return ""


def free_axes(inputs: Inputs, target: Target, batch: int) -> list[Axes]:
    """Name the free axes of each tensor of `inputs`, in order.

    Args:
        inputs: The inputs that the model is traced with.
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
    paths = [path for path, leaf in _leaves(tree) if isinstance(leaf, Tensor)]
    return [".".join(path) or (f"{prefix}_{i}" if i else prefix) for i, path in enumerate(paths)]


def _leaves(tree: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield each leaf with the keys on its way, where they can be had.

    torch's own function for it fails at a class that was registered without its keys.
    """
    children = tree_flatten(tree, is_leaf=lambda node: node is not tree)[0]
    if len(children) == 1 and children[0] is tree:
        yield path, tree
        return
    known = _items(tree)
    for child in children:
        place = next((i for i, (_, value) in enumerate(known) if value is child), None)
        key = () if place is None else (known.pop(place)[0],)
        yield from _leaves(child, (*path, *key))


def _items(tree: Any) -> list[tuple[str, Any]]:
    if isinstance(tree, Mapping):
        return [(str(key), value) for key, value in tree.items()]
    if is_dataclass(tree):
        return [(field.name, getattr(tree, field.name, None)) for field in fields(tree)]
    return []


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
