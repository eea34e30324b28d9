"""Whether something looks into what runs is asked of this thread, not of the process."""

from __future__ import annotations

import pytest
import torch

from dynsurgeon.operators import DynamicConv2d, DynamicReLUB
from dynsurgeon.operators.execution.context import is_compiling, is_exporting


def test_another_thread_that_exports_does_not_change_what_runs_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layer, relu, x = DynamicConv2d(3, 4, 3), DynamicReLUB(3), torch.randn(5, 3, 12, 12)
    before = [layer(x), relu(x)]
    for flag in ("_is_compiling_flag", "_is_exporting_flag"):  # as torch.export sets them
        monkeypatch.setattr(torch.compiler, flag, True)
    assert torch.compiler.is_exporting()
    assert not is_exporting()
    assert not is_compiling()
    for one, other in zip([layer(x), relu(x)], before, strict=True):
        assert type(one.grad_fn) is type(other.grad_fn)
        assert torch.equal(one, other)
    mapped = torch.func.vmap(lambda sample: relu(sample[None]))(x)
    torch.testing.assert_close(mapped[:, 0], before[1])
