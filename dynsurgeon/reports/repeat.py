"""The commands that make a directory again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from typing import Any

from dynsurgeon.config import SurgeryConfig
from dynsurgeon.reports.contents import Contents
from dynsurgeon.training.finetune.settings import FinetuneSettings

CONFIG = "config.toml"


def commands(contents: Contents) -> list[str]:
    """Return the commands, the first one on top; none if nobody recorded how the model is built."""
    origin = contents.recipe.origin or {}
    if not origin.get("model"):
        return []
    words = ["dynsurgeon", "convert", str(origin["model"])]
    words += ["--weights", str(origin.get("weights") or "DEFAULT")]
    words += ["--input-size", *map(str, origin.get("input_size") or ())]
    for key, value in (origin.get("arguments") or {}).items():
        words += ["--model-arg", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]
    if contents.recipe.seed:
        words += ["--seed", str(contents.recipe.seed)]
    if config_lines(contents):
        words += ["--config", CONFIG]
    training = contents.training
    if contents.receipt.get("calibration") or (training and _calibrated(contents)):
        words += ["--calibrate", "FOLDER"]
    if training is None:
        words += _onnx(contents.receipt.get("onnx"))
    words += ["--output", str(training["from"]) if training else contents.name]
    found = [shlex.join(words)]
    if training is None:
        return found
    head = ["--reset-head", "auto"] if "head" in origin else []
    return [*found, _finetune(contents.name, training, head)]


def _calibrated(contents: Contents) -> bool:
    return bool((contents.receipt.get("start") or {}).get("calibration"))


def _onnx(found: Mapping[str, Any] | None) -> list[str]:
    """Return the options that the file tells of; its form follows from them, or was the fastest."""
    if found is None:
        return ["--no-onnx"]
    rounding = found.get("rounding")
    words = ["--batch", str(found["batch"])] if found.get("batch") else []
    words += ["--target", str(found["target"])] if found.get("target") else []
    if rounding:
        words += ["--precision" if rounding == "fp16" else "--bank", str(rounding)]
    for proof in found.get("runtimes") or ():
        words += ["--runtime", str(proof["name"])]
    return words


def config_lines(contents: Contents) -> list[str]:
    """Return the settings that differ from the defaults, as a file in TOML."""
    plain = SurgeryConfig().to_dict()
    lines, tables = [], []
    for key, value in contents.recipe.config.items():
        if value == plain.get(key) or key == "seed":  # the seed is an option of the command
            continue
        if isinstance(value, Mapping):
            inside = list(_changed(value, plain.get(key)))
            tables += ["", f"[{_key(key)}]", *inside] if inside else []
        else:  # TOML has no null
            lines.append(f"{_key(key)} = {_toml(False if value is None else value)}")
    return [*lines, *tables]


def _changed(values: Mapping[str, Any], plain: Any) -> Iterator[str]:
    # Another operator's settings have defaults of their own: then all are written.
    same = isinstance(plain, Mapping) and values.get("operator") == plain.get("operator")
    defaults = plain if same else {}
    for key, value in values.items():
        if value is not None and value != defaults.get(key):
            yield f"{_key(key)} = {_toml(value)}"


def _key(key: str) -> str:
    return key if key.replace("_", "").isalnum() and key.isascii() else json.dumps(key)


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        inside = (f"{_key(key)} = {_toml(each)}" for key, each in value.items())
        return "{ " + ", ".join(inside) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)  # numbers, true and false, and strings read the same in both


NAMES = {"temperature_start": "temperature"}
"""Settings whose option has another name."""


def _finetune(name: str, training: Mapping[str, Any], head: list[str]) -> str:
    words = ["dynsurgeon", "finetune", str(training.get("from", "DIR")), "--data", "FOLDER", *head]
    plain, settings = asdict(FinetuneSettings()), training.get("settings") or {}
    for field in fields(FinetuneSettings):
        value = settings.get(field.name)
        if field.name not in settings or value is None or value == plain[field.name]:
            continue
        option = "--" + NAMES.get(field.name, field.name).replace("_", "-")
        words += list(_option(option, value, plain[field.name]))
    return shlex.join([*words, "--output", name])


def _option(option: str, value: Any, default: Any) -> Iterator[str]:
    if isinstance(value, bool):
        yield option if value else option.replace("--", "--no-", 1)
    elif isinstance(value, (list, tuple)):
        if list(value) != list(default or ()):
            for each in value:
                yield from (option, str(each))
    else:
        yield from (option, str(value))
