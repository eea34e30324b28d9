"""Every command and example of the README works as it is printed."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from cli_helpers import CommandLine, cli
from finetune_helpers import write_images
from narrow_resnets import NarrowResNet

__all__ = ["cli"]

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
INDENTED = re.findall(r"^ {4}(\S.*)$", README, flags=re.MULTILINE)
COMMANDS = [line.partition("#")[0].strip() for line in INDENTED if line.startswith("dynsurgeon ")]
QUICK = ("dynsurgeon plan", "dynsurgeon models")


def run(command: str, folder: Path) -> str:
    program = Path(sys.executable).parent / "dynsurgeon"
    words = [str(program), *shlex.split(command)[1:]]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_readme_shows_commands() -> None:
    assert len(COMMANDS) >= 5


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith(QUICK)])
def test_quick_commands(command: str, cli: CommandLine) -> None:
    done = cli(*shlex.split(command)[1:])  # in this process, which has imported torch
    assert done.code == 0, done.err
    assert done.out


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_all_commands_in_order(tmp_path: Path) -> None:
    write_images(tmp_path / "photos", ["cat", "dog"], 20)
    for command in COMMANDS:
        assert run(command, tmp_path)


@pytest.mark.parametrize("narrow", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_the_python_example(narrow: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The full size is slow to write and to verify; every line and pattern is the same without.
    if narrow:
        monkeypatch.setattr("torchvision.models.resnet18", lambda: NarrowResNet("resnet10"))
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    exec(compile(example, "README.md", "exec"), {"__name__": "readme"})
    assert (tmp_path / "resnet18-64.onnx").exists()


def test_make_has_the_targets() -> None:
    targets = [line.split()[1] for line in INDENTED if line.startswith("make ")]
    makefile = (ROOT / "Makefile").read_text()
    assert targets == ["demo", "test"]
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in targets)


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert all((ROOT / link).exists() for link in links)
