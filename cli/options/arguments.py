"""From the words of a command line to values."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import Any

from dynsurgeon.errors import ConfigError

SIZE_OPTION = "--input-size"
WORDS = {"true": True, "false": False, "none": None}


def join_sizes(arguments: Sequence[str]) -> list[str]:
    """Turn ``--input-size 3 224 224`` into one value, since an option has a fixed number of them.

    All whole numbers that follow the option belong to it.
    """
    joined: list[str] = []
    rest = list(arguments)
    while rest:
        joined.append(rest.pop(0))
        if joined[-1] == SIZE_OPTION:
            size = list(takewhile(re.compile(r"-?\d+").fullmatch, rest))
            joined += [" ".join(size)] if size else []
            del rest[: len(size)]
    return joined


def parse_size(text: str | None) -> tuple[int, ...] | None:
    """Read ``"3 224 224"``, ``"3,224,224"`` or ``"3x224x224"``.

    Raises:
        ConfigError: It holds something else than whole numbers above 0.
    """
    if text is None:
        return None
    parts = re.split(r"[\s,x]+", text.strip())
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ConfigError(f"--input-size takes whole numbers, as in 3 224 224, got {text!r}")
    return tuple(int(part) for part in parts)


def parse_model_arguments(pairs: Iterable[str] | None) -> dict[str, Any]:
    """Read ``KEY=VALUE`` pairs; a value is a Python literal, or else text.

    Values are what JSON makes of them (a tuple becomes a list), because a recipe keeps them so.

    Raises:
        ConfigError: A pair has no ``=``, a key is no name or comes twice, or JSON lacks the value.
    """
    arguments: dict[str, Any] = {}
    for pair in pairs or ():
        key, equals, text = pair.partition("=")
        if not equals or not key.isidentifier():
            raise ConfigError(f"--model-arg takes KEY=VALUE, as in num_classes=10, got {pair!r}")
        if key in arguments:
            raise ConfigError(f"--model-arg {key} is given twice")
        arguments[key] = _parse_value(key, text)
    return arguments


def _parse_value(key: str, text: str) -> Any:
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"--model-arg {key} can't be a {type(value).__name__}; use a number, text, true, "
            "false, none, or a list of these"
        ) from error
