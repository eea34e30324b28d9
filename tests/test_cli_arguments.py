"""Words of a command line become the values that they stand for."""

from __future__ import annotations

import pytest

from dynsurgeon.cli.options.arguments import join_sizes, parse_model_arguments, parse_size
from dynsurgeon.errors import ConfigError


@pytest.mark.parametrize(
    ("words", "joined"),
    [
        (["m", "--input-size", "3", "224", "224"], ["m", "--input-size", "3 224 224"]),
        (["--input-size", "3", "16", "8", "8", "m"], ["--input-size", "3 16 8 8", "m"]),
        (["m", "--input-size", "9", "--seed", "1"], ["m", "--input-size", "9", "--seed", "1"]),
        (["m", "--input-size", "3,8,8"], ["m", "--input-size", "3,8,8"]),
        (["m", "--input-size"], ["m", "--input-size"]),
        (["m", "--seed", "1"], ["m", "--seed", "1"]),
        (["--input-size", "3", "-8"], ["--input-size", "3 -8"]),
    ],
)
def test_all_numbers_after_the_option_are_the_size(words: list[str], joined: list[str]) -> None:
    assert join_sizes(words) == joined


@pytest.mark.parametrize("text", ["3 224 112", "3,224,112", "3x224x112", " 3, 224 112 "])
def test_sizes_are_read_in_every_common_form(text: str) -> None:
    assert parse_size(text) == (3, 224, 112)


def test_no_size_is_none() -> None:
    assert parse_size(None) is None


@pytest.mark.parametrize("text", ["", "three", "3 -4", "3 0 4", "3.5", "3 ²"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="whole numbers"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10", 10),
        ("0.5", 0.5),
        ("true", True),
        ("False", False),
        ("none", None),
        ("'10'", "10"),
        ("relu", "relu"),
        ("a=b", "a=b"),
        ("", ""),
        ("(1, 2)", [1, 2]),
        ("[1, 'x']", [1, "x"]),
    ],
)
def test_model_arguments_are_literals_or_text(text: str, value: object) -> None:
    assert parse_model_arguments([f"key={text}"]) == {"key": value}


@pytest.mark.parametrize("pair", ["key", "=3", "2x=3", "a-b=3"])
def test_model_arguments_need_a_name_and_a_value(pair: str) -> None:
    with pytest.raises(ConfigError, match="KEY=VALUE"):
        parse_model_arguments([pair])


def test_a_model_argument_comes_once() -> None:
    with pytest.raises(ConfigError, match="a is given twice"):
        parse_model_arguments(["a=1", "a=2"])


@pytest.mark.parametrize("text", ["{1, 2}", "b'x'", "1j"])
def test_values_that_a_recipe_could_not_keep_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="can't be a"):
        parse_model_arguments([f"key={text}"])
