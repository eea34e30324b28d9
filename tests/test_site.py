"""The site: no public name is forgotten, links hold in both forms, nothing comes from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from api_pages import PAGES, check_pages, overview
from site_links import CELL, INLINE_NAME, LINK, name_link, page_link, root_link, table_cell

import dynsurgeon as ds

ROOT = Path(__file__).parent.parent


def test_every_public_name_is_on_one_page() -> None:
    check_pages()
    listed = [name for page in PAGES for name in page.names()]
    assert sorted(listed) == ds.__all__
    assert all(f"[dynsurgeon.{name}]" in overview() for name in ds.__all__)


def test_a_module_that_is_forgotten_or_listed_twice_stops_the_build() -> None:
    first, *others = PAGES
    shorter = replace(first, modules=first.modules[1:])
    with pytest.raises(ValueError, match="on 0 pages"):
        check_pages((shorter, *others))
    with pytest.raises(ValueError, match="on 2 pages"):
        check_pages((*PAGES, replace(first, modules=first.modules[:1])))


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text()
    assert all(re.search(rf": {page.path}$", navigation, re.MULTILINE) for page in PAGES)


@pytest.mark.parametrize(
    ("source", "on_the_site"),
    [
        ("[a](faq.md#x)", "[a](faq.md#x)"),
        ("[a](../SECURITY.md)", "[a](security.md)"),
        ("[a](../tests/nets.py)", "[a](https://host/us/it/blob/main/tests/nets.py)"),
    ],
)
def test_a_link_of_a_page(source: str, on_the_site: str) -> None:
    assert LINK.sub(lambda link: page_link(link, "https://host/us/it/"), source) == on_the_site


def test_a_link_out_of_the_documents_is_text_where_there_is_no_repository() -> None:
    assert LINK.sub(lambda link: page_link(link, ""), "[a](../tests/nets.py)") == "a"
    with pytest.raises(ValueError, match="is not there"):
        LINK.sub(lambda link: page_link(link, ""), "[a](../tests/no.py)")


def test_a_link_of_a_document_of_the_root() -> None:
    assert LINK.sub(root_link, "[a](docs/faq.md#x) [b](LICENSE)") == "[a](faq.md#x) [b](../LICENSE)"


@pytest.mark.parametrize(
    ("text", "linked"),
    [
        ("ds.plan", True),
        ("ds.plan(model)", True),
        ("Plan", True),
        ("plan", False),
        ("ds.no", False),
    ],
)
def test_public_names_become_links(text: str, linked: bool) -> None:
    html = f"<code>{text}</code>"
    assert (INLINE_NAME.sub(name_link, html) != html) is linked


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("1M -&gt; 2M", "1M&nbsp;→&nbsp;2M"),
        ("(2, 3)", "(2,&nbsp;3)"),
        ("a stem, two maps", "a stem, two maps"),
    ],
)
def test_numbers_in_tables_stay_on_a_line(text: str, shown: str) -> None:
    assert CELL.sub(table_cell, f"<td>{text}</td>") == f"<td>{shown}</td>"


class Requests(HTMLParser):
    """Collects what a page makes a browser fetch by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = {"link": "href", "script": "src", "img": "src", "iframe": "src"}
        self.found += [value for name, value in attrs if value and name == names.get(tag)]


@pytest.mark.slow
def test_the_site_builds_strictly_and_asks_no_other_host(tmp_path: Path) -> None:
    pytest.importorskip("mkdocstrings")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pages = [path.read_text() for path in tmp_path.rglob("*.html")]
    requests = Requests()
    for page in pages:
        requests.feed(page)
    assert requests.found
    assert [url for url in requests.found if re.match(r"(\w+:)?//", url)] == []
    api = "".join(path.read_text() for path in (tmp_path / "api").glob("*.html"))
    assert [name for name in ds.__all__ if f'id="dynsurgeon.{name}"' not in api] == []
