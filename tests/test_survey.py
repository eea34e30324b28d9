from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from nets import TinyNet
from surgery_nets import Arguments, Flow, images
from torch import Tensor, nn

from dynsurgeon.errors import ConfigError
from dynsurgeon.running.inputs import Inputs
from dynsurgeon.surgery.sites.survey import VARIES, Survey, survey_model


def survey(model: nn.Module, *inputs: Any) -> Survey:
    return survey_model(model, Inputs(*inputs))


def test_both_modes_are_observed(tiny_dual: TinyNet) -> None:
    found = survey(tiny_dual, tiny_dual.example())
    modes = {
        key.label: [execution.mode for execution in site.executions]
        for (_, key), site in found.sites.items()
    }
    assert modes["module:conv1"] == ["eval", "train"]
    assert ["train"] in [[e.mode for e in site.executions] for site in found.sites.values()]
    lengths = {mode: len(runs[0]) for mode, runs in found.owners[tiny_dual].sequences.items()}
    assert lengths == {"eval": 4, "train": 5}


def test_train_mode_sees_a_doubled_batch() -> None:
    found = survey(Flow(lambda self, x: self.conv(x)), images(1))
    (site,) = found.sites.values()
    assert [e.input_shape for e in site.executions] == [(1, 3, 8, 8), (2, 3, 8, 8)]
    assert [e.output_shape[1] for e in site.executions] == [6, 6]


def test_one_place_in_a_loop_is_one_site_a_turn() -> None:
    found = survey(Flow(lambda self, x: [x := F.relu(x - i) for i in range(3)][-1]), images())
    assert [key.ordinal for _, key in found.sites] == [0, 1, 2]


def test_multiply_accumulates_are_a_sample_in_eval_mode() -> None:
    # 3x3x3x6 at 8x8 places, and 6x6x3x3 at 8x8
    net = Flow(lambda self, x: self.conv2(self.conv(x)))
    for batch in (1, 4):
        found = survey(net, images(batch))
        assert found.macs == 64 * (3 * 6 * 9 + 6 * 6 * 9)
        assert found.batch == batch


def test_arguments_that_stay_the_same_are_told_from_those_that_vary() -> None:
    net = Arguments()
    found = survey(net, net.example())
    assert found.owners[net.plain].arguments == {
        "x": VARIES,
        "times": 1,
        "skip": None,
        "negate": False,
    }
    assert found.owners[net.twice].arguments["times"] == 2
    assert found.owners[net.twice].arguments["negate"] is True
    assert found.owners[net.skipping].arguments["skip"] is VARIES


def test_an_argument_that_is_sometimes_none_is_noted() -> None:
    net = Arguments()
    net.skipping = net.plain
    found = survey(net, net.example())
    assert found.owners[net.plain].mixed_none == {"skip"}


def test_a_train_mode_that_fails_is_a_note() -> None:
    def flow(self: Any, x: Tensor) -> Tensor:
        x = F.relu(self.conv(x))
        if self.training:
            raise RuntimeError("needs targets\nand more")
        return x

    net = Flow(flow)
    found = survey(net, images())
    assert found.notes == ["train mode was not observed: needs targets"]
    assert list(found.outputs) == ["eval"]
    assert {e.mode for site in found.sites.values() for e in site.executions} == {"eval"}
    assert list(found.owners[net].sequences) == ["eval"]


def test_a_batch_that_can_not_be_doubled_is_used_as_it_is() -> None:
    def flow(self: Any, x: Tensor) -> Tensor:
        y = F.relu(self.conv(x))
        if x.shape[0] > 2:
            raise RuntimeError("at most two")
        return y

    found = survey(Flow(flow), images(2))
    assert found.notes == []
    for site in found.sites.values():
        assert [e.input_shape[0] for e in site.executions] == [2, 2]


def test_a_model_that_does_not_run_is_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match=r"example inputs: 'conv' \(Conv2d\) raises Run") as e:
        survey(Flow(lambda self, x: self.conv(x)), images(channels=5))
    assert "\n" not in str(e.value)


def test_the_model_is_left_as_it_was() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.ReLU())
    net.train()
    net[1].eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    random = torch.get_rng_state()
    x = images()
    copy = x.clone()
    survey(net, x)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert [m.training for m in net] == [True, False, True, True]
    assert torch.equal(random, torch.get_rng_state())
    assert torch.equal(x, copy)


def test_under_autocast_a_site_has_the_precision_of_its_parameters() -> None:
    def flow(self: Any, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.act(self.conv(x))  # type: ignore[no-any-return]

    found = survey(Flow(flow), images())
    assert {e.dtype for site in found.sites.values() for e in site.executions} == {torch.float32}
