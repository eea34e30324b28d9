"""The cut itself: static modules become dynamic ones, and static again."""
