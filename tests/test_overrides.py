"""Overrides: of which operator, to which sites, and never to none."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from nets import TinyResNet

import dynsurgeon as ds
from dynsurgeon.overrides import apply_overrides, check_override, effective_keys


def test_a_word_before_a_setting_says_whose_it_is() -> None:
    values = {"conv.reduction": 2, "activation.reduction": 16}
    assert apply_overrides(ds.DynamicConvConfig(), values).reduction == 2
    assert apply_overrides(ds.DynamicReLUConfig(), values).reduction == 16


def test_the_word_alone_names_the_operator() -> None:
    before = ds.DynamicReLUConfig(pieces=3)
    after = apply_overrides(before, {"activation": "C", "conv.experts": 8})
    assert after == ds.DynamicReLUConfig(kind="C", pieces=3)


def test_which_keys_say_something() -> None:
    values = {"conv.experts": 2, "experts": 2, "kind": "A", "activation": "A", "reduction": 2}
    conv = set(effective_keys(ds.DynamicConvConfig(), values))
    assert conv == {"conv.experts", "experts", "reduction"}
    relu = set(effective_keys(ds.DynamicReLUConfig(), values))
    assert relu == {"kind", "activation", "reduction"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"conv.kind": "A"}, "override 'a': unknown setting 'conv.kind'"),
        ({"conv.exprts": 2}, "did you mean 'conv.experts'"),
        ({"conv": "dynamc"}, "unknown conv operator 'dynamc'; did you mean 'dynamic'"),
        ({"activation": "D"}, "unknown activation operator 'D'"),
        ({"conv.experts": 0}, "experts must be a whole number of at least 1, got 0"),
        ({"relu": "A"}, "unknown setting 'relu'"),
    ],
)
def test_what_can_not_be_meant_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ds.ConfigError) as error:
        check_override("a", values)
    assert message in str(error.value)


def plan(**settings: Any) -> ds.Plan:
    return ds.plan(TinyResNet(), torch.randn(2, 3, 12, 12), ds.SurgeryConfig(**settings))


def test_each_site_gets_its_own() -> None:
    sites = plan(overrides={"*": {"conv.experts": 2}, "re:.*conv2": {"conv.experts": 3}})
    counts = {s.name: s.settings.get("experts") for s in sites.recipe.sites}
    assert {n: c for n, c in counts.items() if c is not None} == {
        name: 3 if name.endswith("conv2") else 2 for name, c in counts.items() if c is not None
    }
    assert 3 in counts.values()


@pytest.mark.parametrize(
    "settings",
    [
        {"overrides": {"Conv2d": {"kind": "A"}}},
        {"overrides": {"Conv2d": {"conv.experts": 2, "activation.pieces": 3}}},
        {"overrides": {"*": {"conv.experts": 2}}, "conv": None},
        {"overrides": {"Conv2d": {"experts": 2}}, "exclude": ("Conv2d",)},
    ],
    ids=["of another kind", "one of two", "left alone", "excluded"],
)
def test_an_override_without_effect_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ds.ConfigError, match="has no effect: none of the"):
        plan(**settings)
