"""The example page says in a browser what torch says: classes, and the attention of each site."""

from __future__ import annotations

import functools
import http.server
import importlib.util
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from browser import Browser, browser
from export_nets import DynamicNet, perturbed
from torch import Tensor, nn
from torchvision.io import write_png

from dynsurgeon.runtimes.web import package_folder

__all__ = ["browser"]

EXAMPLE = Path(__file__).parent.parent / "examples" / "web"
SIZE = 32
MEAN, DEVIATION = [0.4, 0.5, 0.6], [0.2, 0.3, 0.4]
LABELS = ["ant", "bee", "cat", "dog", "<b>elk</b>"]
IMAGES = {"height": SIZE, "width": SIZE, "mean": MEAN, "std": DEVIATION}
ABOUT = {"name": "a tiny network", "preprocessing": IMAGES, "labels": LABELS}
STATUS = "return document.getElementById('status').textContent"
SHARES = """
return Array.from(document.querySelectorAll(`#${arguments[0]} tr`))
  .map((row) => [row.cells[0].textContent, Number(row.dataset.share)]);
"""


@functools.cache
def script() -> ModuleType:
    """The example's script, as a module."""
    spec = importlib.util.spec_from_file_location("web_export", EXAMPLE / "export.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def network() -> nn.Module:
    """A network whose attentions are uneven."""
    return perturbed(DynamicNet())


def prepared(photo: Tensor) -> Tensor:
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, DEVIATION))
    return ((photo / 255 - mean) / std)[None]


def expected(photo: Tensor) -> dict[str, Tensor]:
    with torch.no_grad():
        found: dict[str, Tensor] = script().WithAttention(network())(prepared(photo))
    return {name: values[0] for name, values in found.items()}


def test_the_attentions_are_outputs_of_the_file(tmp_path: Path) -> None:
    from dynsurgeon import deploy

    script().write(network(), torch.randn(1, 3, SIZE, SIZE), tmp_path, ABOUT)
    photo = torch.randint(0, 256, (3, SIZE, SIZE)).byte()
    found = deploy.load(tmp_path / "model.onnx").run(prepared(photo).numpy())
    wanted = expected(photo)
    assert found.keys() == wanted.keys() == {"scores", "attention conv1", "attention conv2"}
    for name, values in wanted.items():
        assert torch.allclose(torch.from_numpy(found[name][0]), values, atol=1e-5)
    assert float(wanted["attention conv1"].std()) > 0.01


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """A folder with the page and its network, served; files can be added."""
    package = package_folder()
    if package is None or shutil.which("node") is None:
        pytest.skip("needs node and onnxruntime-web: npm install onnxruntime-web")
    for file in EXAMPLE.iterdir():
        if file.suffix in (".html", ".mjs", ".css"):
            shutil.copy(file, tmp_path)
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "onnxruntime-web").symlink_to(package.resolve())
    script().write(network(), torch.randn(1, 3, SIZE, SIZE), tmp_path, ABOUT)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/index.html"
        server.shutdown()


def opened(browser: Browser, address: str, ends: str) -> str:
    """Open a page, wait until it says so, and return what it says."""
    from selenium.webdriver.support.wait import WebDriverWait

    browser.errors()
    browser.driver.get(address)
    WebDriverWait(browser.driver, 200).until(lambda _: ends in browser.run(STATUS))
    said: str = browser.run(STATUS)
    return said


@pytest.mark.slow
def test_the_page_says_what_torch_says(browser: Browser, site: str, tmp_path: Path) -> None:
    photo = torch.randint(0, 256, (3, SIZE, SIZE)).byte()
    write_png(photo, str(tmp_path / "photo.png"))
    wanted = expected(photo)
    assert opened(browser, f"{site}?photo=photo.png", "done in").endswith("by a tiny network")
    assert browser.errors() == []
    classes = wanted["scores"].softmax(0)
    order = classes.argsort(descending=True).tolist()
    found = browser.run(SHARES, "answer")
    assert [name for name, _ in found] == [LABELS[place] for place in order]
    assert [share for _, share in found] == pytest.approx(classes[order].tolist(), abs=2e-4)
    for name in ("conv1", "conv2"):
        browser.run(f"document.querySelector('[data-site=\"{name}\"] button').click()")
        shown = [share for _, share in browser.run(SHARES, "kernels")]
        assert shown == pytest.approx(wanted[f"attention {name}"].tolist(), abs=1e-4)
        assert browser.run("return document.getElementById('site').textContent") == f"Layer {name}"


@pytest.mark.slow
def test_the_page_says_what_is_missing(browser: Browser, site: str, tmp_path: Path) -> None:
    assert opened(browser, f"{site}?photo=none.png", "failed").endswith(
        "there is no none.png here; README.md says how to make it"
    )
    (tmp_path / "model.json").unlink()
    assert "there is no model.json here" in opened(browser, site, "failed")


@pytest.mark.slow
@pytest.mark.parametrize("width", [400, 1200])
def test_nothing_is_wider_than_the_window(
    width: int, browser: Browser, site: str, tmp_path: Path
) -> None:
    write_png(torch.zeros(3, 50, 90).byte(), str(tmp_path / "photo.png"))
    size: dict[str, Any] = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    opened(browser, f"{site}?photo=photo.png", "done in")
    assert browser.run("return document.documentElement.scrollWidth") <= width
