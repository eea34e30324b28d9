"""Running sums of loss and correct answers."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from dynsurgeon.training.finetune.meter import Meter

ALONE = SimpleNamespace(num_processes=1)


def test_it_averages_over_steps_and_samples() -> None:
    meter = Meter(4)
    for loss, correct in ((1.0, 2.0), (3.0, 4.0)):
        meter.add(torch.tensor([loss, correct]))
    assert meter.flush()
    assert meter.mean_loss == 2.0
    score = meter.score(ALONE)
    assert (score.loss, score.accuracy) == (2.0, 0.75)
    assert meter.state_dict() == {"steps": 0, "loss": 0.0, "correct": 0.0}


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_it_tells_when_a_loss_is_no_number(bad: float) -> None:
    meter = Meter(4)
    meter.add(torch.tensor([1.0, 0.0]))
    assert meter.flush()
    meter.add(torch.tensor([bad, 0.0]))
    meter.add(torch.tensor([1.0, 0.0]))
    assert not meter.flush()
    assert meter.flush()  # nothing is pending


def test_it_goes_on_where_it_was() -> None:
    meter, other = Meter(2), Meter(2)
    meter.add(torch.tensor([1.5, 1.0]))
    meter.flush()
    other.load_state_dict(meter.state_dict())
    assert other.score(ALONE) == meter.score(ALONE)
