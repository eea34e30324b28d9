"""A network in; a directory with the proven dynamic network and its verified ONNX file out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from dynsurgeon.config import SurgeryConfig
from dynsurgeon.conversion import convert
from dynsurgeon.errors import ConfigError, ExportError, ParityError, RuntimeRefusalError
from dynsurgeon.export import ExportResult, export_onnx
from dynsurgeon.planning import plan as make_plan
from dynsurgeon.proof.parity import check_parity
from dynsurgeon.proof.receipt import Receipt
from dynsurgeon.running.inputs import Inputs, as_inputs
from dynsurgeon.storage import save
from dynsurgeon.surgery.decide.planned import Plan
from dynsurgeon.timing.noise import others_load
from dynsurgeon.training.report import AttentionReport
from dynsurgeon.workflow.agreement import count_initializers, top1_agreement
from dynsurgeon.workflow.directory import ONNX, staged_directory
from dynsurgeon.workflow.export_settings import ExportSettings
from dynsurgeon.workflow.latency import FileLatency, measure_latency
from dynsurgeon.workflow.receipt import Document, costs, versions, write_receipt

Step = Callable[[str], None]
Calibrate = Callable[[nn.Module], AttentionReport]

INSTEAD = "export=None"
"""How to do without the ONNX file."""


@dataclass(frozen=True)
class Conversion:
    """What `convert_to_directory` made.

    Attributes:
        directory: Where it lies.
        plan: What was decided of every call site.
        model: The dynamic network.
        receipt: The proof that it computes what the original does.
        export: The ONNX file and its verification, or None without one.
        attention: What calibration made of the attention, or None without it.
        document: All of it as plain JSON values, as ``receipt.json`` holds it.
    """

    directory: Path
    plan: Plan
    model: nn.Module
    receipt: Receipt
    export: ExportResult | None
    attention: AttentionReport | None
    document: dict[str, Any]


def convert_to_directory(
    model: nn.Module,
    example_inputs: Any,
    directory: str | Path,
    config: SurgeryConfig | None = None,
    *,
    export: ExportSettings | None = ExportSettings(),  # noqa: B008 - a frozen value
    calibrate: Calibrate | None = None,
    origin: Mapping[str, Any] | None = None,
    metadata: Mapping[str, str] | None = None,
    latency: bool = True,
    force: bool = False,
    progress: Step | None = None,
) -> Conversion:
    """Convert a network, prove that it computes what it did, and write all of it, or nothing.

        done = ds.convert_to_directory(model, images, "resnet18-dynamic")
        print(done.receipt, done.export)

    It is what ``dynsurgeon convert`` does: the directory gets ``recipe.json``,
    ``model.safetensors``, ``model.onnx`` and ``receipt.json``, and appears when all are good.

    Args:
        model: The static model; it stays as it is.
        example_inputs: As `convert` takes them.
        directory: Where to write.
        config: What to convert, how and where.
        export: How the ONNX file is written; None for no file.
        calibrate: Fits the attention before the proof, for example
            ``lambda dynamic: ds.calibrate(dynamic, loader)``.
        origin: How the static model is built, kept in the recipe (JSON values). With the keys
            ``model``, ``arguments`` and ``input_size`` the command line can load the directory.
        metadata: What the ONNX file says of itself, as `export_onnx` takes it.
        latency: Time the ONNX file beside the static network's, for some seconds.
        force: Replace what an earlier run left there.
        progress: Is told what is being done.

    Raises:
        ConfigError: The inputs or a setting don't fit the model.
        NoSiteError: Nothing in the model can be made dynamic under this configuration.
        UnsupportedModelError: The model is of a kind that can't be converted as it is.
        ExportError: The network can't be exported.
        ParityError: The dynamic network or the file computes something else.
        StorageError: `directory` is in the way, or can't be written.
    """
    if export is not None and not isinstance(export, ExportSettings):
        raise ConfigError(f"export must be ExportSettings or None, got {export!r}")
    target = Path(directory)
    with staged_directory(target, force=force) as staging:
        done = convert_into(
            staging,
            model,
            as_inputs(example_inputs),
            config or SurgeryConfig(),
            export=export,
            calibrate=calibrate,
            origin=origin,
            metadata=metadata,
            latency=latency,
            progress=progress,
        )
    file = None if done.export is None else replace(done.export, path=target / ONNX)
    return replace(done, directory=target, export=file)


def convert_into(
    directory: Path,
    model: nn.Module,
    inputs: Inputs,
    config: SurgeryConfig,
    *,
    export: ExportSettings | None,
    calibrate: Calibrate | None = None,
    origin: Mapping[str, Any] | None = None,
    metadata: Mapping[str, str] | None = None,
    latency: bool = True,
    progress: Step | None = None,
) -> Conversion:
    """Do the work of `convert_to_directory` in a directory that is there."""
    step, load = progress or (lambda what: None), others_load()
    step("planning" if config.latency_budget is None else "planning, and measuring each site")
    plan = make_plan(model, inputs, config)
    step(f"converting {len(plan.converted)} sites")
    dynamic = convert(model, inputs, plan)
    attention = None
    if calibrate is not None:
        step("fitting the attention")
        attention = calibrate(dynamic)
    step("comparing the dynamic network with the original, site by site")
    receipt = check_parity(model, dynamic, inputs, seed=config.seed)
    if not receipt.passed:
        raise ParityError(f"the dynamic network is not the original: {receipt}", receipt)
    step("saving")
    save(dynamic, directory, origin=origin)
    result = None
    if export is not None:
        step("exporting to ONNX, and verifying in onnxruntime")
        result = export_with(export, dynamic, directory / ONNX, inputs, metadata)
    measured: FileLatency | str | None = None
    if result is not None and latency:
        step("timing the file beside the static network's")
        measured = measure_latency(model, result, inputs, load)
    step("counting agreements")
    document: Document = {
        "format": 1,
        "model": None if origin is None else dict(origin),
        "config": config.to_dict(),
        "costs": costs(plan),
        "sites": [site.to_dict() for site in plan.sites],
        "calibration": None if attention is None else attention.to_dict(),
        "torch": receipt.to_dict(),
        "onnx": None if result is None else {**export_document(result), **_told(measured)},
        "agreement": top1_agreement(
            model,
            dynamic,
            None if result is None else result.path,
            inputs,
            batch=export.batch if export else None,
        ),
        "notes": list(plan.notes),
        "versions": versions(),
    }
    write_receipt(directory, document)
    return Conversion(directory, plan, dynamic, receipt, result, attention, document)


def _told(measured: FileLatency | str | None) -> Document:
    """Return what a receipt says of a file's latency, under the file: another one has another."""
    if isinstance(measured, FileLatency):
        return {"latency": measured.to_dict()}
    return {"latency": None} if measured is None else {"latency": None, "latency_note": measured}


def export_with(
    settings: ExportSettings,
    dynamic: nn.Module,
    path: Path,
    inputs: Inputs,
    metadata: Mapping[str, str] | None = None,
) -> ExportResult:
    """Export and verify as the settings say.

    Raises:
        ExportError: The network can't be exported, or a runtime refuses the file; names the way
            out.
        ParityError: onnxruntime, or another runtime, computes something else.
    """
    try:
        return export_onnx(dynamic, path, inputs, metadata=metadata, **asdict(settings))
    except RuntimeRefusalError:  # says itself what would do
        raise
    except ExportError as error:
        raise ExportError(f"{error} ({INSTEAD} converts without the ONNX file)") from error


def export_document(result: ExportResult) -> Document:
    """Return what a receipt says of an exported file."""
    found = {**result.to_dict(), "path": result.path.name}
    return {**found, "params": count_initializers(result.path)}
