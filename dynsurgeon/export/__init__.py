"""ONNX: trace the network, lower each dynamic convolution to an exact form, write, verify."""

from dynsurgeon.export.existing import verify_onnx
from dynsurgeon.export.exporter import export_onnx
from dynsurgeon.export.result import ExportCheck, ExportResult

__all__ = ["ExportCheck", "ExportResult", "export_onnx", "verify_onnx"]
