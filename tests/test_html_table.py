"""Tables of HTML for notebooks."""

from __future__ import annotations

from pathlib import Path

from report_helpers import HOSTILE
from torch import nn

import dynsurgeon as ds
from dynsurgeon.html_table import LONGEST, NUMBER, html_table
from dynsurgeon.training.finetune.results import Epoch, Gain, Score


def test_cells_are_escaped_and_numbers_are_set_to_the_right() -> None:
    text = html_table(("name", "n"), [(HOSTILE, "3"), ("b", "-")], title="<b>", notes=["a & b"])
    assert "<img" not in text
    assert "&lt;img" in text
    assert "<strong>&lt;b&gt;</strong>" in text
    assert "<p>note: a &amp; b</p>" in text
    assert text.count(NUMBER) == 3


def test_a_long_table_leaves_out_its_middle_and_says_so() -> None:
    text = html_table(("n",), [(str(i),) for i in range(LONGEST + 40)])
    assert text.count("<tr>") == LONGEST + 2
    assert "… 40 more" in text
    assert ">0<" in text
    assert ">99<" in text


def test_results_show_themselves() -> None:
    parity = ds.SiteParity("a.b", "eval", 1e-7, 2e-7)
    receipt = ds.Receipt(True, 1e-7, 2e-7, 1e-5, {"eval": 2e-7}, (parity,), ("a <note>",))
    shown = receipt._repr_html_()
    assert "parity passed" in shown
    assert "a.b" in shown
    assert "a &lt;note&gt;" in shown
    site = ds.SiteAttention("<c>", 4, 1.0, 0.5, 0.1, 0.2, 0.3, (0.5, 0.5, 0.0, 0.0))
    assert "&lt;c&gt;" in ds.AttentionReport((site,), 7)._repr_html_()


def test_a_fine_tuning_shows_its_epochs() -> None:
    scores = {"dynamic": Score(0.5, 0.75), "static": Score(0.6, 0.7)}
    epochs = tuple(Epoch(n, scores, scores, None) for n in (1, 2))
    best = {"dynamic": 1, "static": 1}
    gain = Gain(0.05, 0.01, 100)
    result = ds.FinetuneResult(nn.Identity(), best, scores, Score(1, 0), gain, epochs, 7, 1)
    shown = result._repr_html_()
    assert shown.count("<tr>") == 3
    assert "static twin 70.00%" in shown
    assert "gain +5.00 points" in shown


def test_an_exported_file_shows_its_checks() -> None:
    check = ds.ExportCheck("perturbed", 3, 1e-6, 2e-6, True)
    result = ds.ExportResult(Path("a<b>.onnx"), "scan", 20, None, {}, {}, (check,))
    shown = result._repr_html_()
    assert "a&lt;b&gt;.onnx passed" in shown
    assert "perturbed" in shown
