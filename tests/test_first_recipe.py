"""A recipe that the first version wrote still loads: ``saved/first_recipe.json`` is its file.

It is of a `TinyResNet`, and lacks the keys that recipes have got since.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from nets import TinyResNet
from safetensors import safe_open
from storage_helpers import trained

import dynsurgeon as ds
from dynsurgeon.storage import RECIPE_FILE, TENSOR_FILE

FIRST = Path(__file__).parent / "saved" / "first_recipe.json"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory with that recipe, and tensors of today under the names that they had then."""
    net = TinyResNet()
    ds.save(trained(net, net.example()), tmp_path)
    shutil.copy(FIRST, tmp_path / RECIPE_FILE)
    return tmp_path


def first() -> dict[str, Any]:
    values: dict[str, Any] = json.loads(FIRST.read_text(encoding="utf-8"))
    return values


def test_it_is_of_version_1_and_lacks_what_came_later() -> None:
    values = first()
    assert values["format"] == 1
    assert "fitted" not in values
    assert all("structure" not in owner for owner in values["owners"])


def test_it_loads_as_it_was(directory: Path) -> None:
    net = TinyResNet().eval()
    values = first()
    (directory / RECIPE_FILE).write_text(json.dumps({**values, "sha256": None}))
    loaded: Any = ds.load(directory, net)
    assert {s["name"]: s["operator"] for s in values["sites"]} == {
        name: type(module).__name__
        for name, module in loaded.named_modules()
        if isinstance(module, ds.DynamicLayer)
    }
    x = net.example(3, seed=1)
    with torch.no_grad(), safe_open(str(directory / TENSOR_FILE), framework="pt") as file:
        y = loaded(x)
        assert torch.equal(file.get_tensor("layer1.0.conv1.weight"), loaded.layer1[0].conv1.weight)
    ds.save(loaded, directory / "again")
    assert torch.equal(ds.load(directory / "again", TinyResNet().eval())(x), y)


def test_its_digest_is_held_against_the_tensors(directory: Path) -> None:
    with pytest.raises(ds.StorageError, match="is damaged, or was not saved with this"):
        ds.load(directory, TinyResNet())
