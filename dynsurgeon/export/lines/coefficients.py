"""The coefficients of a maximum of lines in as few operators as there can be.

    a = alpha + lambda_a tanh(theta_a / 2)        because 2 sigmoid(t) - 1 = tanh(t / 2)

The half goes into the head's last layer, where it is exact: a halved float keeps its digits.
"""

from __future__ import annotations

import onnx_ir as ir

from dynsurgeon.export.forms.emitter import Emitter
from dynsurgeon.export.lines.site import LinesSite
from dynsurgeon.export.tensors import set_tensor, tensor_of
from dynsurgeon.graphs.initializers import is_constant


def emit_coefficients(site: LinesSite, emitter: Emitter) -> ir.Value:
    """Write all coefficients in the order of theta's rows, as ``(N, rows width)``."""
    away = emitter.op("Mul", [emit_delta(site, emitter), emitter.constant(site.reach())])
    return emitter.op("Add", [away, emitter.constant(site.start())])


def emit_delta(site: LinesSite, emitter: Emitter) -> ir.Value:
    """Write ``2 sigmoid(theta) - 1``, of the shape of theta."""
    return emitter.op("Tanh", [_halved(site, emitter)])


def _halved(site: LinesSite, emitter: Emitter) -> ir.Value:
    """Return theta / 2, without an operator where the layer before can give that."""
    theta = site.theta
    gemm = theta.producer()
    weights = [] if gemm is None or gemm.op_type != "Gemm" else list(gemm.inputs[1:])
    alone = all(is_constant(value) and len(value.uses()) == 1 for value in weights if value)
    if not weights or not alone or len(theta.uses()) != 1:
        return emitter.op("Mul", [theta, emitter.constant(site.alpha.new_tensor(0.5))])
    for value in weights:
        if value is not None:
            set_tensor(value, tensor_of(value) / 2)
    return theta
