"""Converted networks far from their start, and what lies in a saved one's folder."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from nets import perturb_
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import dynsurgeon as ds
from dynsurgeon.running.run import tensors_of
from dynsurgeon.storage import RECIPE_FILE, TENSOR_FILE


def trained(net: nn.Module, example: Any, config: ds.SurgeryConfig | None = None) -> nn.Module:
    """Return a converted network far from its start, at a temperature of its own."""
    dynamic = perturb_(ds.convert(net, example, config))
    ds.set_temperature(dynamic, 3.0)
    return dynamic


def assert_bit_equal(one: nn.Module, other: nn.Module, *inputs: Any) -> None:
    ours, theirs = one.state_dict(), other.state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    for training in (False, True):
        outputs = []
        for model in (one, other):
            twin = copy.deepcopy(model).train(training)
            torch.manual_seed(1)
            outputs.append(tensors_of(twin(*copy.deepcopy(inputs))))
        assert all(torch.equal(a, b) for a, b in zip(*outputs, strict=True))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def rewrite(
    saved: Path,
    recipe: Callable[[Any], Any] = lambda recipe: None,
    tensors: Callable[[dict[str, Tensor]], Any] = lambda tensors: None,
) -> None:
    """Change the files as somebody would who means harm: the digest is left out."""
    values = json.loads((saved / RECIPE_FILE).read_text())
    values["sha256"] = None
    recipe(values)
    (saved / RECIPE_FILE).write_text(json.dumps(values))
    state = load_file(saved / TENSOR_FILE)
    tensors(state)
    save_file(state, saved / TENSOR_FILE)
