"""Random networks that once found a fault, kept with what the fault was."""

from __future__ import annotations

from random_networks import Program

FOUND: dict[str, Program] = {}
