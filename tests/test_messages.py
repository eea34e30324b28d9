from __future__ import annotations

import pytest

from dynsurgeon.messages import LINE, TEXT, first_line, one_line, shortened


@pytest.mark.parametrize(
    ("text", "first", "whole"),
    [
        ("one\ntwo", "one", "ValueError: one two"),
        ("\n\n  bad \nworse", "bad", "ValueError: bad worse"),
        ("a\n  b", "a", "ValueError: a b"),
        (" \n ", "ValueError", "ValueError"),
        ("", "ValueError", "ValueError"),
    ],
)
def test_one_line_of_an_error(text: str, first: str, whole: str) -> None:
    assert first_line(ValueError(text)) == first
    assert one_line(ValueError(text)) == whole


def test_the_class_is_named_once() -> None:
    assert first_line(ValueError("bad\nworse"), named=True) == "ValueError: bad"
    assert first_line(ValueError(), named=True) == "ValueError"


def test_a_long_text_is_cut() -> None:
    error = ValueError("x" * 999)
    assert first_line(error) == "x" * (LINE - 1) + "…"
    assert len(one_line(error)) == len("ValueError: ") + TEXT
    assert first_line(error, limit=999) == "x" * 999
    assert shortened("abc def", 5) == "abc…"
