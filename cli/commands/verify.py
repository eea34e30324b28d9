"""``dynsurgeon verify``: what lies in a directory, proven again."""

from __future__ import annotations

from typing import Any

from ..options.onnx_file import Runtimes
from ..options.shared import Callable, Directory, Json
from ..output import ONNX
from ..progress import steps
from ..render import print_json, print_table, say
from ..work.onnx_report import boxes, proofs

EXAMPLES = (
    "dynsurgeon verify resnet18-dynamic",
    "dynsurgeon verify resnet18-dynamic --runtime openvino --runtime web",
    "dynsurgeon verify mynet-dynamic --model net.py:build --json",
)
HEADER = ("check", "batch", "max difference", "result")


def run(
    directory: Directory,
    model: Callable = None,
    runtimes: Runtimes = (),  # type: ignore[assignment]
    json: Json = False,
) -> None:
    """Load the dynamic network in DIR, and compare its ONNX file with it.

    Damaged files end in exit code 6, a file that computes something else in 3, one that a runtime
    refuses in 5.
    """
    with steps() as step:
        from dynsurgeon.runtimes.table import find_runtimes

        from ..work.loading import reload_subject
        from ..work.verification import verify_directory

        find_runtimes(runtimes)
        step(f"loading {directory}")
        subject = reload_subject(directory, model)
        step(f"verifying in {', '.join(('onnxruntime', *runtimes))}")
        document = verify_directory(directory, subject, runtimes)
    if json:
        print_json({"directory": str(directory), **document})
        return
    say(f"{directory}: {document['model']['model']}, {document['sites']} dynamic sites, intact")
    if "finetuned" in document["model"]:
        say("it was fine-tuned: its function is no longer the original's, on purpose")
    _print_checks(document["onnx"])


def _result(check: dict[str, Any]) -> str:
    return "passed, by float64" if "float64_rel" in check else "passed"


def _print_checks(found: dict[str, Any] | None) -> None:
    if found is None:
        say(f"no {ONNX} to verify; dynsurgeon export writes one")
        return
    rows = [
        (check["name"], str(check["batch"]), f"{check['max_rel']:.2g}", _result(check))
        for check in found["checks"]
    ]
    print_table(HEADER, rows)
    matched, notes = boxes(found), (f"note: {note}" for note in found["notes"])
    for line in (*(matched or []), *proofs(found), *notes):
        say(line)
    if matched is None:
        say(f"{ONNX} computes what the network computes: max difference {found['max_rel']:.2g}")
