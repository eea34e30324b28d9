"""An inspection as files: findings for the report, and pictures."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dynsurgeon.errors import ConfigError
from dynsurgeon.inspection import Inspection, SiteInspection
from dynsurgeon.progress import counted
from dynsurgeon.reports.contents import FINDINGS
from dynsurgeon.reports.thumbnails import Picture, data_uri, lit, thumbnail

SHOWN = 3
"""Small pictures for each kernel."""

EMBEDDED = 12
"""Sites with small pictures in the report, which must not grow with the network."""


def require_matplotlib() -> None:
    """Make sure that pictures can be drawn, before anything is done for them.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise ConfigError(
            "pictures take matplotlib: pip install 'dynsurgeon[report]' (--pictures 0 does without)"
        )


def write_inspection(folder: Path, found: Inspection, picture: Picture, pictures: int) -> int:
    """Write ``findings.json``, and pictures of the sites that vary most.

    Args:
        folder: An empty folder.
        found: What was found.
        picture: Gives a sample's picture.
        pictures: Number of sites to draw.

    Returns:
        The number of pictures.
    """
    moving = sorted(found.sites, key=lambda site: -site.moves)
    document = found.to_dict()
    by_name = {site["name"]: site for site in document["sites"]}
    for site in moving[:EMBEDDED]:
        _add_pictures(by_name[site.name], site, picture)
    for site in moving[EMBEDDED:]:
        by_name[site.name]["places"] = None
    (folder / FINDINGS).write_text(json.dumps(document, allow_nan=False), encoding="utf-8")
    if not pictures:
        return 0
    from dynsurgeon.reports.drawing import draw_site

    drawn = 0
    for number, site in enumerate(counted(moving[:pictures], "sites"), 1):
        stem = f"{number:02d}-{re.sub(r'[^A-Za-z0-9_.-]+', '-', site.name)[:80]}"
        for kind, figure in draw_site(site, found, picture):
            figure.savefig(folder / f"{stem}-{kind}.png")
            drawn += 1
    return drawn


def _add_pictures(document: dict[str, Any], site: SiteInspection, picture: Picture) -> None:
    if site.kernels is not None:
        document["kernels"]["pictures"] = [
            [data_uri(thumbnail(picture(sample))) for sample in samples[:SHOWN]]
            for samples in site.kernels.leaders
        ]
    if site.places is not None:
        document["places"] = [
            {
                "image": data_uri(thumbnail(picture(sample))),
                "map": data_uri(lit(thumbnail(picture(sample)), map_)),
            }
            for sample, map_ in zip(site.places.samples, site.places.maps, strict=True)
        ]
