"""The commands, one file each: options, and what is printed."""
