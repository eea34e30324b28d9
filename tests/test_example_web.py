"""The example page classifies a photo in a browser as torch does."""

from __future__ import annotations

import functools
import http.server
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from export_nets import DynamicNet, perturbed
from torch import Tensor
from torchvision.io import write_png

from dynsurgeon.export import export_onnx
from dynsurgeon.runtimes.web import package_folder

EXAMPLE = Path(__file__).parent.parent / "examples" / "web"
SIZE = 32
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """A folder with the page, served; files can be added."""
    package = package_folder()
    if BROWSER is None or package is None:
        pytest.skip("needs chromium and onnxruntime-web")
    for file in EXAMPLE.glob("*.[hm]*"):
        shutil.copy(file, tmp_path)
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "onnxruntime-web").symlink_to(package.resolve())
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/index.html"
        server.shutdown()


def normalized(photo: Tensor) -> Tensor:
    mean, deviation = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])
    pixels: Tensor = ((photo / 255).permute(1, 2, 0) - mean) / deviation
    return pixels.permute(2, 0, 1)[None]


@pytest.mark.slow
def test_the_page_says_what_torch_says(site: str, tmp_path: Path) -> None:
    net, photo = perturbed(DynamicNet()), torch.randint(0, 256, (3, SIZE, SIZE)).byte()
    write_png(photo, str(tmp_path / "photo.png"))
    example = torch.randn(1, 3, SIZE, SIZE)
    export_onnx(net, tmp_path / "model.onnx", example, batch=1, target="web")
    words = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    words += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=60000"]
    done = subprocess.run(
        [*words, f"{site}?photo=photo.png"], capture_output=True, text=True, timeout=200, check=True
    )
    assert "done in" in done.stdout, done.stdout
    rows = re.findall(r"<td>class (\d+)</td><td>([\d.]+)</td>", done.stdout)
    with torch.no_grad():
        shares = net(normalized(photo)).softmax(1)[0]
    assert [int(place) for place, _ in rows] == shares.argsort(descending=True).tolist()
    for place, share in rows:
        assert float(share) == pytest.approx(float(shares[int(place)]), abs=2e-4)
