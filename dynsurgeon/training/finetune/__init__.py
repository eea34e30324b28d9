"""Fine-tuning of converted networks: data, engine, checkpoints, and the static twin beside it."""
