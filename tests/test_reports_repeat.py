"""The commands in a report make the directory again."""

from __future__ import annotations

import json
from pathlib import Path

from report_helpers import chain, write_directory

import dynsurgeon as ds
from dynsurgeon.reports.contents import read_contents
from dynsurgeon.reports.repeat import commands, config_lines


def test_the_configuration_comes_back_from_what_is_printed(tmp_path: Path) -> None:
    import tomllib

    directory = write_directory(tmp_path / "dir", chain(3))
    config = ds.SurgeryConfig(
        conv=ds.ODConvConfig(experts=2),
        activation=None,
        exclude=('a"b', "layer1.*"),
        overrides={"layer4.*": {"conv.experts": 8}},
        seed=3,
    )
    recipe = json.loads((directory / "recipe.json").read_text())
    recipe |= {"config": config.to_dict(), "seed": 3}
    (directory / "recipe.json").write_text(json.dumps(recipe))
    contents = read_contents(directory)
    read = ds.SurgeryConfig.from_dict(
        {**tomllib.loads("\n".join(config_lines(contents))), "seed": 3}
    )
    assert read == config
    assert "--seed 3 --config config.toml" in commands(contents)[0]


def test_the_command_has_what_the_file_was_made_with(tmp_path: Path) -> None:
    directory = write_directory(tmp_path / "dir", chain(3))
    receipt = json.loads((directory / "receipt.json").read_text())
    receipt["onnx"] |= {
        "batch": 1, "rounding": "int8", "target": "openvino", "runtimes": [{"name": "openvino"}]
    }  # fmt: skip
    receipt["calibration"] = {"samples": 8, "sites": [], "notes": []}
    (directory / "receipt.json").write_text(json.dumps(receipt))
    (command,) = commands(read_contents(directory))
    assert "--calibrate FOLDER --batch 1 --target openvino --bank int8" in command
    assert "--runtime openvino --output dir" in command
