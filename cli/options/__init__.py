"""Options in groups, and what their words mean."""
