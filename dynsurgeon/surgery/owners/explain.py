"""What torch.fx means, in the words of somebody who did not know that torch.fx was at work."""

from __future__ import annotations

import re

from dynsurgeon.messages import first_line

LONGEST = 160
"""Letters of torch.fx's own message, which stands in a table."""

_MEANINGS = (
    (r"inputs to control flow", "branches on values of a tensor"),
    (r"cannot be iterated|is not iterable", "iterates over a tensor"),
    (r"'len' is not supported|has no len\(\)", "takes a length that is known only when it runs"),
    (
        r"(int|float|complex)\(\) argument must be|interpreted as an integer|must be real number"
        r"|__(index|round|trunc|ceil|floor|format)__",
        "converts a tensor or a size to a Python number",
    ),
    (r"does not support item (assignment|deletion)", "writes into a part of a tensor by index"),
    (r"argument of type: <class .(?P<what>.*).>", "computes with a {what} in a graph of tensors"),
    (r"not installed as a submodule", "calls a module that is not registered below it"),
    (r"multiple different tracers", "was being traced already"),
    (r"cannot contain a Node", "looks up a dictionary by a tensor"),
    (r"Proxy|OwnerAttribute|__(cuda_)?array", "hands a tensor to code that only takes real ones"),
)
"""Patterns of messages, and what the forward does that brings each about."""


def explain(error: Exception) -> str:
    """Say what an owner's forward does that made tracing it raise `error`."""
    for pattern, meaning in _MEANINGS:
        found = re.search(pattern, str(error))
        if found is not None:
            return f"its owner's forward {meaning.format(**found.groupdict())}"
    return f"its owner's forward can't be read by torch.fx ({first_line(error, limit=LONGEST)})"
