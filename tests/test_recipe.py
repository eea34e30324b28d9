from __future__ import annotations

import copy
import json
from functools import cache
from typing import Any

import pytest
from nets import TinyNet, TinyResNet
from surgery_nets import EVERY, Arguments
from torch import nn

import dynsurgeon as ds
from dynsurgeon.recipe import FORMAT, Recipe, attach_recipe, recipe_of


def recipe() -> Recipe:
    net = Arguments()
    return ds.plan(net, net.example(), EVERY).recipe


def values() -> dict[str, Any]:
    result: dict[str, Any] = json.loads(_text())
    return result


@cache
def _text() -> str:
    return recipe().to_json()


def test_json_and_back(tiny_net: TinyNet) -> None:
    original = ds.plan(tiny_net, tiny_net.example(), EVERY).recipe
    again = Recipe.from_json(original.to_json())
    # JSON has no tuples: the forms hold lists then, which `build` reads.
    assert again.to_json() == original.to_json()
    assert [site.name for site in again.sites] == [site.name for site in original.sites]
    assert again.owners == original.owners


def test_it_holds_names_and_numbers() -> None:
    text = recipe().to_json()
    assert json.loads(text)["format"] == FORMAT
    assert text.startswith('{\n  "format": 1,')
    assert "<" not in text  # the repr of an object


def test_a_recipe_of_an_earlier_version_says_nothing_of_a_fit() -> None:
    old = values()
    assert old.pop("fitted") is False
    assert Recipe.from_json(json.dumps(old)).fitted is None
    assert Recipe.from_json(json.dumps({**old, "fitted": True})).fitted is True
    with pytest.raises(ds.StorageError, match="'fitted' is a str"):
        Recipe.from_json(json.dumps({**old, "fitted": "yes"}))


def test_origin_and_digest_are_kept() -> None:
    text = json.dumps({**values(), "origin": {"model": "resnet18"}, "sha256": "00"})
    again = Recipe.from_json(text)
    assert again.origin == {"model": "resnet18"}
    assert again.sha256 == "00"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "3",
        "[]",
        '"recipe"',
        "{}",
        '{"format": 1}',
        '{"format": 99, "sites": [], "owners": []}',
        '{"format": "1", "sites": [], "owners": []}',
        '{"format": 1, "sites": 3, "owners": []}',
        '{"format": 1, "sites": "abc", "owners": []}',
        '{"format": 1, "sites": [3], "owners": []}',
        '{"format": 1, "sites": [{}], "owners": []}',
        '{"format": 1, "sites": [], "owners": [{"name": "x"}]}',
        '{"format": 1, "sites": [], "owners": {}, "more": 1}',
        "[" * 100_000,
        '{"format": 1, "sites": ' + "[" * 100_000,
        '{"a":' * 50_000,
        "\x00",
    ],
)
def test_what_is_no_recipe_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ds.StorageError) as error:
        Recipe.from_json(text)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


CHANGES: list[tuple[list[Any], Any]] = [
    (["sites", 0, "name"], 3),
    (["sites", 0, "name"], None),
    (["sites", 0, "name"], ["stem"]),
    (["sites", 0, "operator"], 3),
    (["sites", 0, "place"], {}),
    (["sites", 0, "dtype"], 32),
    (["sites", 0, "settings"], "experts=4"),
    (["sites", 0, "settings"], None),
    (["sites", 0, "channels"], "8"),
    (["sites", 0, "channels"], 8.0),
    (["sites", 0, "form"], "relu"),
    (["sites", 0, "inplace"], "yes"),
    (["sites", 0, "surprise"], 1),
    (["owners", 0, "name"], None),
    (["owners", 0, "constants"], [1]),
    (["owners", 0, "constants"], {"x": {"a": [1]}}),
    (["owners", 0, "calls"], [1]),
    (["owners", 0, "calls"], {"eval": 3}),
    (["owners", 0, "calls"], {"eval": [["one"]]}),
    (["owners", 0, "calls"], {"eval": [[3, None]]}),
    (["owners", 0, "calls"], {"eval": [["function:relu", 3]]}),
    (["config"], 3),
    (["seed"], "0"),
    (["seed"], None),
    (["origin"], "resnet18"),
    (["versions"], [1]),
    (["sha256"], 3),
    (["surprise"], 1),
]


@pytest.mark.parametrize(("path", "value"), CHANGES)
def test_a_value_of_another_kind_is_refused(path: list[Any], value: Any) -> None:
    tree = values()
    place: Any = tree
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(ds.StorageError, match="not a valid recipe: "):
        Recipe.from_json(json.dumps(tree))


def test_the_recipe_travels_with_the_model(tiny_resnet: TinyNet) -> None:
    dynamic = ds.convert(tiny_resnet, tiny_resnet.example())
    assert recipe_of(dynamic) == ds.plan(tiny_resnet, tiny_resnet.example()).recipe
    assert recipe_of(copy.deepcopy(dynamic)) == recipe_of(dynamic)
    assert not any("recipe" in key for key in dynamic.state_dict())
    with pytest.raises(ds.UnsupportedModelError, match="this TinyResNet was not converted"):
        recipe_of(tiny_resnet)
    with pytest.raises(ds.UnsupportedModelError, match="this DataParallel was not converted"):
        recipe_of(nn.DataParallel(dynamic))


def test_a_recipe_can_be_attached() -> None:
    net = TinyResNet()
    attach_recipe(net, recipe())
    assert recipe_of(net) == recipe()
