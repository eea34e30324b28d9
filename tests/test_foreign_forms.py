"""Wrappers and other kinds of a model: kept, or refused by name and with the mend."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from nets import TinyNet, TinyResNet
from surgery_nets import EVERY, Flow, converted, dynamic_layers, images, pruned, reasons
from torch import Tensor, nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm

import dynsurgeon as ds

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


@pytest.fixture
def process_group(tmp_path: Path) -> Iterator[None]:
    """A process group of one."""
    url = f"file://{tmp_path / 'store'}"
    torch.distributed.init_process_group("gloo", init_method=url, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def _quantized() -> nn.Module:
    quantization: Any = torch.ao.quantization
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval()
    net.qconfig = quantization.default_qconfig
    quantization.prepare(net, inplace=True)
    net(images())
    quantization.convert(net, inplace=True)
    return net


def _dynamically_quantized() -> nn.Module:
    quantization: Any = torch.ao.quantization
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2))
    quantized: nn.Module = quantization.quantize_dynamic(net, {nn.Linear})
    return quantized


def _lazy() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.LazyConv2d(4, 3))


def _meta() -> nn.Module:
    with torch.device("meta"):
        return TinyResNet()


def _compiled_in_place() -> nn.Module:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.ReLU()))
    net[1].compile(backend="eager")
    return net


def _jit() -> Any:
    return torch.jit  # not annotated


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "DataParallel": (
        lambda: nn.DataParallel(TinyResNet()),
        "the model is wrapped in DataParallel: pass `model.module`, and wrap the converted model "
        "again",
    ),
    "DataParallel inside": (
        lambda: nn.Sequential(nn.DataParallel(TinyResNet())),
        "'0' is wrapped in DataParallel: pass `model.module`, and wrap the converted model again",
    ),
    "compiled": (
        lambda: torch.compile(TinyResNet(), backend="eager"),
        "the model is wrapped in OptimizedModule: pass `model._orig_mod`, and compile the "
        "converted model",
    ),
    "compiled in place": (
        _compiled_in_place,
        "'1' was compiled in place: convert, then compile",
    ),
    "script": (
        lambda: torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())),
        "a ScriptModule can't be converted: convert the Python model, then export that",
    ),
    "trace": (
        lambda: _jit().trace(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), images()),
        "a ScriptModule can't be converted: convert the Python model, then export that",
    ),
    "quantized": (
        _quantized,
        "'0' is a quantized Conv2d: convert the float model, then quantize",
    ),
    "dynamically quantized": (
        _dynamically_quantized,
        "'2' is a quantized Linear: convert the float model, then quantize",
    ),
    "lazy": (
        _lazy,
        "'1.weight' is lazy: run the model once on a real input, then convert it",
    ),
    "meta": (_meta, "'conv1.weight' is on the meta device: load real weights first"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused_by_name_with_the_mend(what: str) -> None:
    build, message = REFUSED[what]
    model = build()
    x = images(size=16)
    for run in (ds.plan, ds.convert, lambda *a: ds.convert(*a, copy=False)):
        with pytest.raises(ds.UnsupportedModelError) as error:
            run(model, x)
        assert str(error.value) == message
        assert error.value.exit_code == 5


def test_distributed(process_group: None) -> None:
    model = nn.parallel.DistributedDataParallel(TinyResNet())
    with pytest.raises(ds.UnsupportedModelError) as error:
        ds.convert(model, images(size=16))
    assert str(error.value) == (
        "the model is wrapped in DistributedDataParallel: pass `model.module`, and wrap the "
        "converted model again"
    )
    dynamic = ds.convert(model.module, images(size=16))
    wrapped = nn.parallel.DistributedDataParallel(dynamic)
    torch.testing.assert_close(wrapped.eval()(images(size=16)), model.eval()(images(size=16)))
    with pytest.raises(ds.UnsupportedModelError, match=r"\(or is wrapped\)"):
        ds.check_parity(model.module, wrapped, images(size=16))


def test_the_mends_work() -> None:
    x = images(size=16)
    net = TinyResNet().eval()
    wrapped = nn.DataParallel(net)
    assert ds.check_parity(net, ds.convert(wrapped.module, x), x).passed
    compiled: Any = torch.compile(net, backend="eager")
    assert ds.check_parity(net, ds.convert(compiled._orig_mod, x), x).passed
    lazy = _lazy()
    lazy(x)
    converted(lazy, x)


def test_a_script_inside_a_model_is_left_alone() -> None:
    scripted = torch.jit.script(nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU()))
    net = nn.Sequential(nn.Conv2d(3, 4, 3), scripted, nn.ReLU())
    assert list(dynamic_layers(converted(net, images()))) == ["0", "2"]


def test_quantizable_models_in_float_are_converted() -> None:
    def flow(self: Any, x: Tensor) -> Tensor:
        y: Tensor = self.floats.add_relu(self.conv(x), self.conv2(self.conv(x)))
        return y

    net = Flow(flow)
    net.floats = torch.ao.nn.quantized.FloatFunctional()
    dynamic = converted(net, net.example())
    assert list(dynamic_layers(dynamic)) == ["conv", "conv2", "relu"]


def _weight_hook(rewrite: Callable[[nn.Module], Any]) -> nn.Module:
    second = nn.Conv2d(4, 4, 3)
    rewrite(second)
    return nn.Sequential(nn.Conv2d(3, 4, 3), second, nn.ReLU())


PARAMETRIZED = (
    "has parametrized weights: remove_parametrizations (torch.nn.utils.parametrize) first"
)
HOOKED = "a torch.nn.utils hook recomputes its weight (weight_norm, prune): remove it first"


@pytest.mark.parametrize(
    ("rewrite", "reason"),
    [
        (parametrizations.weight_norm, PARAMETRIZED),
        (parametrizations.spectral_norm, PARAMETRIZED),
        (parametrizations.orthogonal, PARAMETRIZED),
        (weight_norm, HOOKED),
        (spectral_norm, HOOKED),
        (pruned, HOOKED),
    ],
)
def test_computed_weights_are_left_alone(rewrite: Callable[[nn.Module], Any], reason: str) -> None:
    net = _weight_hook(rewrite).eval()
    assert reasons(net, images()) == {"0": None, "1": reason, "2": None}
    dynamic: Any = ds.convert(net, images(), EVERY)
    assert list(dynamic_layers(dynamic)) == ["0", "2"]
    assert list(dynamic[1].state_dict()) == list(net[1].state_dict())  # type: ignore[index]
    torch.testing.assert_close(dynamic(images()), net(images()))
    dynamic.train()(images()).sum().backward()
    assert all(p.grad is not None for p in dynamic[1].parameters())


def test_once_removed_they_are_converted() -> None:
    net: Any = _weight_hook(weight_norm)
    nn.utils.remove_weight_norm(net[1])
    assert list(dynamic_layers(converted(net, images()))) == ["0", "1", "2"]
    net = _weight_hook(parametrizations.weight_norm)
    nn.utils.parametrize.remove_parametrizations(net[1], "weight")
    assert list(dynamic_layers(converted(net, images()))) == ["0", "1", "2"]


def test_frozen_parameters_stay_frozen(tiny_resnet: TinyNet) -> None:
    tiny_resnet.requires_grad_(False)
    dynamic = ds.convert(tiny_resnet, tiny_resnet.example())
    flags = {name: p.requires_grad for name, p in dynamic.named_parameters()}
    layers = dynamic_layers(dynamic)
    convs = [name for name, m in layers.items() if type(m).__name__ == "DynamicConv2d"]
    assert not any(flag for name, flag in flags.items() if name.startswith(tuple(convs)))
    assert not flags["fc.weight"]
    assert flags["relu.fc1.weight"]  # a ReLU had nothing to freeze


def test_tied_weights_stay_tied() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1))
    net[3].weight = net[1].weight
    dynamic: Any = converted(net, images())
    assert dynamic[3].weight is dynamic[1].weight
    assert reasons(net, images())["1"] == "shares its weight with another module"


def test_complex_layers_are_left_alone() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, dtype=torch.complex64))
    with pytest.raises(ds.NoSiteError) as error:
        ds.convert(net, images().to(torch.complex64), EVERY)
    assert str(error.value) == (
        "none of the model's 1 sites can be made dynamic: 1 x computes in complex64, not in real "
        "numbers"
    )


def test_a_graph_module_keeps_its_graph() -> None:
    net = torch.fx.symbolic_trace(Flow(lambda self, x: F.relu(self.conv2(self.conv(x)))))
    found = reasons(net, images())
    assert found["relu"] == "its owner is a GraphModule: convert the model before it is traced"
    assert list(dynamic_layers(converted(net, images()))) == ["conv", "conv2"]


def test_what_can_not_be_copied_is_refused_with_the_mend() -> None:
    import threading

    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    net.lock = threading.Lock()  # type: ignore[assignment]
    with pytest.raises(ds.UnsupportedModelError) as error:
        ds.convert(net, images(), EVERY)
    assert str(error.value) == (
        "the model can't be copied (cannot pickle '_thread.lock' object): plan it and convert it "
        "in place with copy=False (a latency budget needs copies)"
    )
    expected = net(images())
    torch.testing.assert_close(ds.convert(net, images(), EVERY, copy=False)(images()), expected)
