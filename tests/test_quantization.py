"""Static quantisation: constant kernels in 8 bits, attentions in single, and the cost is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from export_nets import DynamicNet, perturbed
from onnx import TensorProto, helper
from shared_traces import share_equal_traces_in_module
from torch import Tensor, nn

import dynsurgeon as ds
from dynsurgeon import deploy
from dynsurgeon.deploy.facts import LABELS_KEY
from dynsurgeon.quantization.choice import quantizable
from dynsurgeon.quantization.compare import compare_files

equal_traces = pytest.fixture(autouse=True, scope="module")(share_equal_traces_in_module)

BATCHES = list(torch.randn(2, 8, 3, 12, 12, generator=torch.Generator().manual_seed(0)))


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)  # whichever tests ran before: no fixture of a test has seeded yet
    return perturbed(DynamicNet())


@pytest.fixture(scope="module")
def quantized(net: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> ds.QuantizeResult:
    path = tmp_path_factory.mktemp("quantized") / "m.onnx"
    labels = torch.zeros(8, dtype=torch.int64)
    test = [(batch, labels) for batch in BATCHES]
    return ds.quantize_onnx(
        net, path, BATCHES[0][:2], BATCHES, test, metadata={LABELS_KEY: '["a", "b"]'}
    )


def test_convolutions_and_the_head_compute_in_8_bits(quantized: ds.QuantizeResult) -> None:
    assert quantized.layers == 4  # stem, two dynamic convolutions, fc
    assert quantized.float_layers >= 4  # two layers of two attentions and of the DY-ReLU
    graph = onnx.load(quantized.path).graph
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    whole = [name for name, kind in kinds.items() if kind == TensorProto.INT8]
    assert len([name for name in whole if name.endswith("_quantized")]) == 4
    assert not [name for name in whole if "attention" in name or "relu" in name]
    scales = [t for t in graph.initializer if t.name == "conv2.weight_scale"]
    assert [list(scale.dims) for scale in scales] == [[8]]  # one a filter


def test_what_it_costs_is_measured(quantized: ds.QuantizeResult, net: nn.Module) -> None:
    found = quantized.comparison
    assert found.images == 16
    assert 1e-5 < found.max_rel < 0.2
    assert found.agreement > 0.6
    assert found.speed_ratio > 0
    with torch.no_grad():
        scores = deploy.load(quantized.path, threads=1)(BATCHES[0].numpy())
        expected = net(BATCHES[0])
    assert float((torch.from_numpy(scores) - expected).abs().max()) < 0.2 * expected.abs().max()
    share = float((expected.argmax(1) == 0).double().mean())
    assert found.accuracy_before is not None
    assert abs(found.accuracy_before - share) <= 0.5  # of these and 8 more


def test_the_file_keeps_what_it_says_of_itself(quantized: ds.QuantizeResult) -> None:
    network = deploy.load(quantized.path)
    assert network.labels == ("a", "b")
    assert network.batch is None
    metadata = {p.key: p.value for p in onnx.load(quantized.path).metadata_props}
    assert metadata["dynsurgeon.quantized"] == "int8"


def test_products_of_large_numbers_do_not_overflow(tmp_path: Path) -> None:
    # CPUs with AVX2 alone add two products of 8 bits in 16, and stop at the largest number.
    torch.manual_seed(0)
    depthwise = nn.Conv2d(8, 8, 3, groups=8, bias=False)
    nn.init.ones_(depthwise.weight)
    net = nn.Sequential(nn.ReLU(), depthwise, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    images = 1 - 0.1 * torch.rand(4, 8, 10, 10)
    config = ds.SurgeryConfig(activation=None, skip_stem=False)
    dynamic, test = ds.convert(net, images[:2], config), [(images, None)]
    found = ds.quantize_onnx(dynamic, tmp_path / "q.onnx", images[:2], [images], test)
    assert found.layers == 1
    assert found.comparison.max_rel < 0.02


@pytest.mark.parametrize(("images", "test"), [([], [(BATCHES[0], None)]), (BATCHES, [])])
def test_without_images_nothing_is_written(
    images: list[Tensor], test: list[tuple[Tensor, None]], net: nn.Module, tmp_path: Path
) -> None:
    with pytest.raises(ds.DataError, match="there is no image"):
        ds.quantize_onnx(net, tmp_path / "m.onnx", BATCHES[0][:2], images, test)
    assert list(tmp_path.iterdir()) == []


def test_a_network_of_two_inputs_is_refused(tmp_path: Path) -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return x + y

    pair = (torch.randn(2, 3), torch.randn(2, 3))
    with pytest.raises(ds.ConfigError, match="of one input are quantised, got 2"):
        ds.quantize_onnx(Two(), tmp_path / "m.onnx", pair, [], [])


def test_a_network_of_no_kernels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ds.ExportError, match="nothing in this network can be quantised"):
        ds.quantize_onnx(nn.Sigmoid(), tmp_path / "m.onnx", torch.randn(2, 3), [], [])


def graph_of(*nodes: tuple[str, str, list[str]]) -> onnx.GraphProto:
    weight = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    made = [helper.make_node(op, inputs, [name], name=name) for name, op, inputs in nodes]
    return helper.make_graph(made, "g", [], [], [weight])


def test_nodes_by_where_they_are_and_what_they_need() -> None:
    graph = graph_of(
        ("conv/Conv", "Conv", ["x", "w"]),
        ("layer.attention.fc1/Gemm", "Gemm", ["x", "w"]),
        ("layer/MatMul", "MatMul", ["x", "w"]),
        ("layer/Conv", "Conv", ["x", "w"]),
        ("layer/Add", "Add", ["x", "y"]),
        ("layers/Add", "Add", ["x", "y"]),
        ("mixed/Conv", "Conv", ["x", "y"]),
        ("softmax/Softmax", "Softmax", ["x"]),
    )
    assert quantizable(graph, ["layer"]) == ["conv/Conv", "layer/Conv", "layers/Add"]


def test_files_are_compared_without_labels(
    quantized: ds.QuantizeResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    ratio: Callable[..., float] = lambda *_: 1.5  # noqa: E731
    monkeypatch.setattr("dynsurgeon.quantization.compare._ratio", ratio)
    found = compare_files(quantized.path, quantized.path, [(BATCHES[0], None)], threads=1)
    assert found.agreement == 1
    assert found.max_rel == 0
    assert found.accuracy_before is found.accuracy_after is None
    assert found.bytes_before == found.bytes_after == quantized.path.stat().st_size
    assert found.speed_ratio == 1.5
