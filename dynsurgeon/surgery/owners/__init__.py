"""The modules whose forwards make the calls: traced, understood, proven, rewritten."""
