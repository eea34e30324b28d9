"""The work of ``convert``: build, plan, cut, prove, save, export."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dynsurgeon as ds
from dynsurgeon.config import SurgeryConfig
from dynsurgeon.errors import ExportError, ParityError
from dynsurgeon.files import staged_file

from ..options.shared import ModelOptions, OnnxOptions
from ..output import ONNX, RECEIPT
from ..render import Step
from .comparison import count_initializers, top1_agreement
from .loading import Subject, load_subject

PACKAGES = ("dynsurgeon", "torch", "torchvision", "onnx", "onnxscript", "onnxruntime")
Document = dict[str, Any]


@dataclass(frozen=True)
class Calibration:
    """The images that the attention is fitted to.

    Attributes:
        folder: Where they lie.
        normalize: The option that says how they are normalised.
    """

    folder: Path
    normalize: str = "auto"

    def apply(self, dynamic: Any, subject: Subject, seed: int) -> Document:
        """Fit the attention of `dynamic`, and return what the receipt says of it."""
        from .calibration import calibrate_on

        return calibrate_on(self.folder, dynamic, subject, self.normalize, seed).to_dict()


def convert_into(
    directory: Path,
    options: ModelOptions,
    config: SurgeryConfig,
    onnx: OnnxOptions | None,
    step: Step,
    *,
    calibration: Calibration | None = None,
) -> Document:
    """Convert the model that the options name, and write everything into `directory`.

    Returns:
        The receipt, as written to ``receipt.json``.

    Raises:
        SurgeryError: Whatever stands in the way, or a parity that fails.
    """
    step(f"building {options.model}")
    subject = load_subject(options)
    step("planning" if config.latency_budget is None else "planning, and measuring each site")
    plan = ds.plan(subject.model, subject.inputs, config)
    step(f"converting {len(plan.converted)} sites")
    dynamic = ds.convert(subject.model, subject.inputs, plan)
    attention = None
    if calibration is not None:
        step(f"fitting the attention to the images in {calibration.folder}")
        attention = calibration.apply(dynamic, subject, config.seed)
    step("comparing the dynamic network with the original, site by site")
    receipt = ds.check_parity(subject.model, dynamic, subject.inputs, seed=config.seed)
    if not receipt.passed:
        raise ParityError(f"the dynamic network is not the original: {receipt}", receipt)
    step("saving")
    ds.save(dynamic, directory, origin=subject.origin)
    document: Document = {
        "format": 1,
        "model": subject.origin,
        "config": config.to_dict(),
        "costs": _costs(plan),
        "calibration": attention,
        "torch": receipt.to_dict(),
        "onnx": None,
    }
    path = None if onnx is None else directory / ONNX
    if onnx is not None and path is not None:
        step("exporting to ONNX, and verifying in onnxruntime")
        document["onnx"] = export_document(subject, dynamic, path, onnx)
    step("counting agreements")
    document["agreement"] = top1_agreement(
        subject.model, dynamic, path, subject.inputs, batch=onnx.batch if onnx else None
    )
    document["notes"] = list(plan.notes)
    document["versions"] = versions()
    write_receipt(directory, document)
    return document


def export_document(subject: Subject, dynamic: Any, path: Path, options: OnnxOptions) -> Document:
    """Export and verify; return what the receipt says of it.

    Raises:
        ExportError: The network can't be exported; names ``--no-onnx`` as the way out.
        ParityError: onnxruntime computes something else.
    """
    try:
        result = ds.export_onnx(
            dynamic,
            path,
            subject.inputs,
            batch=options.batch,
            dynamic_size=options.dynamic_size,
            form=options.form,
            this_cpu=options.this_cpu,
            half=options.half,
            opset=options.opset,
        )
    except ExportError as error:
        raise ExportError(f"{error} (--no-onnx converts without the ONNX file)") from error
    found = {**result.to_dict(), "path": path.name}
    return {**found, "params": count_initializers(path)}


def write_receipt(directory: Path, document: Document) -> None:
    """Write ``receipt.json``."""
    text = json.dumps(document, indent=2, allow_nan=False)
    with staged_file(directory / RECEIPT) as path:
        path.write_text(text + "\n", encoding="utf-8")


def update_receipt(directory: Path, changes: Document) -> None:
    """Replace entries of the ``receipt.json`` that lies in `directory`, if one does."""
    document = read_receipt(directory)
    if document:
        known = document.get("versions") or {}
        write_receipt(directory, {**document, **changes, "versions": {**known, **versions()}})


def read_receipt(directory: Path) -> Document:
    """Read the ``receipt.json`` that lies in `directory`; nothing if there is none to read."""
    try:
        document = json.loads((directory / RECEIPT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def versions() -> dict[str, str]:
    """Return the versions of everything that had a part in it."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def _costs(plan: ds.Plan) -> Document:
    return {
        "sites": len(plan.sites),
        "converted": len(plan.converted),
        "params_before": plan.params_before,
        "params_after": plan.params_after,
        "macs_before": plan.macs_before,
        "macs_after": plan.macs_after,
        **({} if plan.latency is None else {"latency": asdict(plan.latency)}),
    }
