"""The inputs that a file is verified on, and how they are drawn."""

from __future__ import annotations

import torch

from dynsurgeon.export.cases import enlarged, make_cases
from dynsurgeon.export.target import Target
from dynsurgeon.running.fresh import fresh_inputs, tiled
from dynsurgeon.running.inputs import Inputs

IMAGE = torch.rand(2, 3, 8, 8)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_a_free_batch_is_tried_at_four_sizes_and_permuted() -> None:
    cases = make_cases(Inputs(IMAGE), Target.choose("scan", None), generator())
    assert [case.batch for case in cases] == [1, 2, 3, 5, 3]
    assert all(case.inputs.args[0].shape[0] == case.batch for case in cases)
    assert torch.equal(cases[4].inputs.args[0], cases[2].inputs.args[0].roll(1, 0))
    five = cases[3].inputs.args[0].flatten(1)
    assert len({tuple(sample.tolist()) for sample in five}) == 5


def test_a_fixed_batch_is_tried_alone() -> None:
    one = make_cases(Inputs(IMAGE), Target.choose("rule", 1), generator())
    four = make_cases(Inputs(IMAGE), Target.choose("rule", 4), generator())
    assert [case.name for case in one] == ["batch 1"]
    assert [case.name for case in four] == ["batch 4", "batch 4, permuted"]


def test_a_free_size_is_tried_at_a_second_one() -> None:
    target = Target.choose("scan", None, dynamic_size=True)
    larger = make_cases(Inputs(IMAGE), target, generator())[-1]
    assert larger.inputs.args[0].shape == (2, 3, 40, 72)
    assert enlarged(torch.zeros(1, 2, 10)) == [1, 2, 42]
    assert enlarged(torch.zeros(2, 5)) == [2, 5]


def test_fresh_inputs_look_like_the_example() -> None:
    example = (torch.rand(4, 1000) * 2 + 5, {"k": torch.arange(4), "flag": True})
    first, rest = fresh_inputs(example, 6, generator()).args
    assert first.shape == (6, 1000)
    assert 5 <= float(first.min()) < float(first.max()) <= 7
    assert abs(float(first.mean()) - 6) < 0.05
    assert rest["k"].tolist() == [0, 1, 2, 3, 0, 1]
    assert rest["flag"] is True


def test_fresh_inputs_keep_dtype_and_batch_on_request() -> None:
    (half,) = fresh_inputs(torch.rand(3, 5).half(), None, generator()).args
    assert (half.dtype, half.shape) == (torch.float16, (3, 5))
    assert (
        torch.equal(half, fresh_inputs(torch.rand(3, 5).half(), None, generator()).args[0]) is False
    )


def test_a_constant_example_still_gives_different_samples() -> None:
    (drawn,) = fresh_inputs(torch.zeros(2, 3), 2, generator()).args
    assert float(drawn.std()) > 0.1


def test_numbers_and_tensors_of_another_length_keep_their_size() -> None:
    example = (IMAGE, torch.tensor(0.5), torch.arange(7))
    image, number, table = tiled(example, 5).args
    assert image.shape[0] == 5
    assert (number, len(table)) == (0.5, 7)
    assert float(fresh_inputs(example, 3, generator()).args[1]) == 0.5
