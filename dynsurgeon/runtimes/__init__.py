"""What runs an exported file: one file a runtime."""
