"""Whatever is done with a user's model, it stays as it was: each tensor, object and attribute."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
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
from owned_nets import SkipStack, Twice, TwiceFunctional, Writer
from ownership import untouched
from random_networks import WRITERS, program_of
from surgery_nets import (
    EVERY,
    Arguments,
    Grandparent,
    InplaceModule,
    Kernels,
    Nested,
    SharedPReLU,
    Structures,
    images,
    pruned,
    shared_slots,
)
from torch import Tensor, nn

import dynsurgeon as ds
from dynsurgeon.bench.engines import Twins
from dynsurgeon.bench.rows import bench
from dynsurgeon.export import verify_onnx
from dynsurgeon.export.perturb import perturbed_state
from dynsurgeon.export.running import run
from dynsurgeon.running.inputs import Inputs, as_inputs

Build = Callable[[], Any]


class Pruned(TinyNet):
    """A network with a weight that torch computes before each call."""

    input_shape = (3, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.conv = pruned(nn.Conv2d(4, 4, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.conv(torch.relu(self.stem(x))))


NETS: tuple[Build, ...] = (
    *(TinyResNet, TinyFunctional, TinyMobile, TinySharedConv, TinyDual),
    *(Arguments, Grandparent, InplaceModule, Kernels, Nested, SharedPReLU, Structures),
    *(shared_slots, SkipStack, Twice, TwiceFunctional, Writer, Pruned),
)


def _built(build: Build) -> tuple[Any, Inputs]:
    net = build()
    return net, as_inputs(net.example() if hasattr(net, "example") else images())


@pytest.mark.parametrize("build", NETS)
def test_the_static_and_the_dynamic_model(build: Build, tmp_path: Path) -> None:
    net, x = _built(build)
    with untouched(net):
        ds.plan(net, x, EVERY)
        dynamic = ds.convert(net, x, EVERY)
        with pytest.raises(ds.ConfigError):
            ds.convert(net, x, ds.SurgeryConfig(include=("nowhere",)))
    with untouched(net, dynamic):
        assert ds.check_parity(net, dynamic, x).passed
        with suppress(ds.UnsupportedModelError):  # not every one has a dynamic convolution
            ds.attention_report(dynamic, [x.args])
        ds.save(dynamic, tmp_path)
        ds.load(tmp_path, net)
        ds.restore(dynamic)
        bench(Twins(net, dynamic, tmp_path), x, engines=["eager"], rounds=1)


@pytest.mark.parametrize("build", [Twice, SkipStack])  # some seconds each
def test_an_export(build: Build, tmp_path: Path) -> None:
    x = images()
    dynamic = perturb_(ds.convert(build().eval(), x, EVERY))
    with untouched(dynamic):
        ds.export_onnx(dynamic, tmp_path / "model.onnx", x, batch=2)
        assert verify_onnx(dynamic, tmp_path / "model.onnx", x).passed


# These two write by themselves: `export_onnx` as a whole puts that back.
@pytest.mark.parametrize("build", [net for net in NETS if net not in (Writer, Pruned)])
def test_other_weights_for_a_run(build: Build) -> None:
    net, x = _built(build)
    dynamic = ds.convert(net, x, EVERY).eval()
    with untouched(dynamic), torch.no_grad():
        state = perturbed_state(dynamic, x, torch.Generator().manual_seed(0))
        run(dynamic, x, state)
        with suppress(ds.ExportError):
            run(dynamic, Inputs(), state)  # fails


@pytest.mark.parametrize("writer", WRITERS)
def test_a_forward_that_writes(writer: str) -> None:
    program = program_of("x = F.relu(self.conv(x))", "x = self.act(x)", writer)
    net, x = program.build(), program.inputs(2, 8, 1)
    with untouched(net):
        dynamic = ds.convert(net, x, EVERY)
        assert len(ds.plan(net, x, EVERY).converted) > 0
    with untouched(net, dynamic):
        assert ds.check_parity(net, dynamic, x).passed


@pytest.mark.parametrize("writer", WRITERS)
def test_a_forward_that_writes_when_it_is_converted_in_place(writer: str) -> None:
    program = program_of("x = F.relu(self.conv(x))", writer)
    net, x = program.build(), program.inputs(2, 8, 1)
    before = {name: (value, value.clone()) for name, value in net.state_dict().items()}
    kept = net.state_dict(keep_vars=True)
    dynamic = ds.convert(net, x, EVERY, copy=False)
    for name, value in dynamic.state_dict(keep_vars=True).items():
        if name in before and before[name][1].shape == value.shape:
            assert value is kept[name]
            assert torch.equal(value, before[name][1]), name
