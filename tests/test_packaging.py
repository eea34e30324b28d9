"""What is installed, and that nothing that should be is forgotten."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

import dynsurgeon

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUPTOOLS = PROJECT["tool"]["setuptools"]


def packages_on_disk() -> set[str]:
    inits = [*(ROOT / "dynsurgeon").rglob("__init__.py"), *(ROOT / "cli").rglob("__init__.py")]
    found = {".".join(init.parent.relative_to(ROOT).parts) for init in inits}
    return {f"dynsurgeon.{name}" if name.startswith("cli") else name for name in found}


def test_every_package_is_installed() -> None:
    assert set(SETUPTOOLS["packages"]) == packages_on_disk()


def test_every_folder_with_modules_is_a_package() -> None:
    files = [*(ROOT / "dynsurgeon").rglob("*.py"), *(ROOT / "cli").rglob("*.py")]
    folders = {path.parent for path in files}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


def test_the_command_line_is_no_global_package() -> None:
    assert SETUPTOOLS["package-dir"]["dynsurgeon.cli"] == "cli"
    module = importlib.util.find_spec("dynsurgeon.cli.app")
    assert module is not None
    assert module.origin is not None
    assert Path(module.origin).parent.name == "cli"


def test_the_command_is_an_entry_point() -> None:
    (script,) = entry_points(group="console_scripts", name="dynsurgeon")
    assert script.value == "dynsurgeon.cli.app:main"


def test_types_are_shipped() -> None:
    assert (Path(dynsurgeon.__file__).parent / "py.typed").exists()
    assert "py.typed" in SETUPTOOLS["package-data"]["dynsurgeon"]


def test_dependencies_are_ranges() -> None:
    project = PROJECT["project"]
    extras = [req for group in project["optional-dependencies"].values() for req in group]
    for requirement in (*project["dependencies"], *extras):
        if not requirement.startswith("dynsurgeon["):
            assert re.fullmatch(r"[\w-]+>=[\d.]+", requirement), requirement


@pytest.mark.parametrize("extra", ["timm", "train", "report", "demo", "test", "dev"])
def test_extras(extra: str) -> None:
    assert PROJECT["project"]["optional-dependencies"][extra]


def test_the_license_is_there() -> None:
    assert PROJECT["project"]["license"] == "Apache-2.0"
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text


def test_the_public_names_are_public() -> None:
    for name in dynsurgeon.__all__:
        assert getattr(dynsurgeon, name).__doc__, name
