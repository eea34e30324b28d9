"""Running a model: what it is called with, in which mode, and that nothing is left behind."""
