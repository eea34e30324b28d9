"""What a run with a twin says of its gain."""

from __future__ import annotations

from dataclasses import replace

import pytest
from finetune_helpers import static_net

import dynsurgeon as ds
from dynsurgeon.training.finetune.cost import Cost
from dynsurgeon.training.finetune.results import Epoch, Gain, RateProbe, Score
from dynsurgeon.training.finetune.verdict import verdict_on

COST = Cost(
    dynamic_ms=12.4, static_ms=10.0, ratio=1.24, spread=0.1, device="cpu", threads=1, rounds=20
)
PROBE = RateProbe((0.1,), (1.0,), 0.1, 5, 10)


def result(
    gain: Gain | None, learned: float = 0.9, best: int = 2, others: float = 0.88
) -> ds.FinetuneResult:
    """Return the result of three epochs after which the twin had `learned` its training images.

    Of the `others`, for validation, each network gets the same share right.
    """
    scores = {name: Score(0.3, others) for name in ("dynamic", "static")}
    train = {"dynamic": Score(0.2, 0.99), "static": Score(0.2, learned)}
    return ds.FinetuneResult(
        model=static_net(),
        best_epoch={"dynamic": 1, "static": best},
        val=scores,
        before=Score(1.0, 0.5),
        gain=gain,
        history=tuple(Epoch(number, train, scores, None) for number in (1, 2, 3)),
        steps=7,
        processes=1,
    )


def said(gain: Gain, learned: float = 0.9, best: int = 2, others: float = 0.88) -> str:
    text = verdict_on(result(gain, learned, best, others))
    assert text is not None
    return text


def test_without_a_twin_nothing_is_said() -> None:
    assert verdict_on(result(None)) is None


def test_a_gain_counts_from_two_standard_errors_on() -> None:
    assert "better by 2.00 points" in said(Gain(0.02, 0.01, 400))
    assert "no difference" in said(Gain(0.019, 0.01, 400))
    assert "worse by 2.00 points: keep the static one" in said(Gain(-0.02, 0.01, 400))
    assert "no difference" in said(Gain(-0.019, 0.01, 400))


def test_a_gain_is_held_against_its_price() -> None:
    assert "1.24 times the latency" not in said(Gain(0.02, 0.01, 400))
    priced = verdict_on(replace(result(Gain(0.02, 0.01, 400)), cost=COST))
    assert priced is not None
    assert "at 1.24 times the latency" in priced


@pytest.mark.parametrize("samples", [100, 1000])
def test_it_says_how_many_images_would_tell(samples: int) -> None:
    # Twice the error is two times the difference: four times the images.
    assert f"it would take {4 * samples:,} to tell" in said(Gain(0.01, 0.01, samples))


def test_it_does_not_count_images_that_nobody_has() -> None:
    assert "it would take" not in said(Gain(0.001, 0.01, 400))
    assert "it would take" not in said(Gain(0.0, 0.01, 400))
    assert "it would take" not in said(Gain(0.0, 0.0, 400))


def test_the_reason_is_read_off_the_twin() -> None:
    noise = Gain(0.0, 0.01, 400)
    assert "gets 99% of its training images right: it does not lack capacity" in said(noise, 0.99)
    assert "at its best in its last epoch (90% of" in said(noise, 0.9, best=3)
    assert "Other seeds would tell" in said(noise, 0.9, best=2)
    short = said(noise, 0.9, best=3, others=0.8)
    assert "gets 90% of its training images right and 80% of the others: it lacks images" in short


def test_a_search_for_rates_is_advised_only_where_there_was_none() -> None:
    noise = result(Gain(0.0, 0.01, 400))
    searched = replace(noise, probes={"dynamic": PROBE, "static": PROBE})
    assert "--lr auto" in str(verdict_on(noise))
    assert "--lr auto" not in str(verdict_on(searched))
