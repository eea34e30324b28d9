"""Which module of the package imports which, read from the import statements of its files."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

PACKAGE = "dynsurgeon"

Graph = Mapping[str, set[str]]
"""Names of the modules that each module imports, without the package's own name before them."""


def import_graph(folders: Mapping[str, Path]) -> dict[str, set[str]]:
    """Read every file below `folders`, which are given by the packages that they are.

    Imports in functions and those for type checkers count as well: both say that the one file can't
    be understood, or can't be used, without the other.
    """
    files = {
        _name(package, path.relative_to(folder)): path
        for package, folder in folders.items()
        for path in folder.rglob("*.py")
    }
    graph: dict[str, set[str]] = {}
    for name, path in files.items():
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        found = set(_imported(ast.parse(path.read_text(encoding="utf-8")), package, set(files)))
        graph[_short(name)] = {_short(other) for other in found - {name}}
    return graph


def strays(graph: Graph, rooms: Sequence[str]) -> set[tuple[str, str]]:
    """Return the imports that go from a room to one that comes later."""
    place = {name: rooms.index(room_of(name, rooms)) for name in graph}
    return {(name, o) for name, others in graph.items() for o in others if place[name] < place[o]}


def room_of(name: str, rooms: Sequence[str]) -> str:
    """Return the room of a module: the longest that is its name or the beginning of it.

    Raises:
        LookupError: It lies in none.
    """
    found = [room for room in rooms if f"{name}.".startswith(f"{room}.")]
    if not found:
        raise LookupError(f"{name} lies in no room: give it one, in its place of the order")
    return max(found, key=len)


def circles(graph: Graph) -> set[frozenset[str]]:
    """Return the groups of modules that need one another."""
    reached = {name: _reached(name, graph) for name in graph}
    return {
        frozenset(other for other in reached[name] if name in reached[other])
        for name in graph
        if name in reached[name]
    }


def _reached(start: str, graph: Graph) -> set[str]:
    seen: set[str] = set()
    pending = list(graph[start])
    while pending:
        name = pending.pop()
        if name not in seen:
            seen.add(name)
            pending += graph[name]
    return seen


def _name(package: str, path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join((package, *parts[: -1 if parts[-1] == "__init__" else None]))


def _short(name: str) -> str:
    return name.removeprefix(f"{PACKAGE}.") if name != PACKAGE else "__init__"


def _imported(tree: ast.Module, package: str, known: set[str]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            source = _source(node, package)
            for alias in node.names:
                module = f"{source}.{alias.name}"
                yield from [each for each in (module, source) if each in known][:1]


def _source(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    start = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*start, *([node.module] if node.module else [])])
