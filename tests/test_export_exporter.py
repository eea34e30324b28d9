"""The export from end to end, and what it refuses."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import onnx
import pytest
import torch
from export_nets import DynamicNet, assert_close, perturbed, run_onnx
from shared_traces import share_equal_traces
from torch import Tensor, nn
from torch.utils._pytree import register_pytree_node

import dynsurgeon.export.forms as table
from dynsurgeon.errors import ConfigError, ExportError, ParityError, StorageError
from dynsurgeon.export import export_onnx
from dynsurgeon.export.forms import CONV_FORMS, ConvForm, ConvSite, Emitter
from dynsurgeon.operators import DynamicConv2d, DynamicReLUA, DynamicReLUB, DynamicReLUC

equal_traces = pytest.fixture(autouse=True)(share_equal_traces)


def image(batch: int = 2, size: int = 12) -> Tensor:
    return torch.randn(batch, 3, size, size)


class Pair(NamedTuple):
    logits: Tensor
    auxiliary: Tensor | None


@dataclass
class HubOutput(OrderedDict[str, Any]):
    """A class that torch knows without its keys, as those of model hubs."""

    sample: Tensor

    def __post_init__(self) -> None:
        self["sample"] = self.sample


register_pytree_node(HubOutput, lambda o: (list(o.values()), None), lambda v, _: HubOutput(*v))


class OneConv(nn.Module):
    """A dynamic convolution and a function around it."""

    def __init__(self, around: Callable[..., Any]) -> None:
        super().__init__()
        self.conv = DynamicConv2d(3, 4, 3, padding=1)
        self.around = around

    def forward(self, *inputs: Any) -> Any:
        return self.around(self.conv, *inputs)


class OneDict(nn.Module):
    """Takes and returns dicts, as detection and segmentation networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = DynamicConv2d(3, 4, 3, padding=1)

    def forward(self, x: Mapping[str, Tensor]) -> dict[str, Any]:
        y = self.conv(x["image"] * x["gain"][:, None, None, None])
        return {"out": y, "aux": [x["gain"], y]}


def test_an_output_class_without_keys_is_named_by_its_items(tmp_path: Path) -> None:
    net = OneConv(lambda conv, x: HubOutput(conv(x))).eval()
    result = export_onnx(net, tmp_path / "m.onnx", image(), batch=2)
    assert list(result.outputs) == ["sample"]


def test_a_batch_is_free_by_default_and_every_check_is_in_the_result(tmp_path: Path) -> None:
    net = perturbed(DynamicNet())
    result = export_onnx(net, tmp_path / "m.onnx", image())
    assert result.passed
    assert (result.form, result.batch, result.opset) == ("scan", None, 20)
    assert result.inputs == {"input": ("batch", 3, 12, 12)}
    assert result.outputs == {"output": ("batch", 5)}
    names = ["batch 1", "batch 2", "batch 3", "batch 5", "batch 3, permuted"]
    assert [c.name for c in result.checks] == [*names, *(f"perturbed, {name}" for name in names)]
    assert 0 < result.max_abs < 1e-5
    x = image(7)
    assert_close(run_onnx(tmp_path / "m.onnx", x), [net(x).detach()])
    stored = onnx.load(tmp_path / "m.onnx")
    onnx.checker.check_model(stored, full_check=True)
    for value in [*stored.graph.input, *stored.graph.output]:
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"


def test_the_model_stays_as_it_was(tmp_path: Path) -> None:
    net = DynamicNet().train()
    net.known = ["no other network"]  # type: ignore[assignment] # so it is traced here
    net.conv1.eval()
    flags = [module.training for module in net.modules()]
    before = {key: value.clone() for key, value in net.state_dict().items()}
    export_onnx(net, tmp_path / "m.onnx", image())
    assert [module.training for module in net.modules()] == flags
    after = net.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


@pytest.mark.parametrize("batch", [1, 3])
def test_a_fixed_batch(batch: int, tmp_path: Path) -> None:
    net = perturbed(DynamicNet())
    result = export_onnx(net, tmp_path / "m.onnx", image(), batch=batch)
    assert result.batch == batch
    assert result.form == ("plain" if batch == 1 else "grouped")
    assert result.inputs == {"input": (batch, 3, 12, 12)}
    x = image(batch)
    assert_close(run_onnx(tmp_path / "m.onnx", x), [net(x).detach()])


@pytest.mark.parametrize(("form", "batch"), [("scan", None), ("portable", None), ("grouped", 2)])
def test_height_and_width_are_free_on_request(form: str, batch: int | None, tmp_path: Path) -> None:
    net = perturbed(DynamicNet())
    path = tmp_path / "m.onnx"
    result = export_onnx(net, path, image(), form=form, batch=batch, dynamic_size=True)
    assert result.inputs["input"][2:] == ("height", "width")
    assert any("larger" in check.name for check in result.checks)
    x = torch.randn(2, 3, 15, 10)
    assert_close(run_onnx(path, x), [net(x).detach()])


@pytest.mark.parametrize("kind", [DynamicReLUA, DynamicReLUB, DynamicReLUC])
@pytest.mark.parametrize("form", ["scan", "portable"])
def test_dynamic_relus(kind: Any, form: str, tmp_path: Path) -> None:
    net = perturbed(nn.Sequential(DynamicConv2d(3, 6, 3), kind(6), nn.Conv2d(6, 2, 3)))
    assert export_onnx(net, tmp_path / "m.onnx", image(), form=form).passed
    x = image(4)
    assert_close(run_onnx(tmp_path / "m.onnx", x), [net(x).detach()])


@pytest.mark.parametrize("opset", [18, 21])
def test_the_opset_is_the_one_asked_for(opset: int, tmp_path: Path) -> None:
    result = export_onnx(DynamicNet(), tmp_path / "m.onnx", image(), opset=opset)
    assert result.opset == opset
    assert [o.version for o in onnx.load(tmp_path / "m.onnx").opset_import] == [opset]


def test_nested_inputs_and_outputs_are_named_after_their_keys(tmp_path: Path) -> None:
    example = ({"image": image(), "gain": torch.rand(2)},)
    result = export_onnx(OneDict(), tmp_path / "m.onnx", example)
    assert list(result.inputs) == ["image", "gain"]
    assert list(result.outputs) == ["out", "aux", "aux_1"]


def test_several_inputs_a_number_and_a_tuple_with_none(tmp_path: Path) -> None:
    def around(conv: nn.Module, x: Tensor, classes: Tensor, gain: int) -> Pair:
        return Pair(conv(x) * gain + classes.float().view(-1, 1, 1, 1), None)

    example = (image(), torch.tensor([1, 2]), 3)
    result = export_onnx(OneConv(around), tmp_path / "m.onnx", example)
    assert list(result.inputs) == ["input", "input_1"]
    assert list(result.outputs) == ["output"]


@pytest.mark.parametrize("form", ["scan", "portable"])
def test_outputs_may_be_inputs_or_occur_twice(form: str, tmp_path: Path) -> None:
    def around(conv: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
        y = conv(x)
        return y, y, x

    net = OneConv(around).eval()
    result = export_onnx(net, tmp_path / "m.onnx", image(), form=form)
    assert list(result.outputs) == ["output", "output_1", "output_2"]
    x = image(3)
    assert_close(run_onnx(tmp_path / "m.onnx", x), [y.detach() for y in net(x)])


def test_frames_folded_into_the_batch_inside(tmp_path: Path) -> None:
    def around(conv: nn.Module, clip: Tensor) -> Tensor:
        batch, frames = clip.shape[:2]
        y: Tensor = conv(clip.flatten(0, 1)).unflatten(0, (batch, frames))
        return y.mean(1)

    net = perturbed(OneConv(around))
    assert export_onnx(net, tmp_path / "m.onnx", torch.randn(2, 4, 3, 6, 6)).passed
    x = torch.randn(3, 4, 3, 6, 6)
    assert_close(run_onnx(tmp_path / "m.onnx", x), [net(x).detach()])


@pytest.mark.parametrize("form", ["scan", "portable"])
def test_one_convolution_called_at_two_sizes(form: str, tmp_path: Path) -> None:
    net = perturbed(OneConv(lambda conv, x: (conv(x), conv(x[:, :, ::2, ::2]))))
    assert export_onnx(net, tmp_path / "m.onnx", image(), form=form).passed
    stored = onnx.load(tmp_path / "m.onnx")
    assert [i.name for i in stored.graph.initializer].count("conv.weight") == 1
    x = image(3)
    assert_close(run_onnx(tmp_path / "m.onnx", x), [y.detach() for y in net(x)])


def test_names_of_inputs_and_outputs_can_be_given(tmp_path: Path) -> None:
    names: dict[str, Any] = {"input_names": ["photo"], "output_names": ["scores"]}
    result = export_onnx(DynamicNet(), tmp_path / "m.onnx", image(), **names)
    assert (list(result.inputs), list(result.outputs)) == (["photo"], ["scores"])


def test_a_static_network_exports_too(tmp_path: Path) -> None:
    result = export_onnx(nn.Conv2d(3, 4, 3), tmp_path / "m.onnx", image())
    assert result.passed
    assert not any("perturbed" in check.name for check in result.checks)


def test_half_precision_has_a_tolerance_of_its_own(tmp_path: Path) -> None:
    result = export_onnx(DynamicNet().half(), tmp_path / "m.onnx", image().half())
    assert result.passed
    assert result.max_rel > 1e-5


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtypes_that_onnxruntime_cannot_run_are_refused(dtype: torch.dtype, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"onnxruntime.*model\.float\(\)"):
        export_onnx(DynamicNet().to(dtype), tmp_path / "m.onnx", image().to(dtype))
    assert not list(tmp_path.iterdir())


def mixed_up_kernels(site: ConvSite, emitter: Emitter) -> Any:
    """Form *plain* with the kernels in another order: exact while all kernels are equal."""
    rolled = emitter.op("Concat", [_column(site, emitter, k) for k in (1, 2, 3, 0)], {"axis": 1})
    return table.plain.emit(ConvSite(**{**vars(site), "pi": rolled}), emitter)


def _column(site: ConvSite, emitter: Emitter, k: int) -> Any:
    ends = [emitter.shape(k), emitter.shape(k + 1), emitter.shape(1)]
    return emitter.op("Slice", [site.pi, *ends])


def mixed_up_samples(site: ConvSite, emitter: Emitter) -> Any:
    """Form *grouped* in which each sample gets the kernel of the one before it."""
    rows = emitter.op("Gather", [site.pi, emitter.shape(2, 0, 1)], {"axis": 0})
    rows.shape = site.pi.shape
    return table.grouped.emit(ConvSite(**{**vars(site), "pi": rows}), emitter)


@pytest.mark.parametrize(
    ("form", "broken", "batch"),
    [("plain", mixed_up_kernels, None), ("grouped", mixed_up_samples, 3)],
)
def test_a_lowering_that_mixes_up_is_caught_and_leaves_no_file(
    form: str, broken: Any, batch: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty = ConvForm(form, CONV_FORMS[form].obstacle, broken)
    path = tmp_path / "m.onnx"
    path.write_bytes(b"an older file")
    monkeypatch.setitem(CONV_FORMS, form, faulty)
    net = DynamicConv2d.from_static(nn.Conv2d(3, 4, 3))  # at its start all kernels are equal
    with pytest.raises(ParityError, match="exported graph is at fault") as caught:
        export_onnx(net, path, image(), batch=batch)
    result: Any = caught.value.result
    assert not result.passed
    failed = [check.name for check in result.checks if not check.passed]
    assert failed
    assert all(name.startswith("perturbed") for name in failed), failed
    assert path.read_bytes() == b"an older file"
    assert list(tmp_path.iterdir()) == [path]


def test_a_network_that_mixes_samples_needs_a_fixed_batch(tmp_path: Path) -> None:
    net = OneConv(lambda conv, x: conv(x) - conv(x).mean(0, keepdim=True))
    with pytest.raises(ExportError, match=r"depends on the other samples.*batch=N"):
        export_onnx(net, tmp_path / "m.onnx", image())
    assert export_onnx(net, tmp_path / "m.onnx", image(), batch=3).passed
    assert export_onnx(net, tmp_path / "m.onnx", image(), form="portable").passed


def test_an_input_without_batch_axis_names_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="the first axis of every input must be the batch"):
        export_onnx(DynamicNet(), tmp_path / "m.onnx", image()[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"form": "scna"}, "did you mean 'scan'"),
        ({"form": "grouped"}, "needs a fixed batch"),
        ({"batch": 0}, "batch must be"),
        ({"opset": 9}, "opset must lie between"),
        ({"input_names": ["a", "b"]}, "input_names must be 1 names"),
    ],
)
def test_arguments_are_checked(arguments: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        export_onnx(DynamicNet(), tmp_path / "m.onnx", image(), **arguments)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no folder"):
        export_onnx(DynamicNet(), tmp_path / "nowhere" / "m.onnx", image())
