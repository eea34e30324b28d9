"""The layout of onnxruntime's CPU provider (NCHWc) for convolutions with computed kernels."""

from dynsurgeon.export.native.layout import lay_out

__all__ = ["lay_out"]
