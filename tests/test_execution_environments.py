"""A converted network runs wherever the static one does, with the same numbers."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import torch
from nets import (
    TinyDual,
    TinyFunctional,
    TinyMobile,
    TinyNet,
    TinyResNet,
    TinySharedConv,
    perturb_,
)
from references import deviation
from surgery_nets import Arguments, Kernels
from torch import Tensor, nn

import dynsurgeon as ds
from dynsurgeon.operators.table import CONVOLUTIONS, RELUS
from dynsurgeon.registry import layer_classes

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
]

NETS = [TinyResNet, TinyFunctional, TinyMobile, TinySharedConv, TinyDual, Kernels, Arguments]
CONFIGS = {
    "B": ds.SurgeryConfig(),
    "C": ds.SurgeryConfig(activation=ds.DynamicReLUConfig(kind="C", smooth=True, pieces=3)),
}


def trained(kind: type[TinyNet], config: str = "B") -> tuple[nn.Module, Tensor, Tensor]:
    """Return a perturbed converted network, an input and its output."""
    dynamic, x, y = _original(kind.__name__, config)
    return copy.deepcopy(dynamic), x.clone(), y.clone()


@cache
def _original(name: str, config: str) -> tuple[nn.Module, Tensor, Tensor]:
    kind = next(kind for kind in NETS if kind.__name__ == name)
    net: Any = perturb_(kind()).eval()
    dynamic = perturb_(ds.convert(net, net.example(), CONFIGS[config])).eval()
    x = net.example(3)
    with torch.no_grad():
        return dynamic, x, dynamic(x)


@pytest.fixture(autouse=True)
def fresh_compiler() -> Iterator[None]:
    """Forget what other tests compiled."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("kind", NETS)
def test_compiled_without_graph_breaks(kind: type[TinyNet], config: str) -> None:
    dynamic, x, expected = trained(kind, config)
    compiled: Any = torch.compile(dynamic, fullgraph=True, backend="eager")
    with torch.no_grad():
        assert deviation(compiled(x), expected) < 1e-5


def test_compiled_with_a_dynamic_batch() -> None:
    dynamic, _, _ = trained(TinyDual)  # every layer costs seconds here, and they are all alike
    compiled: Any = torch.compile(dynamic, fullgraph=True, backend="eager", dynamic=True)
    for batch in (2, 3, 5, 1):
        x = TinyDual().example(batch)
        with torch.no_grad():
            assert deviation(compiled(x), dynamic(x)) < 1e-5


def test_compiled_in_both_modes() -> None:
    dynamic, x, _ = trained(TinyDual)
    compiled: Any = torch.compile(dynamic, fullgraph=True, backend="eager")
    for training in (True, False):
        dynamic.train(training)
        torch.manual_seed(5)
        expected = dynamic(x)
        torch.manual_seed(5)
        assert deviation(compiled(x), expected) < 1e-5


def test_compiled_ahead_of_time_with_its_backward() -> None:
    dynamic, x, _ = trained(TinyFunctional)
    compiled: Any = torch.compile(dynamic, fullgraph=True, backend="aot_eager")
    gradients = []
    for model in (dynamic, compiled):
        dynamic.zero_grad()
        model(x).square().mean().backward()
        gradients.append(
            {n: p.grad.clone() for n, p in dynamic.named_parameters() if p.grad is not None}
        )
    assert len(gradients[0]) == len(list(dynamic.parameters()))
    for name, gradient in gradients[0].items():
        assert deviation(gradients[1][name], gradient, floor=1e-6) < 1e-4, name


@pytest.mark.slow
@pytest.mark.parametrize("kind", NETS)
def test_compiled_by_inductor(kind: type[TinyNet]) -> None:
    dynamic, x, expected = trained(kind)
    compiled: Any = torch.compile(dynamic, fullgraph=True)
    with torch.no_grad():
        assert deviation(compiled(x), expected) < 1e-4


OPERATORS = [kind.__name__ for kind in (*CONVOLUTIONS.values(), *RELUS.values())]
FURTHER = sorted(set(layer_classes()) - {*OPERATORS, "ShiftMax", "GatedActivation"})


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_operator_compiles(operator: str) -> None:
    axes = int(operator[-2]) if operator[-1] == "d" else 2
    arguments = (4, 6, 3) if operator[-1] == "d" else (4,)
    layer = perturb_(layer_classes()[operator](*arguments))
    x = torch.randn(3, 4, *[7] * axes)
    compiled: Any = torch.compile(layer, fullgraph=True, backend="eager")
    with torch.no_grad():
        assert deviation(compiled(x), layer(x)) < 1e-5


@pytest.mark.parametrize("operator", FURTHER)
def test_every_layer_of_a_convolution_compiles(operator: str) -> None:
    layer: Any = layer_classes()[operator]
    module = perturb_(layer.from_static(nn.Conv2d(4, 6, 3)))
    x = torch.randn(3, 4, 7, 7)
    compiled: Any = torch.compile(module, fullgraph=True, backend="eager")
    with torch.no_grad():
        assert deviation(compiled(x), module(x)) < 1e-5


@pytest.mark.parametrize("kind", NETS)
def test_exported_with_a_dynamic_batch(kind: type[TinyNet]) -> None:
    dynamic, x, _ = trained(kind)
    shapes = ({0: torch.export.Dim("batch", min=1, max=64)},)
    program = torch.export.export(dynamic, (x,), dynamic_shapes=shapes)
    for batch in (1, 5):
        y = kind().example(batch, seed=batch)
        with torch.no_grad():
            assert deviation(program.module()(y), dynamic(y)) < 1e-5


@pytest.mark.parametrize("kind", NETS)
def test_functional_call(kind: type[TinyNet]) -> None:
    dynamic, x, expected = trained(kind)
    state = {name: p.detach().clone() for name, p in dynamic.named_parameters()}
    assert deviation(torch.func.functional_call(dynamic, state, x), expected) < 1e-6
    zeros = {name: torch.zeros_like(p) for name, p in state.items()}
    assert not torch.func.functional_call(dynamic, zeros, x).any()
    assert deviation(dynamic(x), expected) < 1e-6


def test_gradients_and_maps_of_functions() -> None:
    dynamic, x, expected = trained(TinyResNet)
    state = {name: p.detach() for name, p in dynamic.named_parameters()}

    def loss(parameters: dict[str, Tensor], sample: Tensor) -> Tensor:
        y: Tensor = torch.func.functional_call(dynamic, parameters, sample[None]).square().sum()
        return y

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(state, x)
    alone = torch.func.grad(loss)(state, x[1])
    for name, gradient in alone.items():
        assert deviation(each[name][1], gradient, floor=1e-6) < 1e-3, name
    mapped = torch.func.vmap(lambda sample: dynamic(sample[None])[0])(x)
    assert deviation(mapped, expected) < 1e-5


@pytest.mark.parametrize("kind", NETS)
def test_copies_are_equal_and_independent(kind: type[TinyNet]) -> None:
    dynamic, x, expected = trained(kind)
    twin = copy.deepcopy(dynamic)
    with torch.no_grad():
        assert torch.equal(twin(x), expected)
        for parameter in twin.parameters():
            parameter.zero_()
        assert torch.equal(dynamic(x), expected)
        assert torch.equal(copy.copy(dynamic)(x), expected)


@pytest.mark.parametrize("kind", NETS)
def test_autocast(kind: type[TinyNet]) -> None:
    dynamic, x, expected = trained(kind)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        y = dynamic(x)
    assert deviation(y.float(), expected) < 0.1
    with torch.autocast("cpu", dtype=torch.bfloat16):
        dynamic.train()(x).float().square().mean().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in dynamic.parameters())


@pytest.mark.parametrize("kind", NETS)
def test_channels_last(kind: type[TinyNet]) -> None:
    dynamic, x, expected = trained(kind)
    dynamic.to(memory_format=torch.channels_last)
    with torch.no_grad():
        y = dynamic(x.to(memory_format=torch.channels_last))
    assert deviation(y, expected) < 1e-5


@pytest.mark.parametrize("kind", NETS)
def test_inputs_that_are_not_contiguous(kind: type[TinyNet]) -> None:
    dynamic, x, expected = trained(kind)
    transposed = x.transpose(2, 3).contiguous().transpose(2, 3)
    strided = torch.stack([x, -x], dim=-1)[..., 0]
    expanded = x[:1].expand(3, *x.shape[1:])
    with torch.no_grad():
        assert not transposed.is_contiguous()
        assert deviation(dynamic(transposed), expected) < 1e-5
        assert deviation(dynamic(strided), expected) < 1e-5
        assert deviation(dynamic(expanded), dynamic(expanded.clone())) < 1e-5


def test_a_state_dict_goes_through_torch_save() -> None:
    dynamic, x, expected = trained(TinyFunctional)
    buffer = io.BytesIO()
    torch.save(dynamic.state_dict(), buffer)
    buffer.seek(0)
    net = TinyFunctional().eval()
    twin = ds.convert(net, net.example())
    twin.load_state_dict(torch.load(buffer, weights_only=True))
    with torch.no_grad():
        assert torch.equal(twin(x), expected)


def test_a_whole_network_does_not_go_through_pickle() -> None:
    dynamic, _, _ = trained(TinyResNet)
    with pytest.raises(ds.UnsupportedModelError, match=r"write it with dynsurgeon\.save"):
        torch.save(dynamic, io.BytesIO())


def test_a_traced_script() -> None:
    dynamic, x, expected = trained(TinyResNet)
    jit: Any = torch.jit
    script = jit.trace(dynamic, x, check_trace=False)
    assert deviation(script(x), expected) < 1e-5


def test_moving_to_another_precision_and_back() -> None:
    dynamic, x, expected = trained(TinyResNet)
    with torch.no_grad():
        assert deviation(dynamic.double()(x.double()), expected) < 1e-5
        assert deviation(dynamic.bfloat16()(x.bfloat16()), expected) < 0.2


def test_train_and_eval_switch_every_layer() -> None:
    dynamic, _, _ = trained(TinyDual)
    for training in (True, False):
        dynamic.train(training)
        assert {module.training for module in dynamic.modules()} == {training}
