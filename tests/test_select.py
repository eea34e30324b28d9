from __future__ import annotations

from typing import Any

import pytest
from nets import TinyNet
from surgery_nets import NamedConv
from torch import nn

import dynsurgeon as ds
from dynsurgeon.surgery.sites.candidates import Candidate
from dynsurgeon.surgery.sites.select import matches, names_exactly


def candidate(name: str = "layer1.0.conv1", static: Any = nn.Conv2d) -> Candidate:
    return Candidate(name, static.__name__, static, static(3, 3, 1))


@pytest.mark.parametrize(
    ("pattern", "selected"),
    [
        ("layer1.0.conv1", True),
        ("layer1.*", True),
        ("layer1.0.conv?", True),
        ("*conv*", True),
        ("layer[12].*", True),
        ("layer1", False),
        ("conv1", False),
        ("LAYER1.*", False),
        ("re:layer1.*", True),
        (r"re:layer\d\.0\.conv1", True),
        ("re:layer1", False),
        ("re:.*conv[12]", True),
        ("Conv2d", True),
        ("conv2d", False),
        ("ReLU", False),
    ],
)
def test_matches(pattern: str, selected: bool) -> None:
    assert matches(pattern, candidate()) == selected


def test_a_subclass_is_meant_by_its_name_and_by_its_bases() -> None:
    mine = Candidate("x", "NamedConv", nn.Conv2d, NamedConv(3, 3, 1))
    assert matches("NamedConv", mine)
    assert matches("Conv2d", mine)


def test_a_function_is_meant_by_its_name() -> None:
    assert matches("F.relu", Candidate("x", "F.relu", None, None))


def test_only_a_full_name_is_exact() -> None:
    assert names_exactly(("a", "layer1.0.conv1"), candidate())
    assert not names_exactly(("layer1.*", "Conv2d"), candidate())


@pytest.mark.parametrize(
    ("option", "pattern", "message"),
    [
        ("include", "layer1.0.conv3", "did you mean 'layer1.0.conv2' or 'layer1.0.conv1' or "),
        ("exclude", "layer1", "it is a container; did you mean 'layer1.*'?"),
        ("exclude", "layer1.0", "it is a container; did you mean 'layer1.0.*'?"),
        ("include", "layer7.*", "did you mean 'layer2.*' or 'layer1.*'"),
        ("include", "Conv3d", "did you mean 'Conv2d' or "),
        ("include", "zzzzzzzz", "the model has 11 sites, see dynsurgeon.plan"),
        ("include", "re:zzz", "the model has 11 sites"),
        ("include", "re:(", "'re:(' is not a regular expression"),
        ("overrides", "layer1.0.conv3", "overrides pattern 'layer1.0.conv3' selects no site"),
    ],
)
def test_a_pattern_that_selects_nothing_is_an_error(
    option: str, pattern: str, message: str, tiny_resnet: TinyNet
) -> None:
    value: Any = {pattern: {"experts": 2}} if option == "overrides" else (pattern,)
    config = ds.SurgeryConfig(**{option: value})
    for run in (ds.plan, ds.convert):
        with pytest.raises(ds.PatternError) as error:
            run(tiny_resnet, tiny_resnet.example(), config)
        assert message in str(error.value)
        assert "\n" not in str(error.value)


def test_one_wrong_pattern_among_right_ones_is_an_error(tiny_resnet: TinyNet) -> None:
    config = ds.SurgeryConfig(include=("layer1.*", "layer3.*"))
    with pytest.raises(ds.PatternError, match=r"layer3\.\*"):
        ds.plan(tiny_resnet, tiny_resnet.example(), config)
