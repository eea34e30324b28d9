"""What an exception says, short enough to be a part of a message of one line."""

from __future__ import annotations

LINE, TEXT = 500, 160
"""Letters that are passed on of a first line and of a whole text, unless others are asked for.

onnxruntime names a file and a C++ function before it says what is wrong; what a whole text goes on
to say after its beginning is mostly a list."""


def first_line(error: BaseException, *, named: bool = False, limit: int = LINE) -> str:
    """Return the first line of an error's text, or its class if it has no text.

    Args:
        error: The error.
        named: Put the class before it.
        limit: Most letters of the text.
    """
    lines = str(error).strip().splitlines()
    text = shortened(lines[0].rstrip(), limit) if lines else ""
    kind = type(error).__name__
    return f"{kind}: {text}" if text and named else text or kind


def one_line(error: BaseException, *, limit: int = TEXT) -> str:
    """Return an error's class and its whole text, its lines joined to one.

    Args:
        error: The error.
        limit: Most letters of the text.
    """
    text = shortened(" ".join(str(error).split()), limit)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def shortened(text: str, limit: int) -> str:
    """Return a text, or its beginning with an ellipsis if it has more letters than `limit`."""
    return text if len(text) <= limit else f"{text[: limit - 1].rstrip()}…"
