"""The page about a directory: complete, escaped, and made of what the receipt says."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from report_helpers import HOSTILE, chain, write_directory
from torch import nn

import dynsurgeon as ds
from dynsurgeon.reports.charts import fixed, milliseconds, parity_plot
from dynsurgeon.reports.contents import read_contents
from dynsurgeon.reports.findings import gradients
from dynsurgeon.reports.inspection import EMBEDDED, write_inspection
from dynsurgeon.reports.page import write_report
from dynsurgeon.reports.sites import blocks_of, site_rows
from dynsurgeon.workflow.directory import INSPECTION

pytest.importorskip("jinja2")

VOID = {"meta", "link", "input", "img", "br", "line", "polyline", "circle"}


class Page(HTMLParser):
    """What a page holds: its elements, and whether they are nested right."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def all(self, tag: str, **wanted: str) -> list[dict[str, str | None]]:
        return [a for t, a in self.elements if t == tag and wanted.items() <= a.items()]


def page_of(folder: Path, names: list[str], **options: Any) -> tuple[str, Page]:
    text = write_report(write_directory(folder, names, **options)).read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    return text, page


def test_a_page_has_every_site_in_its_map_and_its_table(tmp_path: Path) -> None:
    text, page = page_of(tmp_path / "dir", chain(12))
    assert "11 of 12 sites dynamic; outputs differ by 2.1e-06" in text
    assert "1 of 12 sites stays static (the first convolution)" in text
    assert "4 times the parameters, 1.1 times the multiply-adds" in text
    cells = [a for a in page.all("a") if (a.get("class") or "").startswith("cell")]
    assert [cell["href"] for cell in cells] == [f"#site-{i}" for i in range(1, 13)]
    assert [row["data-kind"] for row in page.all("tr") if "data-kind" in row] == [
        "static", *["dynamic"] * 11
    ]  # fmt: skip
    assert len(page.all("circle")) == 22
    assert 'id="training"' not in text


def test_a_page_of_a_fine_tuned_network_says_what_was_gained(tmp_path: Path) -> None:
    text, page = page_of(tmp_path / "dir", chain(3), trained=True)
    assert "+25.00 ± 10.00 points over its static twin" in text
    assert "+25.00 points of accuracy for 1.50 times the latency" in text
    assert len(page.all("polyline")) == 4
    assert "dynsurgeon finetune tinynet-dynamic --data FOLDER" in text
    assert "--epochs 2 --batch 8 --baseline" in text


@pytest.mark.parametrize("options", [{"onnx": False}, {"plan": False}])
def test_a_page_does_without(tmp_path: Path, options: dict[str, Any]) -> None:
    text, page = page_of(tmp_path / "dir", chain(4), **options)
    assert ("ONNX file" in text) == options.get("onnx", True)
    # A receipt of before knows of no static site.
    assert len([a for a in page.all("tr") if "data-kind" in a]) == (4 if "onnx" in options else 3)


def test_names_are_escaped_and_no_other_script_may_run(tmp_path: Path) -> None:
    text, page = page_of(tmp_path / "dir", ["a.conv", f"{HOSTILE}.relu"], model=HOSTILE)
    assert page.all("img") == []
    assert len(page.all("script")) == 1
    assert text.count("<script") == text.count("</script>") == 1
    assert "&lt;/script&gt;" in text
    (policy,) = (a["content"] for a in page.all("meta") if "content" in a and "http-equiv" in a)
    assert policy is not None
    assert "default-src 'none'" in policy
    assert re.search(r"script-src 'sha256-[\w+/=]+'$", policy)


def test_a_page_names_nothing_that_lies_elsewhere(tmp_path: Path) -> None:
    text, page = page_of(tmp_path / "dir", chain(6), trained=True)
    for _, attributes in page.elements:
        for name in ("src", "href", "action", "data", "srcset"):
            assert (attributes.get(name) or "#").startswith(("#", "data:"))
    assert "url(" not in text
    assert "@import" not in text


def test_five_hundred_sites_stay_small(tmp_path: Path) -> None:
    path = write_report(write_directory(tmp_path / "dir", chain(500)))
    assert path.stat().st_size < 1_000_000


def test_the_output_can_lie_elsewhere_and_replaces_an_earlier_one(tmp_path: Path) -> None:
    directory = write_directory(tmp_path / "dir", chain(3))
    for _ in range(2):
        assert write_report(directory, tmp_path / "page.html") == tmp_path / "page.html"
    assert sorted(p.name for p in directory.iterdir()) == ["receipt.json", "recipe.json"]


def test_a_directory_that_is_none_of_ours_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ds.StorageError, match="there is no directory"):
        write_report(tmp_path / "none")
    directory = write_directory(tmp_path / "dir", chain(3))
    (directory / "receipt.json").unlink()
    with pytest.raises(ds.StorageError, match=r"receipt\.json' is missing"):
        write_report(directory)
    assert sorted(p.name for p in directory.iterdir()) == ["recipe.json"]


def test_a_damaged_receipt_is_an_error_and_leaves_the_page_as_it_was(tmp_path: Path) -> None:
    directory = write_directory(tmp_path / "dir", chain(3))
    page = write_report(directory)
    before = page.read_text()
    receipt = json.loads((directory / "receipt.json").read_text())
    receipt["sites"][1] = {"nothing": 1}
    (directory / "receipt.json").write_text(json.dumps(receipt))
    with pytest.raises(ds.StorageError, match="is damaged, or of another version: KeyError"):
        write_report(directory)
    assert page.read_text() == before


def test_without_jinja2_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = importlib.util.find_spec
    monkeypatch.setattr(
        sys.modules["dynsurgeon.reports.page"],
        "find_spec",
        lambda name: None if name == "jinja2" else known(name),
    )
    with pytest.raises(ds.ConfigError, match=r"dynsurgeon\[report\]"):
        write_report(write_directory(tmp_path / "dir", chain(3)))


def test_a_bit_equal_site_lies_on_the_edge_and_the_tolerance_above(tmp_path: Path) -> None:
    contents = read_contents(write_directory(tmp_path / "dir", chain(12)))
    plot = parity_plot(site_rows(contents), 1e-5)
    assert plot is not None
    assert plot.limit is not None
    equal = [mark.y for mark in plot.marks if "bit-equal" in mark.text]
    other = [mark.y for mark in plot.marks if "bit-equal" not in mark.text]
    assert set(equal) == {0.0}
    assert 0 < min(other) <= max(other) < plot.limit.at < 100
    assert plot.y.ticks[0].text == "0"


def test_sites_are_grouped_by_their_modules(tmp_path: Path) -> None:
    names = ["net.stem.conv", "net.layer1.0.conv", "net.layer1.0.relu", "net.layer1.1.conv"]
    rows = site_rows(read_contents(write_directory(tmp_path / "dir", names)))
    found = [(top, [(b.name, len(b.rows)) for b in blocks]) for top, blocks in blocks_of(rows)]
    assert found == [
        ("net.stem", [("net.stem", 1)]),
        ("net.layer1", [("net.layer1.0", 2), ("net.layer1.1", 1)]),
    ]


def test_measured_times_are_shown_where_they_were_measured(tmp_path: Path) -> None:
    directory = write_directory(tmp_path / "dir", chain(3))
    receipt = json.loads((directory / "receipt.json").read_text())
    times = {"static": {"median_ms": 2.0}, "dynamic": {"median_ms": 3.0}}
    row = {"batch": 1, "threads": 2, "problem": None, **times}
    receipt["bench"] = [
        {"engine": "eager", **row}, {"engine": "compile", **row, "problem": "no compiler"}
    ]  # fmt: skip
    (directory / "receipt.json").write_text(json.dumps(receipt))
    text = write_report(directory).read_text()
    assert "eager, batch 1, 2 threads" in text
    assert "3 ms" in text
    assert "no compiler" not in text


def test_a_difference_above_the_tolerance_is_explained(tmp_path: Path) -> None:
    directory = write_directory(tmp_path / "dir", chain(3))
    receipt = json.loads((directory / "receipt.json").read_text())
    receipt["torch"] |= {"max_rel": 2e-5, "notes": ["2e-05 in the usual form, 4e-14 in float64"]}
    (directory / "receipt.json").write_text(json.dumps(receipt))
    text = write_report(directory).read_text()
    assert "outputs differ by 2e-05, by rounding alone (tolerance 1e-05)" in text
    assert "4e-14 in float64" in text


def test_sites_without_small_pictures_are_shown_too(tmp_path: Path) -> None:
    directory = write_directory(tmp_path / "dir", chain(20))
    model = nn.Sequential(
        *(layer for _ in range(14) for layer in (nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()))
    ).eval()
    dynamic = ds.convert(model, torch.zeros(2, 4, 6, 6), ds.SurgeryConfig(activation=None))
    batch = (torch.randn(6, 4, 6, 6), torch.arange(6) % 2)
    found = ds.inspect(dynamic, [batch], classes=(HOSTILE, "b"))
    assert len(found.sites) > EMBEDDED
    (directory / INSPECTION).mkdir()
    picture = torch.zeros(3, 6, 6, dtype=torch.uint8)
    write_inspection(directory / INSPECTION, found, lambda sample: picture, 0)
    text = write_report(directory).read_text()
    assert text.count("kernel 1 leads most") == EMBEDDED
    assert text.count("distance from kernel 1") == len(found.sites)
    assert text.count("<script") == 1
    assert "<img src=x" not in text
    assert "&lt;/script&gt;&lt;img src=x" in text


def test_numbers_are_written_for_people() -> None:
    assert [milliseconds(ms) for ms in (0.1234, 12.34, 1208.7)] == [
        "0.123 ms",
        "12.3 ms",
        "1,209 ms",
    ]
    assert [fixed(value) for value in (-0.0001, 0.25, -0.5)] == ["0.000", "0.250", "-0.500"]
    found = {"gradient_rel": 0.12, "notes": ["the gradient of a.b: 0.12 in the usual form"]}
    assert gradients(found).endswith("agree to 0.12, by rounding alone: see the notes.")
    assert gradients({**found, "notes": []}).endswith("agree to 0.12.")
    assert gradients({**found, "gradient_rel": None}) == ""
