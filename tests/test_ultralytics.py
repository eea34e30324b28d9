"""Detectors of ultralytics, which folds BatchNorm before every prediction, with dynamic layers."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from nets import perturb_
from torch import Tensor, nn

import dynsurgeon as ds

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def detector(name: str) -> Any:
    """Build a detector from its description, which needs no download."""
    ultralytics: Any = pytest.importorskip("ultralytics")
    return ultralytics.YOLO(f"{name}.yaml")


def outputs(model: nn.Module, x: Tensor) -> Tensor:
    # Ultralytics' heads keep tensors of the last size; a copy leaves the model as it is.
    with torch.no_grad():
        y: Tensor = copy.deepcopy(model)(x)[0]
    return y


def away_from_the_start(model: nn.Module) -> None:
    for layer in model.modules():
        if isinstance(layer, ds.DynamicConv2d):
            spread = layer.weight.detach().std()
            layer.weight.data += spread * torch.randn_like(layer.weight)
            for parameter in layer.attention.parameters():
                parameter.data += torch.randn_like(parameter)
    ds.set_temperature(model, 1.0)


@pytest.mark.parametrize(
    ("name", "folded"), [("yolov8n", True), ("yolo11n", True), ("yolov10n", False)]
)
def test_fuse_predict_and_export(name: str, folded: bool, tmp_path: Path) -> None:
    import numpy as np

    yolo = detector(name)
    static = perturb_(yolo.model).eval()
    x = torch.rand(2, 3, 96, 96)
    dynamic: Any = ds.convert(static, x[:1])
    away_from_the_start(dynamic)
    before = outputs(dynamic, x)
    assert (before - outputs(static, x)).abs().max() > 1e-3 * before.abs().max()

    # The other one merges two branches, so it stays as it is, and says so.
    with warnings.catch_warnings(record=True) as said:
        fused = copy.deepcopy(dynamic).fuse(verbose=False)
    assert bool(said) != folded
    assert fused.is_fused() == folded
    assert any(isinstance(m, nn.BatchNorm2d) for m in fused.modules()) != folded
    after = outputs(fused, x)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5 * float(before.abs().max()))

    yolo.model = copy.deepcopy(dynamic)
    image = np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8)
    (found,) = yolo.predict(image, imgsz=96, conf=1e-6, verbose=False)
    assert len(found.boxes) > 0
    again = outputs(yolo.model, x)
    torch.testing.assert_close(again, before, rtol=1e-4, atol=1e-5 * float(before.abs().max()))

    assert ds.export_onnx(fused, tmp_path / "fused.onnx", x[:1], batch=1).passed
