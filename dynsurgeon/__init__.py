"""dynsurgeon: make a pretrained network dynamic without changing what it computes.

    import dynsurgeon as ds

    dynamic = ds.convert(model, example_inputs)
    receipt = ds.check_parity(model, dynamic, example_inputs)
    ds.export_onnx(dynamic, "model.onnx", example_inputs)

Names are imported when they are first used, so that the command line starts without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dynsurgeon.config import DynamicConvConfig, DynamicReLUConfig, MeasureConfig, SurgeryConfig
    from dynsurgeon.errors import (
        ConfigError,
        DataError,
        ExportError,
        ModelNotFoundError,
        NoSiteError,
        ParityError,
        PatternError,
        RestoreError,
        StorageError,
        SurgeryError,
        TrainingError,
        UnsupportedModelError,
        WeightsError,
    )
    from dynsurgeon.export import ExportCheck, ExportResult, export_onnx, verify_onnx
    from dynsurgeon.export.result import Timings
    from dynsurgeon.operators import (
        ActivationForm,
        DynamicConv,
        DynamicConv1d,
        DynamicConv2d,
        DynamicConv3d,
        DynamicConvTranspose1d,
        DynamicConvTranspose2d,
        DynamicConvTranspose3d,
        DynamicReLU,
        DynamicReLUA,
        DynamicReLUB,
        DynamicReLUC,
    )
    from dynsurgeon.proof.parity import check_parity
    from dynsurgeon.proof.receipt import Receipt, SiteParity
    from dynsurgeon.recipe import OwnerRecipe, Recipe, SiteRecipe
    from dynsurgeon.storage import load, save
    from dynsurgeon.surgery.costs import Cost
    from dynsurgeon.surgery.cut import convert
    from dynsurgeon.surgery.inputs import Inputs
    from dynsurgeon.surgery.plan import plan
    from dynsurgeon.surgery.planned import Latency, Plan, Site
    from dynsurgeon.surgery.restore import restore
    from dynsurgeon.surgery.temperature import set_temperature
    from dynsurgeon.training.bank_steps import balance_banks
    from dynsurgeon.training.batch_norm import BatchNormReport, update_batch_norm
    from dynsurgeon.training.calibrate import calibrate
    from dynsurgeon.training.finetune.data import TrainingData, load_images
    from dynsurgeon.training.finetune.engine import finetune
    from dynsurgeon.training.finetune.listener import Listener, Setup
    from dynsurgeon.training.finetune.rate_probe import RateProbe
    from dynsurgeon.training.finetune.results import Epoch, FinetuneResult, Gain, Score
    from dynsurgeon.training.finetune.settings import FinetuneSettings
    from dynsurgeon.training.groups import parameter_groups
    from dynsurgeon.training.report import AttentionReport, SiteAttention, attention_report
    from dynsurgeon.training.schedule import TemperatureSchedule, temperature_at
    from dynsurgeon.workflow.conversion import Conversion, convert_to_directory
    from dynsurgeon.workflow.export_settings import ExportSettings

_MODULES: dict[str, tuple[str, ...]] = {
    "config": ("DynamicConvConfig", "DynamicReLUConfig", "MeasureConfig", "SurgeryConfig"),
    "errors": (
        "ConfigError",
        "DataError",
        "ExportError",
        "ModelNotFoundError",
        "NoSiteError",
        "ParityError",
        "PatternError",
        "RestoreError",
        "StorageError",
        "SurgeryError",
        "TrainingError",
        "UnsupportedModelError",
        "WeightsError",
    ),
    "export": ("ExportCheck", "ExportResult", "export_onnx", "verify_onnx"),
    "export.result": ("Timings",),
    "operators": (
        "ActivationForm",
        "DynamicConv",
        "DynamicConv1d",
        "DynamicConv2d",
        "DynamicConv3d",
        "DynamicConvTranspose1d",
        "DynamicConvTranspose2d",
        "DynamicConvTranspose3d",
        "DynamicReLU",
        "DynamicReLUA",
        "DynamicReLUB",
        "DynamicReLUC",
    ),
    "proof.parity": ("check_parity",),
    "proof.receipt": ("Receipt", "SiteParity"),
    "recipe": ("OwnerRecipe", "Recipe", "SiteRecipe"),
    "storage": ("load", "save"),
    "surgery.costs": ("Cost",),
    "surgery.cut": ("convert",),
    "surgery.inputs": ("Inputs",),
    "surgery.plan": ("plan",),
    "surgery.planned": ("Latency", "Plan", "Site"),
    "surgery.restore": ("restore",),
    "surgery.temperature": ("set_temperature",),
    "training.bank_steps": ("balance_banks",),
    "training.batch_norm": ("BatchNormReport", "update_batch_norm"),
    "training.calibrate": ("calibrate",),
    "training.finetune.data": ("TrainingData", "load_images"),
    "training.finetune.engine": ("finetune",),
    "training.finetune.listener": ("Listener", "Setup"),
    "training.finetune.rate_probe": ("RateProbe",),
    "training.finetune.results": ("Epoch", "FinetuneResult", "Gain", "Score"),
    "training.finetune.settings": ("FinetuneSettings",),
    "training.groups": ("parameter_groups",),
    "training.report": ("AttentionReport", "SiteAttention", "attention_report"),
    "training.schedule": ("TemperatureSchedule", "temperature_at"),
    "workflow.conversion": ("Conversion", "convert_to_directory"),
    "workflow.export_settings": ("ExportSettings",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "ActivationForm",
    "AttentionReport",
    "BatchNormReport",
    "ConfigError",
    "Conversion",
    "Cost",
    "DataError",
    "DynamicConv",
    "DynamicConv1d",
    "DynamicConv2d",
    "DynamicConv3d",
    "DynamicConvConfig",
    "DynamicConvTranspose1d",
    "DynamicConvTranspose2d",
    "DynamicConvTranspose3d",
    "DynamicReLU",
    "DynamicReLUA",
    "DynamicReLUB",
    "DynamicReLUC",
    "DynamicReLUConfig",
    "Epoch",
    "ExportCheck",
    "ExportError",
    "ExportResult",
    "ExportSettings",
    "FinetuneResult",
    "FinetuneSettings",
    "Gain",
    "Inputs",
    "Latency",
    "Listener",
    "MeasureConfig",
    "ModelNotFoundError",
    "NoSiteError",
    "OwnerRecipe",
    "ParityError",
    "PatternError",
    "Plan",
    "RateProbe",
    "Receipt",
    "Recipe",
    "RestoreError",
    "Score",
    "Setup",
    "Site",
    "SiteAttention",
    "SiteParity",
    "SiteRecipe",
    "StorageError",
    "SurgeryConfig",
    "SurgeryError",
    "TemperatureSchedule",
    "Timings",
    "TrainingData",
    "TrainingError",
    "UnsupportedModelError",
    "WeightsError",
    "attention_report",
    "balance_banks",
    "calibrate",
    "check_parity",
    "convert",
    "convert_to_directory",
    "export_onnx",
    "finetune",
    "load",
    "load_images",
    "parameter_groups",
    "plan",
    "restore",
    "save",
    "set_temperature",
    "temperature_at",
    "update_batch_norm",
    "verify_onnx",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
