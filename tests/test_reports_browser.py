"""Reports in a real browser: nothing is cut, nothing is asked for, sorting and filtering work."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import pytest
import torch
from browser import Browser, browser
from cli_helpers import CommandLine, cli
from finetune_helpers import write_images
from report_helpers import HOSTILE, chain, write_directory
from torchvision.models import resnet18

import dynsurgeon as ds
from dynsurgeon.reports.page import write_report

__all__ = ["browser", "cli"]

pytest.importorskip("jinja2")
pytestmark = pytest.mark.slow

CUT = """
const cut = [];
if (document.documentElement.scrollWidth > window.innerWidth) cut.push("the page is too wide");
for (const element of document.querySelectorAll("main *")) {
  const style = getComputedStyle(element);
  const shown = element.getClientRects().length > 0;
  if (!shown || element.closest(".scroll, svg")) continue;
  const own = Array.from(element.childNodes).some((n) => n.nodeType === 3 && n.data.trim());
  const box = element.getBoundingClientRect();
  if (own && (box.left < -0.5 || box.right > window.innerWidth + 0.5)) {
    cut.push(`${element.tagName}.${element.className} lies outside: ${element.textContent}`);
  }
  if (own && style.overflow !== "visible" && element.scrollWidth > element.clientWidth + 1) {
    cut.push(`${element.tagName}.${element.className} is cut: ${element.textContent}`);
  }
}
return cut;
"""
NAMES_SHOWN = """
return Array.from(document.querySelectorAll("#sites tbody tr:not([hidden])"))
  .map((row) => row.cells[1].dataset.value);
"""


def check_whole(browser: Browser, page: Path) -> None:
    """Open a page narrow and wide, light and dark: no complaint, no request, nothing cut."""
    assert page.stat().st_size < 3_000_000
    for width in (400, 1400):
        for dark in (False, True):
            browser.open(page, width, dark=dark)
            assert (
                browser.run(
                    "document.querySelectorAll('details').forEach(d => d.open = true);\n" + CUT
                )
                == []
            )
            assert browser.errors() == []
            assert browser.requests() == [page.resolve().as_uri()]


def sort_by(browser: Browser, column: int) -> list[str]:
    browser.run(f"document.querySelectorAll('#sites th button')[{column}].click()")
    names: list[str] = browser.run(NAMES_SHOWN)
    return names


def choose(browser: Browser, words: str, kind: str = "") -> list[str]:
    browser.run(
        "const f = document.getElementById('filter'), k = document.getElementById('kind');"
        "f.value = arguments[0]; k.value = arguments[1];"
        "f.dispatchEvent(new Event('input')); k.dispatchEvent(new Event('change'));",
        words,
        kind,
    )
    names: list[str] = browser.run(NAMES_SHOWN)
    return names


def test_resnet18(browser: Browser, tmp_path: Path) -> None:
    torch.manual_seed(0)
    done = ds.convert_to_directory(
        resnet18().eval(), torch.randn(2, 3, 64, 64), tmp_path / "dir", export=None
    )
    check_whole(browser, write_report(done.directory))
    assert browser.run("return document.title") == "dir: 36 of 37 sites dynamic"


def test_a_fine_tuned_network(browser: Browser, cli: CommandLine) -> None:
    write_images(cli.directory / "images", "abcde", 5)
    size = ("--input-size", "3", "8", "8")
    code = ("--model", "net.py:build")
    assert cli("convert", "net.py:build", *size, "--relu", "C", "--no-onnx", "-o", "dyn").code == 0
    training = ("--epochs", "2", "--batch", "8", "--cpu", "--baseline", "--report")
    done = cli("finetune", "dyn", *code, "--data", "images", *training)
    assert done.code == 0, done.err
    assert cli("inspect", "dyn-finetuned", *code, "--images", "images").code == 0
    assert cli("report", "dyn-finetuned").code == 0
    page = cli.directory / "dyn-finetuned" / "report.html"
    check_whole(browser, page)
    broken = "return Array.from(document.images).filter(i => !i.naturalWidth).length"
    assert browser.run("return document.images.length") > 10
    assert browser.run(broken) == 0


def test_five_hundred_sites(browser: Browser, tmp_path: Path) -> None:
    check_whole(browser, write_report(write_directory(tmp_path / "dir", chain(500))))


def test_a_hostile_name_takes_nothing_over(browser: Browser, tmp_path: Path) -> None:
    names = ["a.conv", f"{HOSTILE}.relu", "'\"><script>document.title='taken'</script>.conv"]
    page = write_report(write_directory(tmp_path / "dir", names, model=HOSTILE))
    check_whole(browser, page)
    browser.run("document.querySelectorAll('.cell').forEach(cell => cell.focus())")
    assert browser.run("return document.title").startswith(HOSTILE)
    assert browser.run("return document.images.length") == 0
    assert "<script>" in browser.run("return document.getElementById('about').textContent")


def test_the_table_is_sorted_and_filtered(browser: Browser, tmp_path: Path) -> None:
    names = chain(30)
    browser.open(write_report(write_directory(tmp_path / "dir", names)), 1400)
    assert browser.run(NAMES_SHOWN) == names
    assert sort_by(browser, 0) == names[::-1]
    assert sort_by(browser, 5)[0] == names[0]  # nothing was added to the first, which is static
    by_difference = sort_by(browser, 7)
    assert by_difference[-1] == names[0]  # nothing was measured there
    assert sort_by(browser, 7)[-1] == names[0]
    state = "return document.querySelectorAll('#sites th')[7].getAttribute('aria-sort')"
    assert browser.run(state) == "descending"
    assert set(choose(browser, "BLOCKS.1 relu")) == {
        n for n in names if "blocks.1" in n and "relu" in n
    }
    assert choose(browser, "", "static") == names[:1]
    assert browser.run("return document.getElementById('count').textContent") == "1 of 30 sites"
    assert choose(browser, "no such site") == []
    assert len(choose(browser, "")) == 30


def test_the_map_is_walked_by_keyboard(browser: Browser, tmp_path: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    names = chain(12)
    browser.open(write_report(write_directory(tmp_path / "dir", names)), 400)
    assert browser.run("return document.querySelectorAll('.cell[tabindex=\"0\"]').length") == 1
    browser.run("document.querySelector('.cell').focus()")
    for key in (Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT, Keys.END):
        browser.driver.switch_to.active_element.send_keys(key)
    about = "return document.getElementById('about').textContent"
    assert browser.run(about).startswith(names[-1])
    browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
    assert browser.run("return location.hash") == "#site-12"


def test_on_paper_a_site_is_a_line(browser: Browser, tmp_path: Path) -> None:
    pypdf = pytest.importorskip("pypdf")
    page = write_report(write_directory(tmp_path / "dir", chain(200), trained=True))
    browser.open(page, 1400)
    paper = {"paperWidth": 8.27, "paperHeight": 11.69}
    found = browser.driver.execute_cdp_cmd("Page.printToPDF", paper)
    pages = pypdf.PdfReader(io.BytesIO(base64.b64decode(found["data"]))).pages
    assert len(pages) < 10
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    browser.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 718, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )
    assert browser.run(CUT) == []
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
