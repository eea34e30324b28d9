"""Links that hold on the site and where the sources are read, such as on GitHub.

Sources in `docs/` link to files beside that folder as ``../tests/nets.py``: on the site that is the
file in the repository, where its address is known (`repo_url`), else plain text. Documents of the
root (`ROOT_PAGES`) become pages too. Where a page says ``ds.plan`` it links to the API. In tables
``11.7M -> 46.4M`` is not broken over lines.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dynsurgeon

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
ROOT_PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
WIDE = ("collections.md", "models.md")
LINK = re.compile(r"\[([^\]]+)\]\(([^)\s:#]+)(#[^)\s]*)?\)")
INLINE_NAME = re.compile(r"<code>(ds\.)?(\w+)(\([^<]*\))?</code>(?!</a>|</autoref>)")

CELL = re.compile(r"(<td[^>]*>)([^<]*)(</td>)")
CHANGE = re.compile(r"(\S+) -&gt; (\S+)")
SHAPE = re.compile(r"\([\d, ]+\)")


def page_link(link: re.Match[str], repository: str) -> str:
    """Return a link of a page in the form that it has on the site.

    Args:
        link: A match of `LINK`.
        repository: The address of the repository, or ``""``.
    """
    text, target, anchor = link[1], link[2], link[3] or ""
    if not target.startswith("../"):
        return link[0]
    path = target.removeprefix("../")
    if path in ROOT_PAGES:
        return f"[{text}]({ROOT_PAGES[path]}{anchor})"
    if not (ROOT / path).exists():
        raise ValueError(f"a page links to {target}, which is not there")
    return f"[{text}]({repository.rstrip('/')}/blob/main/{path}{anchor})" if repository else text


def root_link(link: re.Match[str]) -> str:
    """Return a link of a document of the root as one of a page in `docs/`."""
    text, target, anchor = link[1], link[2], link[3] or ""
    inside = target.removeprefix("docs/")
    return f"[{text}]({inside if inside != target else f'../{target}'}{anchor})"


def root_page(name: str) -> str:
    """Return a document of the root as a page in `docs/` would say it."""
    return LINK.sub(root_link, (ROOT / name).read_text(encoding="utf-8"))


def name_link(found: re.Match[str]) -> str:
    """Return inline code that is a public name as a link to its documentation.

    A bare name counts where it can mean nothing else: a class.
    """
    prefix, name = found[1], found[2]
    if name not in dynsurgeon.__all__ or not (prefix or name != name.lower()):
        return found[0]
    return f'<autoref identifier="dynsurgeon.{name}" optional>{found[0]}</autoref>'


def table_cell(cell: re.Match[str]) -> str:
    """Return a cell of a table in which a change of a number, or a shape, stays on one line."""
    text = CHANGE.sub("\\1&nbsp;→&nbsp;\\2", cell[2])
    return cell[1] + (text.replace(" ", "&nbsp;") if SHAPE.fullmatch(text) else text) + cell[3]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the documents of the root to the site's pages."""
    from mkdocs.structure.files import File

    for name, page in ROOT_PAGES.items():
        files.append(File.generated(config, page, content=root_page(name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, **_: Any) -> str:
    """Bring the links of a page into the site's form, and give wide tables the whole width."""
    if page.file.src_uri in WIDE:
        page.meta["hide"] = ["toc"]
    return LINK.sub(lambda link: page_link(link, config.repo_url or ""), markdown)


def on_page_content(html: str, page: Page, **_: Any) -> str:
    """Link public names in the text of a page, and keep numbers of tables whole."""
    return CELL.sub(table_cell, INLINE_NAME.sub(name_link, html))
