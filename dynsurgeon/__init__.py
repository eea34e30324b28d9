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
    from dynsurgeon.conversion import convert
    from dynsurgeon.errors import (
        ConfigError,
        DataError,
        ExportError,
        MachineError,
        ModelNotFoundError,
        NoSiteError,
        ParityError,
        PatternError,
        RestoreError,
        RuntimeRefusalError,
        StorageError,
        SurgeryError,
        TrainingError,
        UnsupportedModelError,
        WeightsError,
    )
    from dynsurgeon.export import ExportCheck, ExportResult, export_onnx, verify_onnx
    from dynsurgeon.export.detectors.matching import MatchedBoxes
    from dynsurgeon.export.result import RuntimeProof, Timings
    from dynsurgeon.inspection import (
        Curves,
        Factor,
        Inspection,
        KernelUse,
        Places,
        SiteInspection,
        inspect,
    )
    from dynsurgeon.operators import (
        ActivationForm,
        ActivationLayer,
        ConvolutionLayer,
        DynamicConv,
        DynamicConv1d,
        DynamicConv2d,
        DynamicConv3d,
        DynamicConvTranspose1d,
        DynamicConvTranspose2d,
        DynamicConvTranspose3d,
        DynamicLayer,
        DynamicReLU,
        DynamicReLUA,
        DynamicReLUB,
        DynamicReLUC,
        Head,
        Part,
        Temperature,
    )
    from dynsurgeon.planning import plan
    from dynsurgeon.proof.parity import check_parity
    from dynsurgeon.proof.receipt import Receipt, SiteParity
    from dynsurgeon.quantization.compare import FileComparison
    from dynsurgeon.quantization.quantize import QuantizeResult, quantize_onnx
    from dynsurgeon.recipe import OwnerRecipe, Recipe, SiteRecipe
    from dynsurgeon.registry import Operator, operator_names, register_operator
    from dynsurgeon.running.inputs import Inputs
    from dynsurgeon.settings import (
        ActivationGateConfig,
        CondConvConfig,
        DCDConfig,
        GateConfig,
        ODConvConfig,
        ScaleConfig,
        ShiftMaxConfig,
    )
    from dynsurgeon.storage import load, save
    from dynsurgeon.surgery.cut.restore import restore
    from dynsurgeon.surgery.decide.costs import Cost
    from dynsurgeon.surgery.decide.planned import Plan
    from dynsurgeon.surgery.decide.rows import Latency, Site
    from dynsurgeon.training.bank_steps import balance_banks
    from dynsurgeon.training.batch_norm import BatchNormReport, update_batch_norm
    from dynsurgeon.training.calibrate import calibrate
    from dynsurgeon.training.finetune.data import TrainingData, load_images
    from dynsurgeon.training.finetune.engine import finetune
    from dynsurgeon.training.finetune.listener import Listener, Setup
    from dynsurgeon.training.finetune.results import Epoch, FinetuneResult, Gain, RateProbe, Score
    from dynsurgeon.training.finetune.settings import FinetuneSettings
    from dynsurgeon.training.groups import parameter_groups
    from dynsurgeon.training.report import AttentionReport, SiteAttention, attention_report
    from dynsurgeon.training.schedule import TemperatureSchedule, temperature_at
    from dynsurgeon.training.temperature import set_temperature
    from dynsurgeon.workflow.conversion import Conversion, convert_to_directory
    from dynsurgeon.workflow.export_settings import ExportSettings

_MODULES: dict[str, tuple[str, ...]] = {
    "config": (
        "DynamicConvConfig",
        "DynamicReLUConfig",
        "MeasureConfig",
        "SurgeryConfig",
    ),
    "conversion": ("convert",),
    "errors": (
        "ConfigError",
        "DataError",
        "ExportError",
        "MachineError",
        "ModelNotFoundError",
        "NoSiteError",
        "ParityError",
        "PatternError",
        "RestoreError",
        "RuntimeRefusalError",
        "StorageError",
        "SurgeryError",
        "TrainingError",
        "UnsupportedModelError",
        "WeightsError",
    ),
    "export": (
        "ExportCheck",
        "ExportResult",
        "export_onnx",
        "verify_onnx",
    ),
    "export.detectors.matching": ("MatchedBoxes",),
    "export.result": ("RuntimeProof", "Timings"),
    "inspection": (
        "Curves",
        "Factor",
        "Inspection",
        "KernelUse",
        "Places",
        "SiteInspection",
        "inspect",
    ),
    "operators": (
        "ActivationForm",
        "ActivationLayer",
        "ConvolutionLayer",
        "DynamicConv",
        "DynamicConv1d",
        "DynamicConv2d",
        "DynamicConv3d",
        "DynamicConvTranspose1d",
        "DynamicConvTranspose2d",
        "DynamicConvTranspose3d",
        "DynamicLayer",
        "DynamicReLU",
        "DynamicReLUA",
        "DynamicReLUB",
        "DynamicReLUC",
        "Head",
        "Part",
        "Temperature",
    ),
    "planning": ("plan",),
    "proof.parity": ("check_parity",),
    "proof.receipt": (
        "Receipt",
        "SiteParity",
    ),
    "quantization.compare": ("FileComparison",),
    "quantization.quantize": (
        "QuantizeResult",
        "quantize_onnx",
    ),
    "recipe": (
        "OwnerRecipe",
        "Recipe",
        "SiteRecipe",
    ),
    "registry": (
        "Operator",
        "operator_names",
        "register_operator",
    ),
    "running.inputs": ("Inputs",),
    "settings": (
        "ActivationGateConfig",
        "CondConvConfig",
        "DCDConfig",
        "GateConfig",
        "ODConvConfig",
        "ScaleConfig",
        "ShiftMaxConfig",
    ),
    "storage": (
        "load",
        "save",
    ),
    "surgery.cut.restore": ("restore",),
    "surgery.decide.costs": ("Cost",),
    "surgery.decide.planned": ("Plan",),
    "surgery.decide.rows": ("Latency", "Site"),
    "training.bank_steps": ("balance_banks",),
    "training.batch_norm": (
        "BatchNormReport",
        "update_batch_norm",
    ),
    "training.calibrate": ("calibrate",),
    "training.finetune.data": (
        "TrainingData",
        "load_images",
    ),
    "training.finetune.engine": ("finetune",),
    "training.finetune.listener": (
        "Listener",
        "Setup",
    ),
    "training.finetune.results": (
        "Epoch",
        "FinetuneResult",
        "Gain",
        "RateProbe",
        "Score",
    ),
    "training.finetune.settings": ("FinetuneSettings",),
    "training.groups": ("parameter_groups",),
    "training.report": (
        "AttentionReport",
        "SiteAttention",
        "attention_report",
    ),
    "training.schedule": (
        "TemperatureSchedule",
        "temperature_at",
    ),
    "training.temperature": ("set_temperature",),
    "workflow.conversion": (
        "Conversion",
        "convert_to_directory",
    ),
    "workflow.export_settings": ("ExportSettings",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "ActivationForm",
    "ActivationGateConfig",
    "ActivationLayer",
    "AttentionReport",
    "BatchNormReport",
    "CondConvConfig",
    "ConfigError",
    "Conversion",
    "ConvolutionLayer",
    "Cost",
    "Curves",
    "DCDConfig",
    "DataError",
    "DynamicConv",
    "DynamicConv1d",
    "DynamicConv2d",
    "DynamicConv3d",
    "DynamicConvConfig",
    "DynamicConvTranspose1d",
    "DynamicConvTranspose2d",
    "DynamicConvTranspose3d",
    "DynamicLayer",
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
    "Factor",
    "FileComparison",
    "FinetuneResult",
    "FinetuneSettings",
    "Gain",
    "GateConfig",
    "Head",
    "Inputs",
    "Inspection",
    "KernelUse",
    "Latency",
    "Listener",
    "MachineError",
    "MatchedBoxes",
    "MeasureConfig",
    "ModelNotFoundError",
    "NoSiteError",
    "ODConvConfig",
    "Operator",
    "OwnerRecipe",
    "ParityError",
    "Part",
    "PatternError",
    "Places",
    "Plan",
    "QuantizeResult",
    "RateProbe",
    "Receipt",
    "Recipe",
    "RestoreError",
    "RuntimeProof",
    "RuntimeRefusalError",
    "ScaleConfig",
    "Score",
    "Setup",
    "ShiftMaxConfig",
    "Site",
    "SiteAttention",
    "SiteInspection",
    "SiteParity",
    "SiteRecipe",
    "StorageError",
    "SurgeryConfig",
    "SurgeryError",
    "Temperature",
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
    "inspect",
    "load",
    "load_images",
    "operator_names",
    "parameter_groups",
    "plan",
    "quantize_onnx",
    "register_operator",
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
