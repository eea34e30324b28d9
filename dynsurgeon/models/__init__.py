"""Networks by name: where they and their weights come from, and what they are fed."""
