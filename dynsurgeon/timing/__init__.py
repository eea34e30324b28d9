"""Measuring time: several candidates interleaved in one process."""
