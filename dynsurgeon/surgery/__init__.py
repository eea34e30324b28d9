"""From a static network to a dynamic one: plan the call sites, cut, and undo."""
