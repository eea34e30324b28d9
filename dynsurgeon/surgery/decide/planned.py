"""What a plan holds: a row a call site, the totals, and the recipe that `convert` applies."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from dynsurgeon.html_table import html_table
from dynsurgeon.recipe import Recipe
from dynsurgeon.surgery.decide.plan_table import Totals, plan_rows, plan_table
from dynsurgeon.surgery.decide.rows import Latency, Site


@dataclass(frozen=True)
class Plan:
    """What `convert` will do; as text it is a table.

    Attributes:
        sites: Every call site, in order of execution.
        params_before: Parameters of the whole model now.
        macs_before: Multiply-accumulates a sample of the whole model now.
        notes: What could not be seen, such as a mode that does not run on the example inputs.
        recipe: The recipe that `convert` applies.
        latency: What a latency budget measured of the whole, or None without one.
    """

    sites: tuple[Site, ...]
    params_before: int
    macs_before: int
    notes: tuple[str, ...]
    recipe: Recipe
    latency: Latency | None = None

    @property
    def converted(self) -> list[Site]:
        """The sites that become dynamic."""
        return [site for site in self.sites if site.is_converted]

    @property
    def skipped(self) -> list[Site]:
        """The sites that stay static, each with its reason."""
        return [site for site in self.sites if not site.is_converted]

    @property
    def params_after(self) -> int:
        """Parameters of the whole model after conversion."""
        return self.params_before + sum(s.params_after - s.params_before for s in self.sites)

    @property
    def macs_after(self) -> int:
        """Multiply-accumulates a sample of the whole model after conversion."""
        return self.macs_before + sum(s.macs_after - s.macs_before for s in self.sites)

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain JSON values, without the recipe."""
        totals = ("params_before", "params_after", "macs_before", "macs_after")
        return {
            "sites": [site.to_dict() for site in self.sites],
            "notes": list(self.notes),
            **{name: getattr(self, name) for name in totals},
            **({} if self.latency is None else {"latency": asdict(self.latency)}),
        }

    def rows(self) -> list[tuple[str, ...]]:
        """Return the cells of the plan's table: the header, every site, and the totals."""
        return plan_rows(self.sites, self._totals(), self.latency)

    def __str__(self) -> str:
        return plan_table(self.rows(), self.notes)

    def _repr_html_(self) -> str:
        header, *rows, total = self.rows()
        title = f"{len(self.converted)} of {len(self.sites)} call sites become dynamic"
        return html_table(header, rows, title=title, total=total, notes=self.notes)

    def _totals(self) -> Totals:
        return Totals(self.params_before, self.params_after, self.macs_before, self.macs_after)
