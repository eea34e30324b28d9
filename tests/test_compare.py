from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from nets import TinyNet, perturb_
from surgery_nets import EVERY, Flow, images, shared_slots
from torch import Tensor, nn

import dynsurgeon as ds
from dynsurgeon.proof.compare import Comparison, compare_models
from dynsurgeon.recipe import recipe_of
from dynsurgeon.running.inputs import Inputs


def compare(net: nn.Module, dynamic: nn.Module, *inputs: Any) -> Comparison:
    return compare_models(net, dynamic, recipe_of(dynamic), Inputs(*inputs), seed=0)


def test_every_site_is_compared_in_every_mode_that_it_runs_in(tiny_dual: TinyNet) -> None:
    x = tiny_dual.example()
    found = compare(tiny_dual, ds.convert(tiny_dual, x), x)
    assert set(found.outputs) == {"eval", "train"}
    assert set(found.sites) == {
        *((name, mode) for name in ("conv2", "relu", "relu_1") for mode in ("eval", "train")),
        ("relu_2", "train"),
    }
    assert found.notes == []


def test_differences_are_measured_at_the_site_and_at_the_output() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1))
    dynamic: Any = ds.convert(net, images(), EVERY)
    with torch.no_grad():
        dynamic[0].bias += 0.5
    found = compare(net, dynamic, images())
    gap, scale = found.sites["0", "eval"]
    assert gap == pytest.approx(0.5)
    assert scale == pytest.approx(net[0](images()).abs().max().item())
    expected = (dynamic(images()) - net(images())).abs().max().item()
    assert found.max_abs == pytest.approx(expected)
    assert found.max_rel == pytest.approx(expected / net(images()).abs().max().item())


def test_a_slot_of_a_shared_relu_is_compared_with_its_own_twin() -> None:
    net = shared_slots()
    found = compare(net, ds.convert(net, images(), EVERY), images())
    assert {name for name, _ in found.sites} == {"0", "1", "2", "3", "4.0", "4.1"}
    assert max(gap for gap, _ in found.sites.values()) < 1e-5
    assert net[1] is net[3]


def test_a_site_called_many_times_counts_its_worst_call(tiny_shared_conv: TinyNet) -> None:
    x = tiny_shared_conv.example()
    dynamic = perturb_(ds.convert(tiny_shared_conv, x))
    found = compare(tiny_shared_conv, dynamic, x)
    assert found.sites["head", "eval"][0] > 0.1


def test_user_hooks_do_not_disturb_the_comparison_of_sites() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1))
    net[0].register_forward_hook(lambda module, args, output: output * 2)
    net[1].register_forward_pre_hook(lambda module, args: (args[0] - 1,))
    found = compare(net, ds.convert(net, images(), EVERY), images())
    assert max(gap for gap, _ in found.sites.values()) < 1e-5


def test_our_hooks_are_gone_afterwards() -> None:
    net = shared_slots()
    dynamic = ds.convert(net, images(), EVERY)
    compare(net, dynamic, images())
    for model in (net, dynamic):
        assert not any(m._forward_hooks for m in model.modules())


def test_a_dynamic_model_that_fails_is_a_difference() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 5, 1))
    dynamic: Any = ds.convert(net, images(), EVERY)
    dynamic[0], dynamic[1] = dynamic[1], dynamic[0]
    found = compare(net, dynamic, images())
    assert found.max_abs == math.inf
    assert found.max_rel == math.inf
    assert found.notes[0].startswith("the dynamic model fails in eval mode: ")


def test_empty_outputs_are_judged_by_the_sites() -> None:
    net = Flow(lambda self, x: F.relu(self.conv(x))[:0])
    dynamic = ds.convert(net, images(), EVERY)
    good = compare(net, dynamic, images())
    assert good.max_rel < 1e-6
    assert good.notes == [
        f"the outputs in {mode} mode are empty: judged by the sites" for mode in ("eval", "train")
    ]
    assert compare(net, perturb_(dynamic), images()).max_rel > 0.1


class Fussy(nn.Module):
    """Trains on no less than four samples, and never with ``fail``."""

    def __init__(self, fail: bool = False) -> None:
        super().__init__()
        self.conv, self.fail = nn.Conv2d(3, 4, 1), fail

    def forward(self, x: Tensor) -> Tensor:
        if self.training and (self.fail or x.shape[0] < 4):
            raise AssertionError
        y: Tensor = self.conv(x)
        return y


def test_train_mode_gets_a_doubled_batch_if_need_be_and_a_note_if_it_can_not_run() -> None:
    for net, modes in ((Fussy(), {"eval", "train"}), (Fussy(fail=True), {"eval"})):
        found = compare(net, ds.convert(net, images(), EVERY), images())
        assert set(found.outputs) == modes
        assert found.notes == (
            [] if "train" in modes else ["train mode was not compared: AssertionError"]
        )


def test_inputs_that_do_not_fit_are_refused_in_one_line() -> None:
    net = Fussy()
    with pytest.raises(ds.ConfigError, match="can't run on inputs like these") as error:
        compare(net, ds.convert(net, images(), EVERY), images(channels=4))
    assert "\n" not in str(error.value)


class Constant(nn.Module):
    def __init__(self, *values: Any) -> None:
        super().__init__()
        self.conv, self.values = nn.Conv2d(3, 3, 1), values

    def forward(self, x: Tensor) -> Any:
        self.conv(x)
        return self.values


@pytest.mark.parametrize(
    ("ours", "theirs", "gap"),
    [
        ((torch.ones(2),), (torch.ones(2),), 0.0),
        ((torch.ones(2),), (torch.ones(2) * 1.5,), 0.5),
        ((torch.ones(2),), (torch.ones(3),), math.inf),
        ((torch.ones(2),), (torch.ones(2), torch.ones(2)), math.inf),
        ((torch.tensor([math.nan, 1]),), (torch.tensor([math.nan, 1]),), 0.0),
        ((torch.tensor([math.nan, 1]),), (torch.tensor([0.0, 1]),), math.inf),
        ((torch.tensor([math.inf, 1]),), (torch.tensor([math.inf, 1]),), 0.0),
        ((torch.tensor([math.inf, 1]),), (torch.tensor([-math.inf, 1]),), math.inf),
        ((torch.tensor([1, 2]),), (torch.tensor([1, 5]),), 3.0),
        ((torch.zeros(2),), (torch.zeros(2) + 1e-9,), 1e-9),
        ((torch.tensor([1 + 2j]),), (torch.tensor([1 + 5j]),), 3.0),
    ],
)
def test_what_counts_as_a_difference(ours: Any, theirs: Any, gap: float) -> None:
    net = Constant(*ours)
    dynamic: Any = ds.convert(net, images(), EVERY)
    dynamic.values = theirs
    assert compare(net, dynamic, images()).max_abs == pytest.approx(gap)
