"""Name nodes, values and constants after the modules they come from, as a person reads them.

layer1.0.conv1/Conv            a node: module path, then operator
layer1.0.conv1/Conv_output     what it computes
layer1.0.conv1.weight          an initialiser: its key in the state_dict
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

import onnx_ir as ir

from dynsurgeon.export.signature import Signature
from dynsurgeon.export.tensors import DERIVED

SCOPES = "pkg.torch.onnx.name_scopes"
KEPT_METADATA = ("namespace",)
"""The rest says where on the exporting machine the source code lies."""


def name_parts(model: ir.Model, signature: Signature, keys: Iterable[str]) -> None:
    """Rename everything.

    Args:
        model: A flat model, changed in place.
        signature: Names of inputs and outputs.
        keys: Names of initialisers to keep: those of the state_dict.
    """
    graph = model.graph
    names = _Names([*signature.inputs, *signature.outputs])
    _rename_ends(graph, signature)
    _rename_weights(graph, frozenset(keys), names)
    for node in graph:
        node.name = names.unique("/".join(filter(None, [module_path(node), node.op_type])))
        for i, value in enumerate(node.outputs):
            if not value.is_graph_output():
                value.name = names.unique(f"{node.name}_output{f'_{i}' if i else ''}")
    _rename_constants(graph, frozenset(keys), names)
    _strip_metadata(graph)


def module_path(node: ir.Node) -> str:
    """Return the path of the module whose forward made a node, such as ``layer1.0.conv1``."""
    scopes = ast.literal_eval(node.metadata_props.get(SCOPES, "[]"))
    return str(scopes[-2]) if len(scopes) > 1 else ""


class _Names:
    """Hands out names, each once."""

    def __init__(self, taken: Iterable[str]) -> None:
        self.taken = set(taken)
        self.counts: dict[str, int] = {}

    def unique(self, name: str) -> str:
        candidate = name
        while candidate in self.taken:
            self.counts[name] = self.counts.get(name, 0) + 1
            candidate = f"{name}_{self.counts[name]}"
        self.taken.add(candidate)
        return candidate


def _rename_ends(graph: ir.Graph, signature: Signature) -> None:
    ends = zip(
        [*graph.inputs, *graph.outputs], [*signature.inputs, *signature.outputs], strict=True
    )
    for value, name in ends:
        value.name = name


def _rename_weights(graph: ir.Graph, keys: frozenset[str], names: _Names) -> None:
    names.taken.update(name for name in graph.initializers if name in keys)
    for name, value in list(graph.initializers.items()):
        source = name.partition(DERIVED)[0]
        if DERIVED in name and source in keys:
            value.name = names.unique(source)


def _rename_constants(graph: ir.Graph, keys: frozenset[str], names: _Names) -> None:
    for name, value in list(graph.initializers.items()):
        user = next((use.node for use in value.uses()), None)
        if name not in keys and name not in names.taken and user is not None:
            value.name = names.unique(f"{user.name}_constant")


def _strip_metadata(graph: ir.Graph) -> None:
    for node in graph:
        _keep(node.metadata_props)
        node.doc_string = None
    for value in [*graph.inputs, *graph.initializers.values(), *_outputs(graph)]:
        _keep(value.metadata_props)


def _outputs(graph: ir.Graph) -> list[ir.Value]:
    return [value for node in graph for value in node.outputs]


def _keep(metadata: dict[str, str]) -> None:
    for key in [key for key in metadata if key not in KEPT_METADATA]:
        del metadata[key]
