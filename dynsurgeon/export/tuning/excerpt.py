"""A dynamic convolution alone, between two static ones, as a model to be timed.

The static ones, depthwise and of one place, cost next to nothing; but they work in onnxruntime's
blocks of channels, so a form that can't pays for the reordering here as it does in a network.
"""

from __future__ import annotations

import onnx_ir as ir
import torch

from dynsurgeon.export.forms.site import OPERATOR, ConvSite
from dynsurgeon.export.node import DOMAIN
from dynsurgeon.export.passes.lower_convolutions import lower_convolutions
from dynsurgeon.export.tensors import new_initializer, tensor_of

OPSET = 18


def excerpt_model(node: ir.Node, form: str) -> ir.Model:
    """Return a model with inputs ``x`` and ``pi`` that runs the convolution of `node` in `form`.

    Args:
        node: A dynamic convolution of a captured graph, whose input has a known size.
        form: Name in `CONV_FORMS`, without obstacle at this site.
    """
    site = ConvSite.of(node)
    graph = ir.Graph([], [], nodes=[], opset_imports={"": OPSET, DOMAIN: 1}, name="excerpt")
    x, pi = (_like(value, name) for value, name in ((site.x, "x"), (site.pi, "pi")))
    graph.inputs.extend([x, pi])
    bank = new_initializer(graph, "bank", torch.rand(site.bank.shape))
    weights = [bank]
    if site.bias is not None:
        weights.append(new_initializer(graph, "biases", torch.rand(tensor_of(site.bias).shape)))
    before = _point(graph, x, int(site.x.shape[1]), site)  # type: ignore[index,arg-type]
    before.shape, before.type = x.shape, x.type
    inputs = [before, pi, *weights]
    middle = ir.Node(DOMAIN, OPERATOR, inputs, list(node.attributes.values()), name="site")
    middle.outputs[0].name = "y"
    graph.append(middle)
    after = _point(graph, middle.outputs[0], site.out_channels, site)
    after.type = ir.TensorType(ir.DataType.FLOAT)
    graph.outputs.append(after)
    model = ir.Model(graph, ir_version=10)
    lower_convolutions(model, [form])
    return model


def _like(value: ir.Value, name: str) -> ir.Value:
    return ir.Value(name=name, shape=value.shape, type=ir.TensorType(ir.DataType.FLOAT))


def _point(graph: ir.Graph, value: ir.Value, channels: int, site: ConvSite) -> ir.Value:
    """Write a static depthwise convolution of one place."""
    ones = [1] * site.geometry.spatial
    kernel = new_initializer(graph, f"{value.name}/kernel", torch.rand(channels, 1, *ones))
    node = ir.node("Conv", [value, kernel], {"group": channels, "kernel_shape": ones})
    node.outputs[0].name = f"{value.name}/point"
    graph.append(node)
    return node.outputs[0]
