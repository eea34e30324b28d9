"""The API pages of the site, made from the table of public names, so that none is forgotten.

mkdocs runs `on_files` (mkdocs.yml, `hooks`). A page lists every public name of the modules that are
its own; a module without a page stops the build.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dynsurgeon

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files


@dataclass(frozen=True)
class ApiPage:
    """A page of the API.

    Attributes:
        name: Its file below ``api/``, without ending.
        title: Its heading.
        text: What it says first.
        modules: The modules of dynsurgeon whose public names it lists, in this order.
    """

    name: str
    title: str
    text: str
    modules: tuple[str, ...]

    @property
    def path(self) -> str:
        """Where it lies below the folder of the site's sources."""
        return f"api/{self.name}.md"

    def names(self) -> tuple[str, ...]:
        """Return the public names that it lists."""
        return tuple(name for module in self.modules for name in dynsurgeon._MODULES[module])

    def markdown(self) -> str:
        """Return its source, in which mkdocstrings puts each name's documentation."""
        entries = (f"::: dynsurgeon.{name}" for name in self.names())
        return "\n\n".join((f"# {self.title}", self.text, *entries, ""))


PAGES = (
    ApiPage(
        "convert",
        "Plan and convert",
        "What a conversion will do, the conversion itself, and its undoing.",
        (
            *("planning", "conversion", "surgery.cut.restore", "workflow.conversion"),
            *("running.inputs", "surgery.decide.planned", "surgery.decide.rows"),
            "surgery.decide.costs",
        ),
    ),
    ApiPage(
        "settings",
        "Settings",
        "Frozen dataclasses. Whatever they say wrongly is a `ConfigError` when they are made.",
        ("config", "settings"),
    ),
    ApiPage(
        "prove",
        "Prove",
        "The original against the dynamic network, at every site and at the output.",
        ("proof.parity", "proof.receipt"),
    ),
    ApiPage(
        "save",
        "Save and load",
        "A JSON recipe and a file of tensors; no pickle.",
        ("storage", "recipe"),
    ),
    ApiPage(
        "export",
        "Export to ONNX",
        "A file gets its name when onnxruntime has given the network's numbers with it.",
        (
            *("export", "export.result", "export.detectors.matching", "workflow.export_settings"),
            *("quantization.quantize", "quantization.compare"),
        ),
    ),
    ApiPage(
        "train",
        "Train",
        "Fine-tuning as the command line does it, and its parts for a loop of your own.",
        (
            *("training.finetune.engine", "training.finetune.data", "training.finetune.settings"),
            *("training.finetune.results", "training.finetune.listener"),
            *("training.calibrate", "training.groups", "training.bank_steps"),
            *("training.batch_norm", "training.temperature", "training.schedule"),
            "training.report",
        ),
    ),
    ApiPage(
        "inspect",
        "Inspect",
        "What the attention does on images: as data, and as the pictures of a report.",
        ("inspection",),
    ),
    ApiPage(
        "layers",
        "Layers and operators",
        "The dynamic layers, which stand alone too, and what an operator of your own is made of.",
        ("operators", "registry"),
    ),
    ApiPage(
        "errors",
        "Errors",
        "One tree. Each says what was wrong, where, and what to do; the command line prints it on "
        "one line, and exits with the class's `exit_code`.",
        ("errors",),
    ),
)


def check_pages(pages: tuple[ApiPage, ...] = PAGES) -> None:
    """Make sure that every module with public names has one page.

    Raises:
        ValueError: One has none, or several.
    """
    listed = [module for page in pages for module in page.modules]
    for module in {*listed, *dynsurgeon._MODULES}:
        if listed.count(module) != 1 or module not in dynsurgeon._MODULES:
            raise ValueError(
                f"module {module!r} is on {listed.count(module)} pages of docs/hooks/api_pages.py; "
                "each module of dynsurgeon._MODULES must be on one"
            )


def overview(pages: tuple[ApiPage, ...] = PAGES) -> str:
    """Return the source of the page that lists all public names."""
    return "\n".join(_overview(pages))


def _overview(pages: tuple[ApiPage, ...]) -> Iterator[str]:
    yield "# API\n"
    yield "Everything public is imported from `dynsurgeon` itself, here `import dynsurgeon as ds`."
    for page in pages:
        yield f"\n## {page.title}\n\n{page.text}\n"
        yield ", ".join(f"[`{name}`][dynsurgeon.{name}]" for name in page.names())


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages to the site's."""
    from mkdocs.structure.files import File  # only mkdocs needs it

    check_pages()
    sources = {page.path: page.markdown() for page in PAGES}
    for path, text in {"api/index.md": overview(), **sources}.items():
        files.append(File.generated(config, path, content=text))
    return files
