"""Positional and keyword inputs are one value, and a model with keywords goes the whole way."""

from __future__ import annotations

from collections import UserDict
from pathlib import Path
from typing import Any

import pytest
import torch
from export_nets import run_onnx
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

import dynsurgeon as ds
from dynsurgeon.bench.engines import Twins, eager
from dynsurgeon.export.existing import verify_onnx
from dynsurgeon.running.inputs import Inputs, as_inputs

X = torch.zeros(1)


class Keywords(nn.Module):
    """Takes an image by name alone, and a gain for each sample; like a network of a model hub."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)

    def forward(
        self,
        *,
        image: Tensor,
        gain: Tensor | None = None,
        twice: bool = False,
        count: int = 1,
    ) -> Tensor:
        x = torch.relu(self.norm(self.conv(torch.relu(self.stem(image)))))
        y: Tensor = x.mean((2, 3)) * count
        y = y if gain is None else y * gain
        return y + y if twice else y


class Mixed(Keywords):
    def forward(self, image: Tensor, *, gain: Tensor) -> Tensor:  # type: ignore[override]
        y: Tensor = super().forward(image=image, gain=gain)
        return y


def example(**more: Any) -> dict[str, Any]:
    return {"gain": torch.rand(2, 1) + 0.5, "image": torch.randn(2, 3, 8, 8), **more}


@pytest.mark.parametrize(
    ("given", "args", "kwargs"),
    [
        (X, (X,), {}),
        ((X, 3), (X, 3), {}),
        ([X, "a"], (X, "a"), {}),
        (({"image": [X]},), ({"image": [X]},), {}),
        ((X, {"image": X}), (X, {"image": X}), {}),
        ({"image": X, "flag": None}, (), {"image": X, "flag": None}),
        (UserDict(image=X), (), {"image": X}),
        (Inputs(X, self=X), (X,), {"self": X}),
    ],
)
def test_accepted_forms(given: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    inputs = as_inputs(given)
    assert (inputs.args, inputs.kwargs) == (args, kwargs)
    assert as_inputs(inputs) is inputs


def test_keys_must_be_names() -> None:
    with pytest.raises(ds.ConfigError, match=r"names of the model's arguments, got \[0\]"):
        as_inputs({0: X})


def test_maps_over_tensors_reach_both_kinds() -> None:
    inputs = Inputs(X, [X, 2], mask=X, flag=True)
    mapped = tree_map(lambda t: t + 1 if isinstance(t, Tensor) else t, inputs)
    assert mapped.args == (1, [1, 2])
    assert mapped.kwargs == {"mask": 1, "flag": True}
    assert len(tree_leaves(inputs)) == 5


def test_they_call_and_say_what_does_not_fit() -> None:
    inputs = Inputs(1, other=2)
    assert inputs.call(lambda one, other: (one, other)) == (1, 2)
    assert inputs.fit(lambda one, other: None)
    assert not inputs.fit(lambda one: None)


def test_keyword_inputs_go_the_whole_way(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, inputs, path = Keywords().eval(), UserDict(example(twice=True)), tmp_path / "m.onnx"
    assert len(ds.plan(net, inputs).converted) == 3
    dynamic = ds.convert(net, inputs)
    receipt = ds.check_parity(net, dynamic, inputs)
    assert receipt.passed
    assert receipt.modes == ("eval", "train")
    result = ds.export_onnx(dynamic, path, inputs)
    assert {name: shape[1:] for name, shape in result.inputs.items()} == {
        "gain": (1,),
        "image": (3, 8, 8),
    }
    assert verify_onnx(dynamic, path, inputs).passed
    fed = example()
    expected = dynamic(**fed, twice=True).detach()
    torch.testing.assert_close(run_onnx(path, *fed.values())[0], expected)


def test_a_fixed_batch_with_numbers_and_none_among_the_keywords(tmp_path: Path) -> None:
    net, path = Keywords().eval(), tmp_path / "m.onnx"
    image = torch.randn(2, 3, 8, 8)
    inputs = {"count": 3, "image": image, "gain": None}
    dynamic = ds.convert(net, inputs)
    assert ds.check_parity(net, dynamic, inputs).passed
    result = ds.export_onnx(dynamic, path, inputs, batch=2)
    assert dict(result.inputs) == {"image": (2, 3, 8, 8)}
    torch.testing.assert_close(run_onnx(path, image)[0], dynamic(**inputs).detach())


def test_both_kinds_at_once(tmp_path: Path) -> None:
    net, given = Mixed().eval(), example()
    inputs = ds.Inputs(given["image"], gain=given["gain"])
    dynamic = ds.convert(net, inputs)
    assert ds.check_parity(net, dynamic, inputs).passed
    result = ds.export_onnx(dynamic, tmp_path / "m.onnx", inputs, form="portable")
    assert dict(result.inputs) == {"input": ("batch", 3, 8, 8), "gain": ("batch", 1)}


def test_what_is_timed_is_called_by_name(tmp_path: Path) -> None:
    net, given = Keywords().eval(), example()
    calls = eager(Twins(net, net, tmp_path), as_inputs(given), 2, 1)
    found: Any = calls["static"]()
    assert torch.equal(found, net(**given))


def test_a_wrong_name_is_told_in_the_models_own_words(tmp_path: Path) -> None:
    net = Keywords().eval()
    inputs = {"imgae": torch.randn(2, 3, 8, 8)}
    for run in (ds.plan, ds.convert):
        with pytest.raises(ds.ConfigError, match="unexpected keyword argument 'imgae'") as error:
            run(net, inputs)
        assert "\n" not in str(error.value)
    with pytest.raises(ds.ExportError, match=r"called with these inputs: .*unexpected") as caught:
        ds.export_onnx(net, tmp_path / "m.onnx", inputs)
    assert "\n" not in str(caught.value)
