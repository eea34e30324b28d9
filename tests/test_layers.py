"""Every room imports only rooms above it, and no two files need each other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from layers import circles, import_graph, room_of, strays

ROOT = Path(__file__).parent.parent
FOLDERS = {"dynsurgeon": ROOT / "dynsurgeon", "dynsurgeon.cli": ROOT / "cli"}

ROOMS = (
    *("errors", "messages", "progress", "html_table", "checks", "form_names", "settings", "compat"),
    *("operators.forms", "operators.answers", "operators.contract"),  # what a dynamic layer is
    *("registry", "overrides", "config", "recipe", "files"),  # plain values, as the first are
    *("graphs", "deploy"),  # without PyTorch
    *("running", "models", "operators", "runtimes", "timing"),
    *("surgery", "surgery.sites", "surgery.owners", "surgery.cut", "surgery.decide"),
    *("proof", "tensor_file", "storage", "export"),
    *("budgets", "planning", "conversion"),  # these two join surgery and budgets
    *("bench", "training", "training.finetune", "quantization", "workflow"),
    *("inspection", "reports"),
    "__init__",
    *("cli.progress", "cli.render", "cli.output", "cli.options", "cli.work", "cli.commands", "cli"),
    "__main__",
)
"""The order: a room may import those before it, and itself."""

GRAPH = import_graph(FOLDERS)


def test_rooms_import_one_way() -> None:
    assert strays(GRAPH, ROOMS) == set()


def test_no_files_import_in_a_circle() -> None:
    assert circles(GRAPH) == set()


@pytest.mark.parametrize("document", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_paths_in_the_documents_exist(document: str) -> None:
    paths = re.findall(r"`([\w./]+(?:\.py|/))`", (ROOT / document).read_text(encoding="utf-8"))
    places = (ROOT, ROOT / "dynsurgeon")
    assert paths
    assert [path for path in paths if not any((place / path).exists() for place in places)] == []


def test_every_file_is_seen() -> None:
    assert len(GRAPH) == sum(len(list(folder.rglob("*.py"))) for folder in FOLDERS.values())
    assert GRAPH["checks"] == {"errors"}
    assert "cli.options.groups" in GRAPH["cli.app"]  # a relative import
    assert "export" in GRAPH["budgets.meter"]  # one in a function
    assert "proof.receipt" in GRAPH["__init__"]  # one for type checkers


@pytest.fixture
def tree(tmp_path: Path) -> dict[str, Path]:
    """Two rooms of three files that import in every way, against the order and in a circle."""
    files = {
        "__init__": "",
        "low.__init__": "",
        "low.one": "import torch\nfrom dynsurgeon.low import two",
        "low.two": "def f():\n    from dynsurgeon.high.three import x",
        "high.__init__": "",
        "high.three": "if TYPE_CHECKING:\n    from ..low import one",
    }
    for name, text in files.items():
        path = tmp_path / f"{name.replace('.', '/')}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return {"dynsurgeon": tmp_path}


def test_an_import_against_the_order_is_found(tree: dict[str, Path]) -> None:
    graph = import_graph(tree)
    assert strays(graph, ("low", "high", "__init__")) == {("low.two", "high.three")}
    assert strays(graph, ("high", "low", "__init__")) == {("high.three", "low.one")}


def test_a_circle_is_found(tree: dict[str, Path]) -> None:
    graph = import_graph(tree)
    assert circles(graph) == {frozenset({"low.one", "low.two", "high.three"})}
    (tree["dynsurgeon"] / "high" / "three.py").write_text("import dynsurgeon.low")
    assert circles(import_graph(tree)) == set()


def test_the_longest_room_counts() -> None:
    assert room_of("surgery.cut.apply", ROOMS) == "surgery.cut"
    assert room_of("surgery.accept", ROOMS) == "surgery"
    with pytest.raises(LookupError, match="attic lies in no room"):
        room_of("attic", ROOMS)
