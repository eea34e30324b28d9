"""Plan within budgets: what each site costs and gives, which are chosen, and why not the rest."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace

from torch import nn

from dynsurgeon.budgets.knapsack import Option, broken, capacity, choose, total
from dynsurgeon.budgets.meter import Meter, OnnxMeter
from dynsurgeon.budgets.search import Chosen, Search, capacity_of
from dynsurgeon.errors import NoSiteError
from dynsurgeon.progress import counted
from dynsurgeon.running.copying import copy_of
from dynsurgeon.running.inputs import Inputs
from dynsurgeon.surgery.cut.apply import apply_recipe
from dynsurgeon.surgery.decide.draft import Decision, Draft, Variant
from dynsurgeon.surgery.decide.plan_table import human
from dynsurgeon.surgery.decide.planned import Plan
from dynsurgeon.surgery.decide.rows import Latency
from dynsurgeon.surgery.sites.candidates import Candidate, behind_convolutions

LATENCY, MACS, PARAMS = "latency", "MACs", "parameter"


def fit_budgets(draft: Draft, inputs: Inputs, meter: Meter | None = None) -> Plan:
    """Plan the sites that give most dynamic capacity within the configuration's budgets.

    Args:
        draft: The judged candidates.
        inputs: What the model runs on.
        meter: What measures; onnxruntime on this machine if None.

    Raises:
        NoSiteError: No site fits; says what the least would cost.
        ExportError: Latency can't be measured, for the network can't be exported.
    """
    with ExitStack() as stack:
        if meter is None and LATENCY in draft.config.budgets:
            meter = stack.enter_context(OnnxMeter(draft.model, inputs, draft.config.measure))
        return _Fit(draft, meter).plan()


class _Fit:
    """One budgeted plan in the making.

    Attributes:
        options: Every way to make a site dynamic, in order of execution.
        before: What the network costs now, by budget.
        allowances: What may be added, by budget.
    """

    def __init__(self, draft: Draft, meter: Meter | None) -> None:
        self.draft, self.meter = draft, meter
        self.budgets = draft.config.budgets
        self.options = self._all_options()
        whole = draft.plan()
        self.before = {MACS: float(whole.macs_before), PARAMS: float(whole.params_before)}
        if LATENCY in self.budgets and meter is not None:
            self.before[LATENCY] = meter.static_seconds()
        self.allowances = {n: (b - 1) * self.before[n] for n, b in self.budgets.items()}

    def plan(self) -> Plan:
        """Choose, and write the plan.

        Raises:
            NoSiteError: There are sites, and none fits.
        """
        if not self.options:  # no budget is to blame, and `convert` says what is
            return self.draft.plan()
        chosen = choose(self.options, self.allowances)
        if not chosen:
            raise NoSiteError(self._nothing_fits())
        latency = None
        if LATENCY in self.budgets:
            found = self._search().run()
            chosen, latency = found.chosen, found.latency
            self.allowances[LATENCY] = found.allowance
        plan = self.draft.plan(self._decisions(chosen))
        return replace(plan, latency=latency, notes=(*plan.notes, *self._notes(chosen, latency)))

    def _all_options(self) -> list[Option]:
        options: list[Option] = []
        feeding = self._feeding()
        for candidate in counted(self.draft.candidates, "sites"):
            if candidate.reason is None:
                options += self._options(candidate, feeding.get(candidate.name, 0))
        return options

    def _feeding(self) -> dict[str, int]:
        """Return the multiply-adds of the convolution that ran last before each activation."""
        pairs = behind_convolutions(self.draft.candidates)
        return {site.name: self.draft.cost_now(before).macs for site, before in pairs}

    def _options(self, candidate: Candidate, feeding: int) -> list[Option]:
        variants = self.draft.variants(candidate)
        seconds: list[float | None] = [None] * len(variants)
        if LATENCY in self.budgets and self.meter is not None:
            seconds = [*self.meter.site_seconds(variants)]
        # An activation makes the convolution before it depend on the input.
        macs = None if candidate.is_convolution else feeding
        return [_option(v, s, macs) for v, s in zip(variants, seconds, strict=True)]

    def _search(self) -> Search:
        def within(spend: float) -> Chosen:
            # The least there is, if so little is allowed: the measurement has the last word.
            chosen = choose(self.options, {**self.allowances, LATENCY: spend})
            return chosen or choose(
                self.options, {**self.allowances, LATENCY: self._least(LATENCY)}
            )

        best = {o.site: o for o in sorted(self.options, key=lambda o: o.capacity)}
        return Search(
            budget=self.budgets[LATENCY],
            allowance=self.allowances[LATENCY],
            choose=within,
            measure=self._measure,
            complete=capacity_of(best),
        )

    def _measure(self, chosen: Chosen) -> Latency:
        assert self.meter is not None
        dynamic: nn.Module = copy_of(self.draft.model)
        apply_recipe(dynamic, self.draft.plan(self._decisions(chosen)).recipe)
        return self.meter.network(dynamic)

    def _decisions(self, chosen: Chosen) -> dict[str, Decision]:
        used = {name: total(chosen, name) for name in self.allowances}
        decisions = {}
        for option in reversed(self.options):  # so that the cheapest of a site has the last word
            if option.site in chosen:
                taken = chosen[option.site]
                decisions[option.site] = Decision(None, taken.choice, _milliseconds(taken))
            else:
                reason = self._reason(option, chosen, used)
                decisions[option.site] = Decision(reason, None, _milliseconds(option))
        return decisions

    def _reason(self, option: Option, chosen: Chosen, used: Mapping[str, float]) -> str:
        names = broken(option, chosen, used, self.allowances)
        if not names:
            return "left out by the budget: it has no dynamic capacity"
        whole = sum({o.site: o.capacity for o in self.options}.values())
        added = ", ".join(_amount(name, option.costs[name]) for name in names)
        kind = "budget" if len(names) == 1 else "budgets"
        return (
            f"left out by the {' and '.join(names)} {kind}: {added} for "
            f"{option.capacity / whole:.1%} of the dynamic capacity"
        )

    def _least(self, name: str) -> float:
        return max(min(option.costs[name] for option in self.options), 0.0)

    def _nothing_fits(self) -> str:
        worst = max(self.budgets, key=lambda n: self._least(n) - self.allowances[n])
        option = min(self.options, key=lambda o: o.costs[worst])
        ratio = 1 + option.costs[worst] / self.before[worst]
        return (
            f"no site fits the {worst} budget of {self.budgets[worst]:g}: the cheapest, "
            f"{option.site!r}, adds {_amount(worst, option.costs[worst])}, which makes "
            f"{ratio:.4g} times the static network"
        )

    def _notes(self, chosen: Chosen, latency: Latency | None) -> list[str]:
        kept = len({option.site for option in self.options})
        whole = sum({o.site: o.capacity for o in self.options}.values())
        notes = [
            f"within the budgets {len(chosen)} of {kept} sites, "
            f"{capacity_of(chosen) / whole:.0%} of the dynamic capacity"
        ]
        if latency is not None:
            notes.append(
                f"measured in onnxruntime at batch 1, {latency.threads} threads, form "
                f"{latency.form}: {latency.static_ms:.2f} -> {latency.dynamic_ms:.2f} ms, "
                f"{latency.ratio:.3f} times"
            )
        return notes


def _option(variant: Variant, seconds: float | None, feeding: int | None) -> Option:
    macs = variant.before.macs if feeding is None else max(feeding, variant.after.macs)
    costs = {
        MACS: float(variant.after.macs - variant.before.macs),
        PARAMS: float(variant.after.params - variant.before.params),
    }
    if seconds is not None:
        costs[LATENCY] = seconds
    worth = capacity(macs, variant.parts, activation=feeding is not None)
    return Option(variant.recipe.name, variant.settings, costs, worth)


def _milliseconds(option: Option) -> float | None:
    return 1e3 * option.costs[LATENCY] if LATENCY in option.costs else None


def _amount(name: str, value: float) -> str:
    if name == LATENCY:
        return f"{1e3 * value:+.3f} ms"
    return f"+{human(round(value))} {'MACs' if name == MACS else 'parameters'}"
