"""Which sites a user's patterns mean.

A pattern is a glob on dotted site names (``*`` crosses dots), ``re:`` and a regular expression that
matches the whole name, or a class name such as ``Conv2d``. One that means nothing is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

from dynsurgeon.config import SurgeryConfig
from dynsurgeon.errors import PatternError, suggest
from dynsurgeon.surgery.sites.candidates import Candidate


def check_patterns(
    config: SurgeryConfig, candidates: list[Candidate], containers: Iterable[str]
) -> None:
    """Raise `PatternError` for a pattern of `config` that selects none of `candidates`."""
    containers = set(containers)
    for option in ("include", "exclude", "overrides"):
        for pattern in getattr(config, option):
            if not any(matches(pattern, candidate) for candidate in candidates):
                raise PatternError(_explain(option, pattern, candidates, containers))


def matches(pattern: str, candidate: Candidate) -> bool:
    """Whether `pattern` selects `candidate`, by its name or by the class of its operator."""
    if pattern.startswith("re:"):
        return _compile(pattern).fullmatch(candidate.name) is not None
    names = {candidate.operation}
    if candidate.module is not None and candidate.static is not None:
        names.add(candidate.static.__name__)
    return pattern in names or fnmatchcase(candidate.name, pattern)


def names_exactly(patterns: Iterable[str], candidate: Candidate) -> bool:
    """Whether one of `patterns` is the candidate's very name: the user means this one."""
    return candidate.name in set(patterns)


def _compile(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern.removeprefix("re:"))
    except re.error as error:
        raise PatternError(f"{pattern!r} is not a regular expression: {error}") from error


def _explain(option: str, pattern: str, candidates: list[Candidate], containers: set[str]) -> str:
    start = f"{option} pattern {pattern!r} selects no site"
    if pattern in containers:
        return f"{start}: it is a container; did you mean {pattern + '.*'!r}?"
    known = {candidate.name for candidate in candidates} | {c.operation for c in candidates}
    hint = suggest(pattern, known | {f"{name}.*" for name in containers if name})
    return start + (hint or f"; the model has {len(candidates)} sites, see dynsurgeon.plan")
