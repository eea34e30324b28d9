"""Whole detectors: boxes that match, and faults that show in them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from cli_helpers import CommandLine
from cli_helpers import cli as cli
from fake_runtime import fake
from finetune_helpers import write_images
from tiny_detectors import SIDE, build
from torch import Tensor, nn

import dynsurgeon as ds
from dynsurgeon import deploy
from dynsurgeon.errors import (
    ConfigError,
    ExportError,
    ParityError,
    RuntimeRefusalError,
    StorageError,
)
from dynsurgeon.export.detectors.matching import MatchedBoxes, box_notes, match, total
from dynsurgeon.export.detectors.one_image import Detector, check_found, takes_images
from dynsurgeon.export.forms import CONV_FORMS, ConvSite, Emitter
from dynsurgeon.export.tensors import derived_initializer, set_tensor, tensor_of
from dynsurgeon.running.inputs import Inputs
from dynsurgeon.runtimes.table import RUNTIMES

SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("faster_rcnn", "retinanet", "fcos")]


def images() -> list[Tensor]:
    return list(torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)))


@pytest.fixture(scope="module")
def dynamic() -> nn.Module:
    return ds.convert(build("ssd"), (images(),))


@pytest.fixture(scope="module")
def exported(dynamic: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> ds.ExportResult:
    path = tmp_path_factory.mktemp("detector") / "ssd.onnx"
    return ds.export_onnx(dynamic, path, (images(),))


def test_the_whole_detector_is_a_file_of_standard_operators(exported: ds.ExportResult) -> None:
    assert exported.passed
    assert exported.inputs == {"input": (1, 3, SIDE, SIDE)}
    assert list(exported.outputs) == ["boxes", "labels", "scores"]
    stored = ir.load(exported.path)
    nodes = [node for graph in stored.graphs() for node in graph]
    assert {node.domain for node in nodes} == {""}
    assert {"NonMaxSuppression", "Conv"} <= {node.op_type for node in nodes}
    assert not {"If", "Scan"} & {node.op_type for node in nodes}
    assert "score_threshold" in stored.graph.initializers
    assert any(name.startswith("backbone.fine.0") for name in stored.graph.initializers)


def test_boxes_of_other_weights_are_compared(exported: ds.ExportResult) -> None:
    far = [c.boxes for c in exported.checks if c.name.startswith("perturbed")]
    assert len(far) == 2
    found = total([boxes for boxes in far if boxes is not None])
    assert found.matched >= 20
    assert found.unmatched == 0
    assert found.pixels < 1e-3
    assert found.score < 1e-5


@pytest.mark.parametrize("name", SLOW)
def test_every_kind_of_detector(name: str, tmp_path: Path) -> None:
    model = ds.convert(build(name), (images(),))
    result = ds.export_onnx(model, tmp_path / "model.onnx", (images(),))
    far = [c.boxes for c in result.checks if c.name.startswith("perturbed") and c.boxes]
    assert total(far).matched >= 10
    assert ds.verify_onnx(model, tmp_path / "model.onnx", (images(),)).passed


def test_a_detector_stays_as_it_was(dynamic: nn.Module, exported: ds.ExportResult) -> None:
    assert isinstance(dynamic.score_thresh, float)
    assert not any(key.startswith("network") for key in dynamic.state_dict())


def test_it_is_verified_again(dynamic: nn.Module, exported: ds.ExportResult) -> None:
    result = ds.verify_onnx(dynamic, exported.path, (images(),))
    assert result.passed
    assert any(check.boxes is not None and check.boxes.compared for check in result.checks)


def test_a_changed_file_is_found(
    dynamic: nn.Module, exported: ds.ExportResult, tmp_path: Path
) -> None:
    stored = ir.load(exported.path)
    name = next(name for name in stored.graph.initializers if name.startswith("backbone.coarse.0"))
    bank = stored.graph.initializers[name]
    set_tensor(bank, tensor_of(bank) * 1.2)
    ir.save(stored, tmp_path / "changed.onnx")
    assert not ds.verify_onnx(dynamic, tmp_path / "changed.onnx", (images(),)).passed


def test_a_file_of_another_size_is_told(dynamic: nn.Module, exported: ds.ExportResult) -> None:
    with pytest.raises(StorageError, match="of another model"):
        ds.verify_onnx(dynamic, exported.path, ([torch.rand(3, SIDE, 2 * SIDE)],))


def test_kernels_in_another_order_are_found(
    dynamic: nn.Module, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # At the start all kernels of a bank are equal: only other weights can show it.
    true = CONV_FORMS["plain"]

    def emit(site: ConvSite, emitter: Emitter) -> ir.Value:
        graph = site.weight.graph
        assert graph is not None
        flipped = derived_initializer(graph, site.weight, "flip", lambda bank: bank.flip(0))
        return true.emit(replace(site, weight=flipped), emitter)

    monkeypatch.setitem(CONV_FORMS, "plain", replace(true, emit=emit))
    with pytest.raises(ParityError, match="at perturbed, low threshold, image 1 it finds other"):
        ds.export_onnx(dynamic, tmp_path / "wrong.onnx", (images(),))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"batch": 2}, "takes one image"),
        ({"dynamic_size": True}, "one size"),
        ({"form": "scan"}, "leave form out"),
        ({"form": "auto"}, "leave form out"),
        ({"bank": "int8"}, "full precision"),
    ],
)
def test_what_a_detectors_file_cannot_have(
    wish: dict[str, Any], message: str, dynamic: nn.Module, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        ds.export_onnx(dynamic, tmp_path / "no.onnx", (images(),), **wish)
    assert not list(tmp_path.iterdir())


def test_its_boxes_are_compared_in_other_runtimes(
    dynamic: nn.Module,
    exported: ds.ExportResult,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setitem(RUNTIMES, "fake", fake())
    (proof,) = ds.verify_onnx(dynamic, exported.path, (images(),), runtimes=["fake"]).runtimes
    assert proof.passed
    assert total([check.boxes for check in proof.checks if check.boxes]).matched >= 20
    monkeypatch.setitem(RUNTIMES, "fake", fake("wrong"))
    with pytest.raises(ParityError, match=r"in fake 1\.2 it finds other boxes than the network \("):
        ds.export_onnx(dynamic, tmp_path / "no.onnx", (images(),), runtimes=["fake"])
    monkeypatch.setitem(RUNTIMES, "fake", fake("phantom"))
    with pytest.raises(ParityError, match=r"0 of 1 boxes matched.* at high threshold, image 1"):
        ds.export_onnx(dynamic, tmp_path / "no.onnx", (images(),), runtimes=["fake"])
    (proof,) = ds.verify_onnx(dynamic, exported.path, (images(),), runtimes=["fake"]).runtimes
    assert [c.name for c in proof.checks if not c.passed] == [
        "high threshold, image 1", "high threshold, image 2"
    ]  # fmt: skip
    monkeypatch.setitem(RUNTIMES, "fake", fake("refuse"))
    with pytest.raises(RuntimeRefusalError, match=r"no rule for Scan.*; try target 'openvino'$"):
        ds.verify_onnx(dynamic, exported.path, (images(),), runtimes=["fake"])
    wishes: dict[str, Any] = {"runtimes": ["fake"], "target": "openvino"}
    with pytest.raises(RuntimeRefusalError, match="; what finds boxes is the same for every"):
        ds.export_onnx(dynamic, tmp_path / "no.onnx", (images(),), **wishes)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["openvino", "web"])
@pytest.mark.parametrize("name", ["ssd", "faster_rcnn", "retinanet", "fcos"])
def test_openvino_and_the_browser_find_the_same_boxes(
    name: str, runtime: str, tmp_path: Path
) -> None:
    if RUNTIMES[runtime].version() is None:
        pytest.skip(f"{runtime} is not installed")
    model = ds.convert(build(name), (images(),))
    result = ds.export_onnx(model, tmp_path / "model.onnx", (images(),), runtimes=[runtime])
    (proof,) = result.runtimes
    assert proof.passed
    assert total([check.boxes for check in proof.checks if check.boxes]).matched >= 20


def test_it_runs_without_torch(dynamic: nn.Module, exported: ds.ExportResult) -> None:
    network = deploy.load(exported.path, threads=1)
    image = images()[0][None]
    with torch.no_grad():
        expected = list(Detector(dynamic)(image).values())
    found = network.run(image.numpy())
    assert match(expected, [torch.from_numpy(a) for a in found.values()], SIDE).unmatched == 0
    with pytest.raises(ConfigError, match="call it for each"):
        network(np.zeros((2, 3, SIDE, SIDE), np.float32))


@pytest.mark.slow
def test_the_command_line_tells_of_boxes(cli: CommandLine, tmp_path: Path) -> None:
    name = f"{Path(__file__).parent / 'tiny_detectors.py'}:build"
    directory = str(tmp_path / "ssd")
    words = [name, "--model-arg", "name=ssd", "--input-size", "3", str(SIDE), str(SIDE)]
    done = cli("convert", *words, "-o", directory)
    assert "with other weights, at a lower threshold, 2 images: " in done.out
    again = cli("verify", directory, "--model", name)
    assert "boxes matched, largest difference" in again.out
    photos, file = tmp_path / "photos", str(tmp_path / "again.onnx")
    write_images(photos, ["ant", "bee"], 2, SIDE)
    found = cli("export", directory, "--model", name, "-o", file, "--data", str(photos))
    assert "on 4 images: " in found.out


def found(*rows: tuple[float, int, float]) -> list[Tensor]:
    """Boxes of 10 pixels from rows of place, label and score."""
    places = torch.tensor([[place, place, place + 10, place + 10] for place, *_ in rows])
    labels = torch.tensor([label for _, label, _ in rows], dtype=torch.int64)
    return [places.view(-1, 4), labels, torch.tensor([score for *_, score in rows])]


def test_boxes_in_another_order_match() -> None:
    one = found((0.0, 1, 0.9), (30.0, 2, 0.8), (60.0, 1, 0.7))
    other = found((60.05, 1, 0.7), (0.0, 1, 0.9), (30.0, 2, 0.8003))
    boxes = match(one, other, 100)
    assert (boxes.matched, boxes.unmatched) == (3, 0)
    assert boxes.pixels == pytest.approx(0.05, abs=1e-5)
    assert boxes.score == pytest.approx(3e-4, abs=1e-6)
    assert boxes.passed


@pytest.mark.parametrize(
    "row", [(0.0, 2, 0.9), (0.5, 1, 0.9), (0.0, 1, 0.8)], ids=["label", "place", "score"]
)
def test_another_box_does_not_match(row: tuple[float, int, float]) -> None:
    boxes = match(found((0.0, 1, 0.9)), found(row), 100)
    assert (boxes.matched, boxes.unmatched, boxes.passed) == (0, 1, False)


def test_each_box_has_one_partner() -> None:
    boxes = match(found((0.0, 1, 0.9)), found((0.0, 1, 0.9), (0.01, 1, 0.9)), 100)
    assert (boxes.expected, boxes.found, boxes.matched) == (1, 2, 1)
    assert not boxes.passed


def test_a_few_strays_are_allowed_and_told() -> None:
    rows = [(5.0 * i, 1, 0.9) for i in range(40)]
    boxes = match(found(*rows), found(*rows[:-2]), 100)
    assert (boxes.unmatched, boxes.allowed, boxes.passed) == (2, 2, True)
    assert not match(found(*rows), found(*rows[:-3]), 100).passed
    assert "2 boxes are without a partner" in box_notes([boxes])[0]


def test_no_boxes_prove_nothing() -> None:
    boxes = match(found(), found(), 100)
    assert boxes.passed
    assert not boxes.compared
    assert "no boxes were compared" in box_notes([boxes, MatchedBoxes(9, 9, 9, 0.0, 0.0, 0)])[0]


def test_what_takes_images_is_told_from_other_networks() -> None:
    image = torch.rand(3, 8, 8)
    assert takes_images(Inputs([image, image]))
    assert not takes_images(Inputs(image[None]))
    assert not takes_images(Inputs([image], [{"boxes": image}]))
    assert not takes_images(Inputs([image[None]]))
    with pytest.raises(ExportError, match="masks beside its boxes"):
        check_found({"boxes": 1, "labels": 1, "scores": 1, "masks": 1})
    with pytest.raises(ExportError, match="returns no boxes"):
        check_found(image)
