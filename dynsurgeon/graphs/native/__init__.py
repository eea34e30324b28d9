"""The layout of onnxruntime's CPU provider (NCHWc) for convolutions with computed kernels."""

from dynsurgeon.graphs.native.layout import lay_out

__all__ = ["lay_out"]
