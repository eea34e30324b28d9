"""Whole detectors: traced by TorchScript's tracer, verified by matching boxes."""
