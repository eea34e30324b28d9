"""The static network against its dynamic form: a table of engines, batches and threads."""
