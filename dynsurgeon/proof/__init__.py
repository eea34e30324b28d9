"""Proof that a dynamic network computes what its original does."""
