from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nets import TinyNet, TinyResNet
from torch import nn

import dynsurgeon as ds
from dynsurgeon.operators import DynamicReLUC, KernelAttention
from dynsurgeon.training.schedule import annealing_steps


def converted(kind: Any = "B") -> nn.Module:
    net = TinyResNet()
    config = ds.SurgeryConfig(activation=ds.DynamicReLUConfig(kind=kind))
    return ds.convert(net, net.example(), config)


def temperatures(model: nn.Module, kind: type[nn.Module]) -> set[float]:
    return {float(m.get_buffer("temperature")) for m in model.modules() if isinstance(m, kind)}


def test_the_papers_schedule_has_exact_ends() -> None:
    values = [ds.temperature_at(step, 10) for step in range(12)]
    assert values[0] == 30.0
    assert values[10] == values[11] == 1.0
    assert values[5] == 15.5


@given(st.integers(1, 10_000), st.floats(0.01, 1e4), st.floats(0.01, 1e4), st.integers(-5, 10_005))
def test_it_is_linear_and_never_leaves_its_range(
    steps: int, start: float, end: float, step: int
) -> None:
    value = ds.temperature_at(step, steps, start, end)
    share = min(max(step / steps, 0.0), 1.0)
    assert value == pytest.approx(start * (1 - share) + end * share, rel=1e-9)
    assert ds.temperature_at(steps, steps, start, end) == end
    assert ds.temperature_at(0, steps, start, end) == start


def test_the_model_follows_the_schedule() -> None:
    model = converted("C")
    schedule = ds.TemperatureSchedule(model, start=30.0, end=1.0, steps=4)
    kernels, spatial = [], []
    for _ in range(6):
        kernels.append(temperatures(model, KernelAttention))
        spatial.append(temperatures(model, DynamicReLUC))
        schedule.step()
    assert kernels == [{30.0}, {22.75}, {15.5}, {8.25}, {1.0}, {1.0}]
    assert spatial == [{10.0}, {7.75}, {5.5}, {3.25}, {1.0}, {1.0}]


def test_a_resumed_schedule_goes_on_where_it_was() -> None:
    first = converted()
    schedule = ds.TemperatureSchedule(first, start=20.0, end=2.0, steps=7)
    for _ in range(3):
        schedule.step()
    state, weights = schedule.state_dict(), first.state_dict()
    assert all(isinstance(value, (int, float)) for value in state.values())

    second = converted()
    second.load_state_dict(weights)
    resumed = ds.TemperatureSchedule(second, steps=99)
    resumed.load_state_dict(state)
    for _ in range(6):
        assert temperatures(second, KernelAttention) == temperatures(first, KernelAttention)
        assert resumed.temperature == schedule.temperature
        schedule.step()
        resumed.step()
    assert temperatures(second, KernelAttention) == {2.0}


def test_the_temperature_is_saved_with_the_model() -> None:
    model = converted()
    ds.TemperatureSchedule(model, start=9.0, steps=3)
    reloaded = converted()
    reloaded.load_state_dict(model.state_dict())
    assert temperatures(reloaded, KernelAttention) == {9.0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"start": 0}, "start must be a number above 0, got 0"),
        ({"end": float("nan")}, "end must be a finite number, got nan"),
        ({"spatial_start": True}, "spatial_start must be a finite number, got True"),
        ({"steps": 0}, "steps must be a whole number of at least 1, got 0"),
        ({"steps": 2.5}, "steps must be a whole number of at least 1, got 2.5"),
    ],
)
def test_what_is_refused(arguments: dict[str, Any], message: str) -> None:
    model = converted()
    with pytest.raises(ds.ConfigError, match=message):
        ds.TemperatureSchedule(model, **arguments)
    assert temperatures(model, KernelAttention) == {30.0}


def test_a_static_model_has_no_temperature(tiny_resnet: TinyNet) -> None:
    with pytest.raises(ds.UnsupportedModelError, match="no module has a temperature"):
        ds.TemperatureSchedule(tiny_resnet, steps=3)


def test_steps_from_the_length_of_a_training() -> None:
    assert annealing_steps(100, None, 0.25) == 25
    assert annealing_steps(1, None, 0.25) == 1
    assert annealing_steps(float("inf"), 12, 0.25) == 12
    with pytest.raises(ds.ConfigError, match="no known number of steps; give the callback steps"):
        annealing_steps(float("inf"), None, 0.5)
    with pytest.raises(ds.ConfigError, match="share must be above 0 and at most 1, got 0"):
        annealing_steps(10, None, 0)


def test_it_reaches_through_a_wrapper() -> None:
    model = nn.ModuleDict({"module": converted()})
    ds.TemperatureSchedule(model, start=3.0, steps=2)
    assert temperatures(model, KernelAttention) == {3.0}
