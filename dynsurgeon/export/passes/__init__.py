"""Passes over the captured graph, one a file, each exact; `lowering` runs them in order."""
