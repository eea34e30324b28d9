"""From what a directory holds to one file of HTML that asks no network for anything."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dynsurgeon.errors import ConfigError, StorageError
from dynsurgeon.files import staged_file
from dynsurgeon.messages import first_line
from dynsurgeon.reports import charts, findings
from dynsurgeon.reports.attention import attention_view
from dynsurgeon.reports.contents import Contents, read_contents
from dynsurgeon.reports.repeat import CONFIG, commands, config_lines
from dynsurgeon.reports.sites import SiteRow, blocks_of, site_rows
from dynsurgeon.surgery.decide.plan_table import human
from dynsurgeon.workflow.directory import INSPECTION, RECEIPT, REPORT

TEMPLATES = Path(__file__).parent / "templates"


def write_report(directory: Path, output: Path | None = None) -> Path:
    """Write the report about a directory, whole or not at all, and return where it lies.

    Args:
        directory: What `convert_to_directory`, ``dynsurgeon convert`` or ``finetune`` wrote.
        output: The file; ``report.html`` in the directory by default.

    Raises:
        StorageError: The directory is not one of ours, or is damaged.
        ConfigError: jinja2 is not installed.
    """
    require_jinja2()
    path = output or directory / REPORT
    text = _rendered(directory)
    with staged_file(path) as draft:
        draft.write_text(text, encoding="utf-8")
    return path


def _rendered(directory: Path) -> str:
    from jinja2 import UndefinedError

    contents = read_contents(directory)
    try:
        return render_report(contents)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, UndefinedError) as error:
        raise StorageError(
            f"{RECEIPT} or {INSPECTION} in '{directory}' is damaged, or of another version: "
            f"{first_line(error, named=True)}"
        ) from error


def require_jinja2() -> None:
    """Make sure that a report can be written, before anything is done for it.

    Raises:
        ConfigError: jinja2 is not installed.
    """
    if find_spec("jinja2") is None:
        raise ConfigError("a report takes jinja2: pip install 'dynsurgeon[report]'")


def render_report(contents: Contents) -> str:
    """Return the page. Every name in it is escaped; its script is the only one that may run."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters.update(human=human, difference=charts.difference, fixed=charts.fixed)
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = environment.get_template("page.html")
    return page.render(_view(contents), script=script, script_digest=digest, style=style)


def _view(contents: Contents) -> dict[str, Any]:
    rows = site_rows(contents)
    parity, training = contents.parity, contents.training
    hues = {row.operator: row.hue for row in rows if row.operator}
    return {
        "contents": contents,
        "receipt": contents.receipt,
        "findings": findings,
        "rows": rows,
        "groups": blocks_of(rows),
        "operators": [(name, hue, _count(rows, name)) for name, hue in hues.items()],
        "static": _count(rows, ""),
        "measured": any(row.adds_ms is not None for row in rows),
        "costs": cost_rows(contents.receipt),
        "latency": file_latency(contents.receipt),
        "parity": parity,
        "parity_plot": charts.parity_plot(rows, parity["tolerance"]) if parity else None,
        "training": training,
        "training_plot": charts.training_plot(training) if training else None,
        "tradeoff_plot": charts.tradeoff_plot(training) if training else None,
        "attention": attention_view(contents),
        "commands": commands(contents),
        "config_name": CONFIG,
        "config": config_lines(contents),
    }


def _count(rows: tuple[SiteRow, ...], operator: str) -> int:
    return sum(row.operator == operator for row in rows)


def cost_rows(receipt: Mapping[str, Any]) -> list[tuple[str, str, str, float, float]]:
    """Return what is known of the cost: what, before and after in words, and as shares."""
    costs, training = receipt.get("costs") or {}, receipt.get("finetuned") or {}
    found = []
    for key, name in (("params", "Parameters"), ("macs", "Multiply-adds a sample")):
        before, after = costs.get(f"{key}_before"), costs.get(f"{key}_after")
        if before is not None and after is not None:
            found.append((name, before, after, human(before), human(after)))
    latency = file_latency(receipt)
    batch = latency.get("batch", 1) if latency else 1
    for name, times in (
        (f"onnxruntime, batch {batch}", latency),
        ("PyTorch, batch 1", training.get("cost")),
        *_benched(receipt.get("bench") or ()),
    ):
        if times:
            before, after = times["static_ms"], times["dynamic_ms"]
            was, now = charts.milliseconds(before), charts.milliseconds(after)
            found.append((name, before, after, was, now))
    return [
        (name, was, now, _share(before, after), _share(after, before))
        for name, before, after, was, now in found
    ]


def file_latency(receipt: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return what the file takes in onnxruntime: as it was timed, or else as it was planned."""
    costs, file = receipt.get("costs") or {}, receipt.get("onnx") or {}
    found = file.get("latency") or costs.get("latency")
    return dict(found) if found else None


def _benched(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield what ``bench`` has measured: where, and both medians."""
    for row in rows:
        if row["problem"] is None:
            threads = f"{row['threads']} thread{'' if row['threads'] == 1 else 's'}"
            times = {f"{name}_ms": row[name]["median_ms"] for name in ("static", "dynamic")}
            yield f"{row['engine']}, batch {row['batch']}, {threads}", times


def _share(value: float, other: float) -> float:
    return round(100 * value / max(value, other, 1e-12), 1)
