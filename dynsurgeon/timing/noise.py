"""Say when a machine is too busy for its times to be believed."""

from __future__ import annotations

import os
from collections.abc import Iterable

from dynsurgeon.timing.interleave import Timing

SPREAD_LIMIT = 0.10
"""Interquartile range over the median above which a timing counts as noisy.

On an idle machine it lies at 1 to 3 %. At 10 % the medians of two runs of the same program differ
by several percent, which is as much as the ratios that are of interest here.
"""

LOAD_LIMIT = 0.5
"""Load average, before the measurement, above which other programs count as running.

The load average of the last minute; half a core busy all the time, or one core half of the time.
"""


def others_load() -> float | None:
    """Return the load average of the last minute; call it before the own work begins.

    None where the system has none.
    """
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return None


def noise_warning(
    timings: Iterable[Timing],
    load: float | None = None,
    *,
    spread_limit: float = SPREAD_LIMIT,
    load_limit: float = LOAD_LIMIT,
) -> str | None:
    """Return why these timings deserve distrust, and what to do; None if they don't.

    Args:
        timings: What was measured.
        load: `others_load` before the measurement, None if unknown.
        spread_limit: Spread above which a timing is noisy.
        load_limit: Load above which the machine is busy.
    """
    reasons = []
    widest = max((timing.spread for timing in timings), default=0.0)
    if widest > spread_limit:
        reasons.append(f"times spread by up to {widest:.0%} of their median")
    if load is not None and load > load_limit:
        reasons.append(f"other programs were running (load average {load:.1f} at the start)")
    if not reasons:
        return None
    return f"the machine is noisy: {' and '.join(reasons)}; measure again when it is idle"
