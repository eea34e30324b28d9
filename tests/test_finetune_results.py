"""What a run found, as values."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
from finetune_helpers import finetune_result
from hypothesis import given
from hypothesis import strategies as st

from dynsurgeon.training.finetune.results import Epoch, Gain, Score


@given(outcomes=st.lists(st.sampled_from([-1, 0, 1]), min_size=2, max_size=50))
def test_the_error_is_that_of_the_mean_of_paired_differences(outcomes: list[int]) -> None:
    gain = Gain.from_counts(outcomes.count(1), outcomes.count(-1), len(outcomes))
    assert gain.difference == pytest.approx(np.mean(outcomes))
    assert gain.error == pytest.approx(np.std(outcomes) / math.sqrt(len(outcomes)), abs=1e-9)


def test_a_gain_reads_in_points() -> None:
    assert str(Gain(0.0051, 0.0012, 10000)) == "+0.51 points (standard error 0.12)"


def test_of_equal_accuracy_the_lower_loss_is_better() -> None:
    assert Score(1.0, 0.9).better_than(Score(0.1, 0.8))
    assert Score(0.5, 0.9).better_than(Score(0.6, 0.9))
    assert not Score(0.5, 0.9).better_than(Score(0.5, 0.9))


def test_an_epoch_comes_back_from_plain_values() -> None:
    score = {"dynamic": Score(0.5, 0.25)}
    epoch = Epoch(3, score, score, 12.5)
    assert Epoch.from_dict(json.loads(json.dumps(asdict(epoch)))) == epoch


def test_the_result_is_plain_json_and_reads_in_lines() -> None:
    result = finetune_result()
    assert json.loads(json.dumps(result.to_dict())) == result.to_dict()
    assert "accuracy 75.00% after epoch 1 of 1; static twin 70.00%" in str(result)
    assert "+5.00 points" in str(result)
