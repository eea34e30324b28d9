from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from nets import TinyNet
from surgery_nets import Flow, Grandparent, SharedPReLU, images
from torch import nn

from dynsurgeon.running.inputs import Inputs
from dynsurgeon.surgery.sites.candidates import Candidate, find_candidates
from dynsurgeon.surgery.sites.survey import survey_model


def candidates_of(net: nn.Module, *inputs: Any) -> dict[str, Candidate]:
    found = find_candidates(net, survey_model(net, Inputs(*inputs)))
    assert len({c.name for c in found}) == len(found)
    return {c.name: c for c in found}


def test_names_and_operations_in_order_of_execution(tiny_resnet: TinyNet) -> None:
    found = candidates_of(tiny_resnet, tiny_resnet.example())
    assert [(c.name, c.operation) for c in found.values()] == [
        ("conv1", "Conv2d"),
        ("relu", "ReLU"),
        ("layer1.0.conv1", "Conv2d"),
        ("layer1.0.relu", "ReLU"),
        ("layer1.0.relu_1", "ReLU"),
        ("layer1.0.conv2", "Conv2d"),
        ("layer2.0.downsample.0", "Conv2d"),
        ("layer2.0.conv1", "Conv2d"),
        ("layer2.0.relu", "ReLU"),
        ("layer2.0.relu_1", "ReLU"),
        ("layer2.0.conv2", "Conv2d"),
    ]


def test_who_has_to_be_rewritten(tiny_resnet: TinyNet) -> None:
    found = candidates_of(tiny_resnet, tiny_resnet.example())
    relu, first, second = (found[n] for n in ("relu", "layer1.0.relu", "layer1.0.relu_1"))
    assert (relu.rewritten, first.rewritten, second.rewritten) == (False, True, True)
    assert (first.in_place_of_module, second.in_place_of_module) == (True, False)
    assert (first.child, second.child) == ("relu", "relu_1")
    assert first.module is second.module
    assert first.owner_name == second.owner_name == "layer1.0"
    assert first.key != second.key
    assert found["conv1"].is_convolution
    assert not first.is_convolution


def test_functions_are_named_after_what_they_compute(tiny_functional: TinyNet) -> None:
    found = candidates_of(tiny_functional, tiny_functional.example())
    functions = [(c.name, c.operation) for c in found.values() if c.module is None]
    assert functions == [
        ("relu", "F.relu"),
        ("relu_1", "F.relu"),
        ("conv2d", "F.conv2d"),
        ("relu_2", "F.relu"),
        ("relu_3", "F.relu"),
    ]
    assert found["conv2d"].is_convolution
    assert found["conv2d"].static is nn.Conv2d


def test_a_module_with_parameters_is_one_candidate(tiny_shared_conv: TinyNet) -> None:
    found = candidates_of(tiny_shared_conv, tiny_shared_conv.example())
    assert len(found["head"].sites) == 3
    assert not found["head"].rewritten
    assert [c.name for c in candidates_of(SharedPReLU(), images()).values()] == [
        "conv1",
        "act",
        "conv2",
    ]


def test_a_name_that_the_owner_has_already_is_avoided() -> None:
    net = Flow(lambda self, x: F.relu(self.act(self.act(x))))
    vars(net).update(act_1="taken", relu=1)
    names = [c.name for c in candidates_of(net, images()).values() if c.sites]
    assert names == ["act", "act_2", "relu_1"]


def test_paths_below_an_owner_become_names() -> None:
    found = candidates_of(Grandparent(), images())
    assert found["middle_a_b_relu"].child == "middle_a_b_relu"
    assert found["middle_a_b_relu"].owner_name == ""
    assert all(c.child.isidentifier() for c in found.values() if not c.in_place_of_module)


def test_what_was_never_called_comes_last_with_its_reason() -> None:
    found = candidates_of(Flow(lambda self, x: self.conv(x)), images())
    assert list(found) == ["conv", "conv2", "act"]
    assert found["conv2"].reason == "was never called on the example inputs"
    assert found["conv2"].owner is None
    assert found["conv"].reason is None
