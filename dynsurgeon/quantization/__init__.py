"""Whole networks in 8 bits, by onnxruntime's static quantisation, and what it costs in accuracy."""
