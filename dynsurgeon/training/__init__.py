"""Fine-tuning a converted network: its start on the user's data, and the recipe."""
