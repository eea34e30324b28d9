"""``report``, ``inspect`` and ``--report`` from end to end."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_helpers import SIZE, CommandLine, cli
from finetune_helpers import write_images

__all__ = ["cli"]

for package in ("jinja2", "matplotlib"):
    pytest.importorskip(package)

CODE = ("--model", "net.py:build")


def test_convert_inspect_and_report(cli: CommandLine) -> None:
    done = cli("convert", "net.py:build", *SIZE, "--no-onnx", "--report", "-o", "dyn")
    assert done.code == 0, done.err
    page = cli.directory / "dyn" / "report.html"
    assert "3 of 4 sites dynamic" in page.read_text()
    write_images(cli.directory / "images", "abcde", 3)
    inspect = ("inspect", "dyn", *CODE, "--images", "images", "--samples", "10")
    done = cli(*inspect, "--pictures", "2")
    assert done.code == 0, done.err
    assert "10 images of 5 classes; wrote dyn/inspection" in done.out
    assert list((cli.directory / "dyn" / "inspection").glob("*.png"))
    found = cli(*inspect, "--pictures", "0", "--json").document
    assert found["classes"] == list("abcde")
    assert [path.name for path in Path("dyn/inspection").iterdir()] == ["findings.json"]
    done = cli("report", "dyn")
    assert done.code == 0, done.err
    assert done.out.startswith("wrote dyn/report.html (")
    text = page.read_text()
    assert "On 10 images" in text
    assert 'src="data:image/jpeg;base64,' in text
    assert cli("report", "dyn", "--output", "page.html", "--json").document["report"] == "page.html"
    # What these commands wrote does not stand in the way of --force.
    assert cli("convert", "net.py:build", *SIZE, "--no-onnx", "--force", "-o", "dyn").code == 0
    assert not page.exists()


def test_errors_are_one_line(cli: CommandLine) -> None:
    assert cli("report", "none").code == 6
    assert "there is no directory 'none'" in cli("report", "none").error
    Path("empty").mkdir()
    assert cli("report", "empty").code == 6
    assert cli("inspect", "empty", "--images", "none").code == 6
