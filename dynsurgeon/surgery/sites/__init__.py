"""The call sites of a model: how they are seen, named and selected."""
