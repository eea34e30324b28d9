"""What is told of an exported file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

NATIVE = "native"
ROUNDINGS = {
    None: "",
    "half": ", banks in half precision",
    "int8": ", banks in 8 bits",
    "fp16": ", in half precision",
}
Document = dict[str, Any]


def told(document: Document, path: Path) -> list[str]:
    """Return lines on a file that was written: its form and why, and how exact it is."""
    stored = ROUNDINGS[document["rounding"]]
    target = f" for target {document['target']}" if document["target"] else ""
    lines = [f"wrote {path}{target}: form {document['form']}, opset {document['opset']}{stored}"]
    lines += choice(document)
    checks = len(document["checks"])
    if (found := boxes(document)) is not None:
        lines += found
    else:
        lines.append(f"max difference from torch {document['max_rel']:.2g} in {checks} checks")
    lines += proofs(document)
    if "boxes" in document:
        lines.append(f"on {document['boxes']['images']} images: {_pairs([document['boxes']])}")
    if "agreement" in document:
        real = document["agreement"]
        lines.append(
            f"same answer on {real['agreement']:.1%} of {real['images']} images, max difference "
            f"{real['max_rel']:.2g}"
        )
    return [*lines, *(f"note: {note}" for note in document["notes"])]


TRIALS = {
    "": "with its own weights",
    "low threshold, ": "at a lower score threshold",
    "perturbed, low threshold, ": "with other weights, at a lower threshold",
}
"""How a detector's file was compared, by the beginning of a check's name."""


def boxes(document: Document) -> list[str] | None:
    """Return lines on how a detector's boxes match; None of a network that finds no boxes."""
    checks = [check for check in document["checks"] if "boxes" in check]
    if not checks:
        return None
    lines = []
    for begin, how in TRIALS.items():
        these = [c["boxes"] for c in checks if c["name"].rpartition("image")[0] == begin]
        if these:
            lines.append(f"{how}, {len(these)} images: {_pairs(these)}")
    return lines


def _pairs(found: list[Document]) -> str:
    longer = sum(max(boxes["expected"], boxes["found"]) for boxes in found)
    if longer == sum(boxes["allowed"] for boxes in found):
        return "nothing to compare, no boxes or scores that rounding alone tells apart"
    pixels, score = (max(boxes[key] for boxes in found) for key in ("pixels", "score"))
    return (
        f"{sum(boxes['matched'] for boxes in found)} of {longer} boxes matched, largest difference "
        f"{pixels:.2g} pixels and {score:.2g} in score"
    )


def proofs(document: Document) -> list[str]:
    """Return a line on each runtime beside onnxruntime in which the file was proven."""
    return [
        f"{proof['name']} {proof['version']}: max difference from torch {proof['max_rel']:.2g} in "
        f"{len(proof['checks'])} checks"
        for proof in document["runtimes"]
    ]


def choice(document: Document) -> list[str]:
    """Return lines on by what measurement the form was chosen, and where it runs."""
    lines = []
    timings = document["timings"]
    if timings is not None:
        files = sorted(timings["files"].items(), key=lambda item: float(item[1]))
        times = ", ".join(f"{name} {ms:.3g} ms" for name, ms in files)
        where = f"batch {timings['batch']}, {timings['threads']} threads"
        lines.append(f"fastest of those timed here ({where}): {times}")
    if document["form"] == NATIVE:
        lines.append(
            "it runs in onnxruntime on CPUs with this one's vector width, and refuses others"
        )
    return lines


def latency_lines(document: Document) -> list[str]:
    """Return lines on what the file takes beside the static network's, where that was measured."""
    found = document.get("latency")
    if found is None:
        return [f"note: {document['latency_note']}"] if "latency_note" in document else []
    from dynsurgeon.workflow.latency import FileLatency

    lines = [str(FileLatency(**found))]
    if found["this_cpu_saves"] is not None:
        lines.append(
            f"hint: laid out for this CPU the file takes {found['this_cpu_ms']:.2f} ms, "
            f"{found['this_cpu_saves']:.0%} less: --target this-cpu, for onnxruntime on CPUs like "
            "this one alone"
        )
    return lines if found["warning"] is None else [*lines, f"note: {found['warning']}"]
