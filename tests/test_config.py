"""Configurations are checked when they are built, and survive JSON."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynsurgeon.config import (
    DynamicConvConfig,
    DynamicReLUConfig,
    MeasureConfig,
    SurgeryConfig,
    apply_overrides,
)
from dynsurgeon.errors import ConfigError
from dynsurgeon.form_names import ExportFormName

BAD_CONV: list[tuple[dict[str, Any], str]] = [
    ({"experts": 0}, "experts must be a whole number of at least 1, got 0"),
    ({"experts": 2.0}, "experts must be a whole number of at least 1, got 2.0"),
    ({"experts": True}, "experts must be a whole number of at least 1, got True"),
    ({"reduction": -4}, "reduction must be a whole number of at least 1, got -4"),
    ({"temperature": 0}, "temperature must be a number above 0, got 0"),
    ({"temperature": -1.0}, "temperature must be a number above 0, got -1.0"),
    ({"temperature": float("inf")}, "temperature must be a finite number, got inf"),
    ({"temperature": float("nan")}, "temperature must be a finite number, got nan"),
    ({"temperature": "hot"}, "temperature must be a finite number, got 'hot'"),
    ({"start": "zero"}, "start must be one of identical, zero-sum, got 'zero'"),
    ({"spread": 0.0}, "spread must be above 0 and at most 3, got 0.0"),
    ({"spread": 4}, "spread must be above 0 and at most 3, got 4"),
    ({"spread": "wide"}, "spread must be a finite number, got 'wide'"),
]

BAD_RELU: list[tuple[dict[str, Any], str]] = [
    ({"kind": "D"}, "kind must be one of A, B, C, got 'D'"),
    ({"kind": ["A"]}, "kind must be one of A, B, C, got ['A']"),
    ({"pieces": 1}, "pieces must be a whole number of at least 2, got 1"),
    ({"reduction": 0}, "reduction must be a whole number of at least 1, got 0"),
    ({"lambda_a": -0.5}, "lambda_a must not be below 0, got -0.5"),
    ({"lambda_b": float("nan")}, "lambda_b must be a finite number, got nan"),
    ({"lambda_b": None}, "lambda_b must be a finite number, got None"),
    ({"temperature": 0.0}, "temperature must be a number above 0, got 0.0"),
    ({"smooth": 1}, "smooth must be true or false, got 1"),
]

BAD_SURGERY: list[tuple[dict[str, Any], str]] = [
    ({"conv": True}, "conv must be an operator's name (dynamic, "),
    (
        {"activation": 3},
        "activation must be an operator's name (A, B, C, ",
    ),
    ({"conv": {"experts": 0}}, "experts must be a whole number of at least 1, got 0"),
    ({"conv": {"expert": 4}}, "unknown setting 'expert'; did you mean 'experts'"),
    ({"activation": {"kin": "A"}}, "unknown setting 'kin'; did you mean 'kind'?"),
    ({"includes": []}, "unknown setting 'includes'; did you mean 'include'"),
    ({"zzz": 1}, "unknown setting 'zzz'"),
    ({"include": "layer1"}, "include must be a tuple of patterns, got the string 'layer1'"),
    ({"exclude": [1]}, "exclude must be a tuple of patterns, got [1]"),
    ({"exclude": 5}, "exclude must be a tuple of patterns, got 5"),
    ({"overrides": ["layer1"]}, "overrides must map patterns to settings, got ['layer1']"),
    ({"overrides": {"a.*": 4}}, "override 'a.*' must be a table of settings, got 4"),
    ({"overrides": {"a": {"exprts": 4}}}, "override 'a': unknown setting 'exprts'; did you mean"),
    ({"overrides": {"a": {"experts": 0}}}, "experts must be a whole number of at least 1, got 0"),
    ({"overrides": {"a": {"kind": "X"}}}, "kind must be one of A, B, C, got 'X'"),
    ({"overrides": {"a": {"temperature": 0}}}, "temperature must be a number above 0, got 0"),
    ({"skip_stem": "no"}, "skip_stem must be true or false, got 'no'"),
    ({"skip_points": None}, "skip_points must be true or false, got None"),
    ({"skip_patchify": 0}, "skip_patchify must be true or false, got 0"),
    ({"skip_frozen": "no"}, "skip_frozen must be true or false, got 'no'"),
    ({"seed": -1}, "seed must be a whole number of at least 0, got -1"),
    ({"seed": 0.5}, "seed must be a whole number of at least 0, got 0.5"),
]
BAD_MEASURE = [
    ({"form": "scann"}, "unknown form 'scann'; did you mean 'scan'?"),
    ({"form": "zzz"}, "unknown form 'zzz'; known forms: rule, auto, scan, portable, plain"),
    ({"form": ["scan"]}, "unknown form ['scan']"),
    ({"form": None}, "unknown form None"),
    ({"form": "scan", "this_cpu": True}, "this_cpu is for form 'auto', which chooses; got form"),
    ({"this_cpu": True}, "this_cpu is for form 'auto', which chooses; got form 'rule'"),
    ({"this_cpu": "yes"}, "this_cpu must be true or false, got 'yes'"),
    ({"threads": 0}, "threads must be a whole number of at least 1, got 0"),
    ({"rounds": 0}, "rounds must be a whole number of at least 1, got 0"),
]


def message_of(build: Any, values: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        build(values)
    assert caught.value.exit_code == 2
    return str(caught.value)


@pytest.mark.parametrize(("values", "message"), BAD_CONV, ids=lambda v: str(v)[:40])
def test_bad_convolution_settings(values: dict[str, Any], message: str) -> None:
    assert message_of(lambda v: DynamicConvConfig(**v), values) == message


@pytest.mark.parametrize(("values", "message"), BAD_RELU, ids=lambda v: str(v)[:40])
def test_bad_activation_settings(values: dict[str, Any], message: str) -> None:
    assert message_of(lambda v: DynamicReLUConfig(**v), values) == message


@pytest.mark.parametrize(("values", "message"), BAD_SURGERY, ids=lambda v: str(v)[:40])
def test_bad_surgery_settings(values: dict[str, Any], message: str) -> None:
    assert message_of(SurgeryConfig.from_dict, values).startswith(message)


@pytest.mark.parametrize(("values", "message"), BAD_MEASURE, ids=lambda v: str(v)[:40])
def test_bad_measure_settings(values: dict[str, Any], message: str) -> None:
    assert message_of(lambda v: MeasureConfig(**v), values).startswith(message)


@pytest.mark.parametrize("form", ["auto", "native"])
def test_this_cpu_goes_with_the_forms_that_are_for_it(form: ExportFormName) -> None:
    assert MeasureConfig(form=form, this_cpu=True).this_cpu


def test_defaults_are_the_papers() -> None:
    conv, activation = DynamicConvConfig(), DynamicReLUConfig()
    assert (conv.experts, conv.reduction, conv.temperature) == (4, 4, 30.0)
    assert (activation.kind, activation.pieces, activation.reduction) == ("B", 2, 8)
    assert (activation.lambda_a, activation.lambda_b, activation.temperature) == (1.0, 0.5, 10.0)
    assert not activation.smooth
    config = SurgeryConfig()
    assert (config.conv, config.activation) == (conv, activation)
    assert config.skip_stem
    assert config.skip_points
    assert config.skip_patchify
    assert config.skip_frozen


def test_none_and_false_leave_a_kind_alone() -> None:
    assert SurgeryConfig.from_dict({"conv": None}).conv is None
    assert SurgeryConfig.from_dict({"activation": False}).activation is None  # TOML has no null
    assert SurgeryConfig.from_dict({"conv": None}).activation == DynamicReLUConfig()


def test_lambdas_may_hold_the_lines_fixed() -> None:
    assert DynamicReLUConfig(lambda_a=0, lambda_b=0.0).lambda_a == 0


def test_lists_become_tuples() -> None:
    config = SurgeryConfig.from_dict({"include": ["a", "b"], "exclude": []})
    assert config.include == ("a", "b")
    assert config.exclude == ()


conv_configs = st.builds(
    DynamicConvConfig,
    experts=st.integers(1, 16),
    reduction=st.integers(1, 16),
    temperature=st.floats(0.01, 100),
    start=st.sampled_from(["identical", "zero-sum"]),
    spread=st.floats(0.01, 3),
)
relu_configs = st.builds(
    DynamicReLUConfig,
    kind=st.sampled_from(["A", "B", "C"]),
    pieces=st.integers(2, 8),
    lambda_a=st.floats(0, 4),
    lambda_b=st.floats(0, 4),
    smooth=st.booleans(),
)
names = st.lists(st.text(max_size=8), max_size=3).map(tuple)
surgery_configs = st.builds(
    SurgeryConfig,
    conv=st.none() | conv_configs,
    activation=st.none() | relu_configs,
    include=names,
    exclude=names,
    overrides=st.dictionaries(st.text(max_size=8), st.just({"experts": 2, "kind": "A"})),
    skip_stem=st.booleans(),
    seed=st.integers(0, 2**40),
)


@given(config=surgery_configs)
def test_survives_json(config: SurgeryConfig) -> None:
    values = json.loads(json.dumps(config.to_dict()))
    assert SurgeryConfig.from_dict(values) == config


def test_to_dict_is_a_copy() -> None:
    config = SurgeryConfig(overrides={"a": {"experts": 2}})
    config.to_dict()["overrides"]["a"]["experts"] = 9
    assert config.overrides["a"]["experts"] == 2


def test_overrides_reach_the_kind_that_knows_them() -> None:
    values = {"experts": 8, "kind": "C", "temperature": 2.0, "reduction": 3}
    conv = apply_overrides(DynamicConvConfig(start="zero-sum"), values)
    expected = {"experts": 8, "reduction": 3, "temperature": 2.0, "start": "zero-sum"}
    assert expected.items() <= asdict(conv).items()
    activation = apply_overrides(DynamicReLUConfig(pieces=3), values)
    expected = {"kind": "C", "temperature": 2.0, "reduction": 3, "pieces": 3}
    assert expected.items() <= asdict(activation).items()
    with pytest.raises(ConfigError):
        apply_overrides(DynamicConvConfig(), {"experts": 0})


@pytest.mark.parametrize("config", [DynamicConvConfig(), DynamicReLUConfig(), SurgeryConfig()])
def test_configurations_are_frozen(config: Any) -> None:
    with pytest.raises(FrozenInstanceError):
        config.seed = 1
