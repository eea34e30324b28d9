from __future__ import annotations

import os

import pytest

from dynsurgeon.timing.interleave import Timing
from dynsurgeon.timing.noise import LOAD_LIMIT, SPREAD_LIMIT, noise_warning, others_load

STEADY = Timing((1.0, 1.01, 1.02, 1.0))
SHAKY = Timing((1.0, 1.5, 1.0, 2.0))


def test_a_quiet_machine_gets_no_warning() -> None:
    assert noise_warning([STEADY], 0.1) is None
    assert noise_warning([STEADY], None) is None
    assert noise_warning([], LOAD_LIMIT) is None


def test_a_spread_is_named_with_its_size() -> None:
    assert SHAKY.spread > SPREAD_LIMIT
    text = noise_warning([STEADY, SHAKY], 0.1)
    assert text is not None
    assert f"{SHAKY.spread:.0%}" in text
    assert "other programs" not in text


def test_a_load_is_named_with_its_size() -> None:
    text = noise_warning([STEADY], 3.25)
    assert text is not None
    assert "load average 3.2" in text
    assert "spread" not in text


def test_both_are_named() -> None:
    text = noise_warning([SHAKY], 3.0)
    assert text is not None
    assert "spread" in text
    assert "load average" in text


def test_a_system_without_a_load_average(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> tuple[float, float, float]:
        raise OSError

    monkeypatch.setattr(os, "getloadavg", none)
    assert others_load() is None
    monkeypatch.setattr(os, "getloadavg", lambda: (1.5, 0.0, 0.0))
    assert others_load() == 1.5
