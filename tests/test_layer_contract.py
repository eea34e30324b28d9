"""What torch asks of any layer: every operator can be copied, cast, compiled, exported, traced."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
from nets import perturb_
from references import deviation
from torch import Tensor, nn

from dynsurgeon.operators import DynamicConv, DynamicLayer
from dynsurgeon.operators.table import CONVOLUTIONS, RELUS
from dynsurgeon.registry import layer_classes
from dynsurgeon.settings import (
    ActivationGateConfig,
    CondConvConfig,
    DCDConfig,
    DynamicConvConfig,
    DynamicReLUConfig,
    GateConfig,
    ODConvConfig,
    ScaleConfig,
    ShiftMaxConfig,
)

CONV_NAMES = [kind.__name__ for kind in CONVOLUTIONS.values()]
RELU_NAMES = [kind.__name__ for kind in RELUS.values()]
COMMON = ["DynamicConv2d", *RELU_NAMES]

FAMILY = {
    "ScaledConv": ScaleConfig(reduction=1),
    "DecomposedConv": DCDConfig(reduction=1, rank=3),
    "CondConv": CondConvConfig(experts=3),
    "GatedConv": GateConfig(reduction=1),
    "ODConv": ODConvConfig(experts=3, reduction=1, temperature=2.0),
}
FAMILY_NAMES = [f"{name}2d" for name in FAMILY]
OTHERS = ["ODConvTranspose2d", "ScaledConv1d", "DecomposedConv3d", "GatedConvTranspose3d"]
ACTIVATIONS = {
    "ShiftMax": ShiftMaxConfig(pieces=3, groups=2),
    "GatedActivation": ActivationGateConfig(reduction=1),
}

every_operator = pytest.mark.parametrize(
    "name", [*CONV_NAMES, *RELU_NAMES, *FAMILY_NAMES, *OTHERS, *ACTIVATIONS]
)
common_operator = pytest.mark.parametrize("name", [*COMMON, *FAMILY_NAMES, *ACTIVATIONS])


def layer(name: str, dtype: torch.dtype = torch.float64, channels: int = 4) -> nn.Module:
    if name in ACTIVATIONS:
        activation: Any = layer_classes()[name]
        return perturb_(activation(channels, ACTIVATIONS[name], dtype=dtype))
    if name not in layer_classes():
        return perturb_(family_layer(name, dtype, channels))
    kind: Any = layer_classes()[name]
    if issubclass(kind, DynamicConv):
        config = DynamicConvConfig(experts=3, temperature=2.0)
        built = kind(channels, channels, 3, padding=1, groups=2, config=config, dtype=dtype)
    else:
        built = kind(channels, DynamicReLUConfig(pieces=3, temperature=2.0), dtype=dtype)
    return perturb_(built)


def family_layer(name: str, dtype: torch.dtype, channels: int) -> nn.Module:
    """Build one of the layers that start from any convolution: "ScaledConv" and "Transpose2d"."""
    family = next(key for key in FAMILY if name.startswith(key))
    static: Any = getattr(nn, "Conv" + name.removeprefix(family))
    kind: Any = layer_classes()[family]
    conv = static(channels, channels, 3, padding=1, groups=2, dtype=dtype)
    built: nn.Module = kind.from_static(conv, FAMILY[family])
    return built


def sample(name: str, batch: int = 3, dtype: torch.dtype = torch.float64, size: int = 5) -> Tensor:
    spatial = int(name[-2]) if name[-1] == "d" else 2
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, 4, *[size] * spatial, generator=generator, dtype=dtype)


@every_operator
def test_gradients_are_those_of_the_function(name: str) -> None:
    module, x = layer(name, channels=2), sample(name, batch=2, size=2)[:, :2]
    names = [key for key, _ in module.named_parameters()]

    def run(value: Tensor, *parameters: Tensor) -> Tensor:
        state = dict(zip(names, parameters, strict=True))
        y: Tensor = torch.func.functional_call(module, state, value)
        return y

    inputs = (x.clone().requires_grad_(), *module.parameters())
    assert torch.autograd.gradcheck(run, inputs)


@every_operator
def test_samples_are_independent(name: str) -> None:
    module, x = layer(name), sample(name)
    y = module(x)
    assert deviation(module(x[[2, 0, 1]]), y[[2, 0, 1]]) < 1e-12
    assert deviation(torch.cat([module(x[i : i + 1]) for i in range(3)]), y) < 1e-12


@every_operator
def test_strides_of_the_input_do_not_matter(name: str) -> None:
    module, x = layer(name), sample(name)
    expected = module(x)
    transposed = x.transpose(1, -1).contiguous().transpose(1, -1)
    spaced = x.repeat_interleave(2, dim=-1)[..., ::2]
    for view in (transposed, spaced, x[:1].expand_as(x)):
        assert not view.is_contiguous()
    assert deviation(module(transposed), expected) < 1e-12
    assert deviation(module(spaced), expected) < 1e-12
    assert deviation(module(x[:1].expand_as(x))[2], expected[0]) < 1e-12


@pytest.mark.parametrize("size", [1, 5, 12])
@pytest.mark.parametrize("name", [*COMMON, "DynamicConvTranspose2d"])
def test_channels_last(name: str, size: int) -> None:
    module, x = layer(name), sample(name, size=size)
    expected = module(x)
    module = module.to(memory_format=torch.channels_last)
    assert deviation(module(x.to(memory_format=torch.channels_last)), expected) < 1e-12


@pytest.mark.parametrize("name", ["DynamicConv3d", "DynamicConvTranspose3d", "DynamicReLUC"])
def test_channels_last_3d(name: str) -> None:
    x = torch.randn(2, 4, 3, 3, 3, dtype=torch.float64)
    module = layer(name)
    expected = module(x)
    module = module.to(memory_format=torch.channels_last_3d)
    assert deviation(module(x.to(memory_format=torch.channels_last_3d)), expected) < 1e-12


@every_operator
def test_empty_batch_has_the_right_shape(name: str) -> None:
    module, x = layer(name), sample(name)
    assert module(x[:0]).shape == module(x)[:0].shape


@every_operator
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 0.01), (torch.bfloat16, 0.08)])
def test_half_precision(name: str, dtype: torch.dtype, tolerance: float) -> None:
    module, x = layer(name).to(dtype), sample(name).to(dtype)
    expected = copy.deepcopy(module).double()(x.double())
    y = module(x)
    assert y.dtype == dtype
    assert deviation(y, expected) < tolerance


@every_operator
def test_autocast_keeps_the_low_precision(name: str) -> None:
    module, x = layer(name, torch.float32), sample(name, dtype=torch.float32)
    expected = module(x.bfloat16().float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = module(x.bfloat16())
    assert y.dtype == torch.bfloat16
    assert deviation(y, expected) < 0.08
    y.float().sum().backward()
    assert all(p.grad is not None and p.grad.dtype == p.dtype for p in module.parameters())


@every_operator
def test_copies_are_independent(name: str) -> None:
    module, x = layer(name), sample(name)
    twin = copy.deepcopy(module)
    assert torch.equal(twin(x), module(x))
    expected = module(x)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(1)
    assert torch.equal(module(x), expected)


@every_operator
def test_state_dict_holds_all_that_counts(name: str) -> None:
    module, x = layer(name), sample(name)
    for key, buffer in module.named_buffers():
        if key.endswith("temperature"):
            buffer.fill_(1.25)
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    fresh = layer(name)
    with torch.no_grad():
        for parameter in fresh.parameters():
            parameter.zero_()
    fresh.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(fresh(x), module(x))


@every_operator
def test_functional_call_with_other_parameters(name: str) -> None:
    module, other, x = layer(name), layer(name), sample(name)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(0.5)
    y = torch.func.functional_call(module, dict(other.named_parameters()), x)
    assert deviation(y, other(x)) < 1e-12
    assert deviation(y, module(x)) > 1e-3


@every_operator
def test_moves_to_another_device_and_dtype(name: str) -> None:
    module = layer(name).to(device="meta", dtype=torch.float32)
    assert all(t.is_meta and t.dtype == torch.float32 for t in module.state_dict().values())
    assert module(sample(name).float().to("meta")).is_meta


@common_operator
def test_compiles_without_graph_breaks(name: str) -> None:
    module = layer(name)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    for batch, size in ((3, 5), (1, 5), (2, 12)):
        x = sample(name, batch, size=size)
        # Where gradients are on, the backward pass is compiled too: once is enough for that.
        with torch.set_grad_enabled(batch == 3):
            assert deviation(compiled(x), module(x)) < 1e-12
    torch.compiler.reset()


@pytest.mark.parametrize(
    "name",
    [*COMMON, "DynamicConvTranspose1d", "DynamicConv3d", *FAMILY_NAMES, *OTHERS, *ACTIVATIONS],
)
def test_exports_with_a_free_batch(name: str) -> None:
    module = layer(name)
    free = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(module, (sample(name, 2),), dynamic_shapes=free)
    for batch in (1, 2, 5):
        x = sample(name, batch)
        assert deviation(program.module()(x), module(x)) < 1e-12


@common_operator
def test_exports_with_a_free_map(name: str) -> None:
    module = layer(name)
    dims = {axis: torch.export.Dim(f"d{axis}") for axis in (0, 2, 3)}
    program = torch.export.export(module, (sample(name, 2),), dynamic_shapes=(dims,))
    for batch, size in ((1, 4), (3, 12)):
        x = sample(name, batch, size=size)
        assert deviation(program.module()(x), module(x)) < 1e-12


@every_operator
def test_train_and_eval_compute_the_same(name: str) -> None:
    module, x = layer(name), sample(name, batch=1)
    assert torch.equal(module.train()(x), module.eval()(x))


def test_every_operator_is_here() -> None:
    assert set(layer_classes()) == {*CONV_NAMES, *RELU_NAMES, *FAMILY, *ACTIVATIONS}
    assert all(issubclass(kind, DynamicLayer) for kind in layer_classes().values())
