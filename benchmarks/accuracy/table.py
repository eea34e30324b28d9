"""Write the tables of docs/accuracy.md and docs/operators.md from the results.

python benchmarks/accuracy/table.py            # rewrites what lies between the markers
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from functools import partial
from statistics import mean, stdev
from typing import Any

from photo_run import OLDER
from run import DEFAULT_RATE, HERE, read_rows

DOCUMENTS = [HERE.parent.parent / "docs" / f"{name}.md" for name in ("accuracy", "operators")]
MARKER = re.compile(r"<!-- table: (\S+) -->\n.*?<!-- end -->", re.DOTALL)
MAIN = {
    "static": "static twin, trained on",
    "conv": "dynamic convolutions",
    "relu-b": "DY-ReLU-B",
    "both": "both",
}
Rows = dict[str, dict[int, dict[str, Any]]]


def main() -> None:
    """Rewrite every table of the documents."""
    for document in DOCUMENTS:
        text = document.read_text()
        document.write_text(MARKER.sub(lambda match: rewritten(match[1]), text))


def rewritten(name: str) -> str:
    """Return a table between its markers; its name is ``kind:images-network``."""
    kind, _, results = name.partition(":")
    rows = read_rows(HERE / "results" / f"{results}.jsonl")
    lines = {"main": main_table, "ablation": ablation_table, "rates": rate_table,
             "sites": site_table, "photos": photo_table,
             "worth": partial(worth_table, results=results)}[kind](rows)  # fmt: skip
    return "\n".join([f"<!-- table: {name} -->", *lines, "<!-- end -->"])


def by_variant(rows: list[dict[str, Any]], rate: float) -> Rows:
    """Sort the finished runs at a learning rate by variant and seed."""
    found: Rows = defaultdict(dict)
    for row in rows:
        if row["lr"] == rate and row["test"] is not None:
            found[row["variant"]][row["seed"]] = row
    return found


def main_table(rows: list[dict[str, Any]]) -> list[str]:
    """Means with standard errors, and the difference to the static twin seed by seed."""
    found = by_variant(rows, DEFAULT_RATE)
    lines = ["| | seeds | test % | training % | over the twin, paired |", "|---|---|---|---|---|"]
    for name, title in MAIN.items():
        runs = found.get(name, {})
        if not runs:
            continue
        test = spread([run["test"] for run in runs.values()])
        train = mean(run["train"] for run in runs.values())
        gain = "" if name == "static" else spread(differences(found, name), sign="+")
        lines.append(f"| {title} | {len(runs)} | {test} | {train:.2f} | {gain} |")
    return lines


def ablation_table(rows: list[dict[str, Any]]) -> list[str]:
    """Every other variant, with its gain over the twins of its seeds."""
    found = by_variant(rows, DEFAULT_RATE)
    head = ["variant", "seeds", "test %", "training %", "test gain", "training gain"]
    lines = [f"| {' | '.join(head)} |", "|---|---|---|---|---|---|"]
    for name, runs in found.items():
        if name == "static" or not runs.keys() & found["static"].keys():
            continue
        test, train = (mean(run[k] for run in runs.values()) for k in ("test", "train"))
        gains = [spread(differences(found, name, k), "+") for k in ("test", "train")]
        lines.append(f"| `{name}` | {len(runs)} | {test:.2f} | {train:.2f} | {' | '.join(gains)} |")
    return lines


def rate_table(rows: list[dict[str, Any]]) -> list[str]:
    """The static twin at every learning rate, over the seeds that all rates have."""
    rates = sorted({row["lr"] for row in rows if row["variant"] == "static"})
    found = {rate: by_variant(rows, rate)["static"] for rate in rates}
    common = set.intersection(*(set(runs) for runs in found.values()))
    lines = ["| learning rate | seeds | test % | training % |", "|---|---|---|---|"]
    for rate, runs in found.items():
        test, train = (mean(runs[seed][k] for seed in common) for k in ("test", "train"))
        lines.append(f"| {rate:g} | {len(common)} | {test:.2f} | {train:.2f} |")
    return lines


def site_table(rows: list[dict[str, Any]]) -> list[str]:
    """What attention and kernels of one seed look like before and after training."""
    found = by_variant(rows, DEFAULT_RATE)
    lines = ["| variant | site | entropy | varies | spread of kernels | leads % |",
             "|---|---|---|---|---|---|"]  # fmt: skip
    for name in ("conv-uncalibrated", "conv", "both"):
        for when in ("start", "end"):
            runs = found.get(name, {})
            for site in runs[min(runs)].get(when, []) if runs else []:
                leads = " ".join(f"{100 * share:.0f}" for share in site["leads"])
                lines.append(
                    f"| {MAIN.get(name, f'`{name}`')}, {when} | {site['name']} "
                    f"| {site['entropy']:.2f} | {site['variation']:.2f} "
                    f"| {site['spread']:.2f} | {leads} |"
                )
    return lines


def photo_table(rows: list[dict[str, Any]]) -> list[str]:
    """Networks on photographs at each rate, with the gain over the same static network's best."""
    tasks: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        key = ("per_class", "train_images", "epochs", "optimizer", "adapt", "anew")
        tasks[tuple((OLDER | row)[name] for name in key)].append(row)
    head = ["images", "network", "rate", "seeds", "test %", "by momentum", "training %"]
    head.append("over the static one at its best rate")
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for (per_class, count, epochs, optimizer, adapt, anew), task in tasks.items():
        images = f"{per_class} a class" if per_class else f"{count}"
        images += f", {epochs} epoch{'s' if epochs > 1 else ''}"
        images += "" if optimizer == "sgd" else f", {optimizer}"
        images += f", after {adapt} as a static network" if adapt else ""
        images += ", corrupted anew in each" if anew else ""
        best = _best_static(task)
        first = next(iter(best.values()), {"network": None, "lr": None})
        base, rate = (first["network"], "static"), first["lr"]
        for key in dict.fromkeys((r["network"], r["variant"], r["lr"]) for r in task):
            runs = {r["seed"]: r for r in task if (r["network"], r["variant"], r["lr"]) == key}
            lagging = _mean(runs, "lagging", otherwise="")
            cells = [_mean(runs, "test"), lagging, _mean(runs, "train")]
            common = sorted(runs.keys() & best.keys())
            gains = [runs[s]["test"] - best[s]["test"] for s in common if runs[s]["test"]]
            gain = "" if not gains or (key[:2] == base and key[2] == rate) else spread(gains, "+")
            lines.append(
                f"| {images} | {key[0]} `{key[1]}` | {key[2]:g} | {len(runs)} | "
                f"{' | '.join(cells)} | {gain} |"
            )
    return lines


def worth_table(rows: list[dict[str, Any]], results: str) -> list[str]:
    """Each network's gain over the static one at one rate, beside its latency, the dearest last.

    Args:
        rows: Runs; those of two epochs with 1,024 training images and SGD at the rate 0.03 count.
        results: Name of the runs; the latencies have it too.
    """
    times = read_rows(HERE / "results" / f"{results.replace('photos', 'latency')}.jsonl")
    wanted = {"train_images": 1024, "lr": 0.03, "epochs": 2, "optimizer": "sgd", "adapt": 0}
    task = [r for r in rows if r["test"] and wanted.items() <= (OLDER | r).items()]
    best = {r["seed"]: r for r in task if (r["network"], r["variant"]) == ("lite0", "static")}
    lines = ["| network | latency | gain | seeds |", "|---|---|---|---|"]
    for row in sorted(times, key=lambda row: float(row["ratio"])):
        runs = [r for r in task if all(r[k] == row[k] for k in ("network", "variant"))]
        gains = [r["test"] - best[r["seed"]]["test"] for r in runs if r["seed"] in best]
        if gains and row["ratio"] != 1:
            name = f"{row['network']} `{row['variant']}`"
            lines.append(f"| {name} | {row['ratio']:.2f} | {spread(gains, '+')} | {len(gains)} |")
    return lines


def _best_static(task: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Return the static lite0's or resnet20's runs, by seed, at the rate with the best mean."""
    bases = ("lite0", "resnet20")
    static = [r for r in task if r["variant"] == "static" and r["network"] in bases and r["test"]]
    rates = {r["lr"]: [q["test"] for q in static if q["lr"] == r["lr"]] for r in static}
    chosen = max(rates, key=lambda lr: mean(rates[lr]), default=None)
    return {r["seed"]: r for r in static if r["lr"] == chosen}


def _mean(runs: dict[int, dict[str, Any]], name: str, otherwise: str = "diverged") -> str:
    values = [run[name] for run in runs.values() if run.get(name) is not None]
    return spread(values) if values else otherwise


def differences(found: Rows, name: str, key: str = "test") -> list[float]:
    """Return variant less static twin for each seed that both have."""
    seeds = found[name].keys() & found["static"].keys()
    return [found[name][seed][key] - found["static"][seed][key] for seed in sorted(seeds)]


def spread(values: list[float], sign: str = "") -> str:
    """Return ``mean ± standard error``."""
    if len(values) < 2:
        return f"{mean(values):{sign}.2f}"
    return f"{mean(values):{sign}.2f} ± {stdev(values) / math.sqrt(len(values)):.2f}"


if __name__ == "__main__":
    main()
