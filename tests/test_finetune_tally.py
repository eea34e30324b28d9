"""Running sums of loss and correct answers."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from dynsurgeon.training.finetune.tally import Tally

ALONE = SimpleNamespace(num_processes=1)


def test_it_averages_over_steps_and_samples() -> None:
    tally = Tally(4)
    for loss, correct in ((1.0, 2.0), (3.0, 4.0)):
        tally.add(torch.tensor([loss, correct]))
    assert tally.flush()
    assert tally.mean_loss == 2.0
    score = tally.score(ALONE)
    assert (score.loss, score.accuracy) == (2.0, 0.75)
    assert tally.state_dict() == {"steps": 0, "loss": 0.0, "correct": 0.0}


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_it_tells_when_a_loss_is_no_number(bad: float) -> None:
    tally = Tally(4)
    tally.add(torch.tensor([1.0, 0.0]))
    assert tally.flush()
    tally.add(torch.tensor([bad, 0.0]))
    tally.add(torch.tensor([1.0, 0.0]))
    assert not tally.flush()
    assert tally.flush()  # nothing is pending


def test_it_goes_on_where_it_was() -> None:
    tally, other = Tally(2), Tally(2)
    tally.add(torch.tensor([1.5, 1.0]))
    tally.flush()
    other.load_state_dict(tally.state_dict())
    assert other.score(ALONE) == tally.score(ALONE)
