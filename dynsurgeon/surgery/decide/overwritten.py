"""Leave a ReLU static whose input the model overwrites afterwards.

To train, a static ReLU needs what it gave; a layer that learns needs what it took.
"""

from __future__ import annotations

from collections.abc import Iterable

from dynsurgeon.surgery.decide.activations import activation_form
from dynsurgeon.surgery.sites.candidates import Candidate
from dynsurgeon.surgery.sites.writes import Place

REASON = "its input is overwritten after the call, and a layer that learns would need it"


def keep_overwritten(candidates: Iterable[Candidate], *, all_convert: bool) -> None:
    """Set the `reason` of candidates that could not be trained; other activations can't anyway.

    Args:
        candidates: All of them, judged, with what is known of their writes.
        all_convert: Whether every candidate without a reason becomes dynamic. An in-place
            activation that does writes no more, unless it has to.
    """
    candidates = list(candidates)
    gone: set[Place | None] = set()
    if all_convert:
        open_ones = (c for c in candidates if c.reason is None and not c.inplace)
        gone = {(site.owner, site.key) for c in open_ones for site in c.sites}
    for candidate in candidates:
        if candidate.reason is not None or candidate.is_convolution:
            continue
        writers = {writer for site in candidate.sites for writer in site.writers}
        if writers - gone and activation_form(candidate).function == "relu":
            candidate.reason = REASON
