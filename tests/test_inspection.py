"""What each dynamic site says of data, against the layers themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import dynsurgeon as ds

COUNT, CLASSES = 12, 3


def data() -> tuple[Tensor, Tensor]:
    labels = torch.arange(COUNT) % CLASSES
    images = torch.randn(COUNT, 3, 8, 8)
    images[labels == 1] += 2
    return images, labels


def converted(**values: Any) -> nn.Module:
    """Return a dynamic network whose sites depend on their inputs."""
    net = nn.Sequential(
        *(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 5, 3, padding=1), nn.ReLU6()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, CLASSES)),
    ).eval()
    config = ds.SurgeryConfig.from_dict({"skip_stem": False, **values})
    dynamic = ds.convert(net, data()[0], config)
    with torch.no_grad():
        for parameter in dynamic.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return dynamic


def layer_inputs(model: nn.Module, name: str, images: Tensor) -> Tensor:
    seen: list[Tensor] = []
    hook = model.get_submodule(name).register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0].clone())
    )
    with torch.no_grad():
        model(images)
    hook.remove()
    return seen[0]


def test_kernels_are_grouped_by_class_and_agree_with_the_attention() -> None:
    model, (images, labels) = converted(), data()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    found = ds.inspect(model, [(images[:5], labels[:5]), (images[5:], labels[5:])])
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    kernels = found["2"].kernels
    assert kernels is not None
    layer: Any = model.get_submodule("2")
    with torch.no_grad():
        weights = layer.attention(layer_inputs(model, "2", images)).double()
    torch.testing.assert_close(kernels.weights, weights, atol=1e-6, rtol=1e-5)
    for i in range(CLASSES):
        mean = weights[labels == i].mean(0)
        torch.testing.assert_close(kernels.by_class[i], mean, atol=1e-6, rtol=1e-5)
    for k, leaders in enumerate(kernels.leaders):
        assert leaders[0] == int(weights[:, k].argmax())
    assert kernels.distances[0] == 0
    assert min(kernels.distances[1:]) > 0
    other = ds.attention_report(model, [images]).sites[1]
    assert kernels.report.leads == other.leads
    assert kernels.report.entropy == pytest.approx(other.entropy)


@pytest.mark.parametrize("kind", ["A", "B", "C"])
def test_curves_are_what_the_layer_makes_of_numbers(kind: str) -> None:
    model, (images, labels) = converted(activation={"kind": kind}), data()
    layer: Any = model.get_submodule("1")
    x = layer_inputs(model, "1", images[:1])
    with torch.no_grad():
        signals = layer.signals(x)
        y = layer(x)
        curves = layer.curves(x.flatten(), signals)[0]
    if kind == "C":  # as if every place counted the same
        scale = 3 * signals["places"].flatten()
        y = y / scale.view(1, 1, *x.shape[2:])
    places = x[0, 0].numel()
    for c in range(4):
        own = curves[c if len(curves) > 1 else 0, c * places : (c + 1) * places]
        torch.testing.assert_close(own, y[0, c].flatten(), atol=1e-5, rtol=1e-4)
    found = ds.inspect(model, [(images, labels)])["1"]
    assert found.curves is not None
    assert tuple(found.curves.y.shape) == (len(found.curves.channels), CLASSES, len(found.curves.x))
    assert (found.places is not None) == (kind == "C")


def test_without_labels_all_are_one_class() -> None:
    found = ds.inspect(converted(), [data()[0]], samples=COUNT)
    assert found.classes == ("all samples",)
    assert found.samples == COUNT
    kernels = found["0"].kernels
    assert kernels is not None
    assert tuple(kernels.by_class.shape) == (1, 4)
    assert found.sites[0].moves > 0


@pytest.mark.parametrize("operator", ["odconv", "scale", "dcd", "condconv", "se"])
def test_other_convolutions_show_their_factors(operator: str) -> None:
    images, labels = data()
    settings = {"experts": 2} if operator == "odconv" else {}
    found = ds.inspect(converted(conv={"operator": operator, **settings}), [(images, labels)])
    factors = found["2"].factors
    assert factors
    for factor in factors:
        assert list(factor.quantiles) == sorted(factor.quantiles)
        assert factor.variation > 0
    assert (found["2"].kernels is not None) == (operator == "odconv")


@pytest.mark.parametrize("operator", ["shift-max", "se"])
def test_other_activations_show_their_factors(operator: str) -> None:
    found = ds.inspect(converted(activation={"operator": operator}), [data()])
    assert found["1"].curves is None
    assert all(factor.variation > 0 for factor in found["1"].factors)


def test_at_the_start_nothing_varies() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)).eval()
    model = ds.convert(net, data()[0], ds.SurgeryConfig(conv=None))
    found = ds.inspect(model, [data()])
    assert [site.moves for site in found.sites] == [0.0]
    curves = found.sites[0].curves
    assert curves is not None
    expected = torch.relu(curves.x).expand_as(curves.y)
    torch.testing.assert_close(curves.y, expected, atol=1e-6, rtol=1e-5)


def test_it_is_plain_json_records_and_text() -> None:
    found = ds.inspect(converted(activation={"kind": "C"}), [data()], classes=["a", "b", "c"])
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["classes"] == ["a", "b", "c"]
    records = found.records()
    assert {row["site"] for row in records} == {"0", "1", "2", "3"}
    assert "varies by" in str(found)
    with pytest.raises(KeyError):
        found["nothing"]


def test_what_can_not_be_inspected_is_said() -> None:
    images, labels = data()
    with pytest.raises(ds.UnsupportedModelError, match="no dynamic layer"):
        ds.inspect(nn.Linear(3, 2), [torch.zeros(2, 3)])
    model = converted()
    with pytest.raises(ds.ConfigError, match="no sample in batches"):
        ds.inspect(model, [])
    with pytest.raises(ds.ConfigError, match="label 2, but classes names 2"):
        ds.inspect(model, [(images, labels)], classes=["a", "b"])
    with pytest.raises(ds.ConfigError, match="some batches have a label"):
        ds.inspect(model, [(images, labels), images])


def test_pictures_and_findings_are_written(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from dynsurgeon.reports.inspection import write_inspection

    model, (images, labels) = converted(activation={"kind": "C"}), data()
    found = ds.inspect(model, [(images, labels)], classes=["$a$", "b_1", "</td>"])

    def picture(sample: int) -> Tensor:
        return (images[sample] * 50 + 128).clamp(0, 255).byte()

    assert write_inspection(tmp_path, found, picture, 4) == 8
    kinds = sorted(path.stem.split("-", 2)[2] for path in tmp_path.glob("*.png"))
    assert kinds == sorted(["attention", "leaders"] * 2 + ["curves", "places"] * 2)
    findings = json.loads((tmp_path / "findings.json").read_text())
    assert len(findings["sites"]) == 4
