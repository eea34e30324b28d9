"""The last table of ``convert``: original, dynamic and ONNX, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dynsurgeon.surgery.decide.plan_table import human

from ..render import print_table, say

HEADER = ("network", "parameters", "MACs", "max difference", "top-1 agreement")


def print_comparison(document: Mapping[str, Any]) -> None:
    """Print the table of a receipt, and its notes."""
    costs, agreement = document["costs"], document["agreement"] or {}
    rows = [
        ("original", human(costs["params_before"]), human(costs["macs_before"]), "-", "-"),
        (
            "dynamic",
            human(costs["params_after"]),
            human(costs["macs_after"]),
            _relative(document["torch"]),
            _share(agreement.get("dynamic")),
        ),
    ]
    found = document["onnx"]
    if found is not None:
        share = _share(agreement.get("onnx"))
        macs = human(costs["macs_after"])
        rows.append(("ONNX", human(found["params"]), macs, _relative(found), share))
    print_table(HEADER, rows)
    for line in (*document["notes"], *document["torch"]["notes"]):
        say(f"note: {line}")


def print_attention(found: Mapping[str, Any]) -> None:
    """Print what calibration made of each site's attention."""
    rows = [
        (
            site["name"],
            f"{site['entropy']:.0%}",
            f"{site['spread']:.3f}",
            " ".join(f"{share:.0%}" for share in site["leads"]),
        )
        for site in found["sites"]
    ]
    print_table(("site", "entropy", "kernel spread", "share led by each kernel"), rows)
    say(f"attention fitted to {found['samples']} images")
    for line in found["notes"]:
        say(f"note: {line}")


def _relative(found: Mapping[str, Any]) -> str:
    return f"{found['max_rel']:.2g}"


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"
