"""The tables of the README from worlds.jsonl."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from order import orders

Line = dict[str, Any]
RULES = (
    "auto",
    "without mixtures",
    "near the surest, in order",
    "without gate",
    "without ensemble",
    "without bound",
    "best of 5 folds",
    "best of 1 fold",
    "1 fold with bound",
    "without source",
    "budget 0.1",
    "budget 0.3",
    "budget 1",
)


def tables(lines: list[Line]) -> str:
    """Regret by rule and kind, every real world, harm, mixtures, orders."""
    real = [line for line in lines if line["kind"] != "simulated"]
    simulated = [line for line in lines if line["kind"] == "simulated"]
    labels = [line for line in real if "method=popularity" not in line["candidates"]]
    rankings = [line for line in real if line not in labels]
    parts = [regrets(rankings, labels, simulated), worlds(real), harm(simulated), mixtures(lines), ordered(lines)]
    return "\n\n".join(part for part in parts if part)


def regrets(*groups: list[Line]) -> str:
    """Loss against the best single candidate by test, mean and worst, of every rule and of the best fixed candidate."""
    rows = [
        "| rule | " + " | ".join(f"mean, worst of {len(group)}" for group in groups) + " |",
        "|---|" + "--:|" * len(groups),
    ]
    fixed = [best_fixed(group) for group in groups]
    for rule in RULES:
        cells = [[regret(line, line["variants"][rule]) for line in group if rule in line["variants"]] for group in groups]
        rows.append(f"| {rule} | " + " | ".join(said(of) for of in cells) + " |")
    rows.append("| best fixed | " + " | ".join(f"{name}: {said(of)}" for name, of in fixed) + " |")
    return "\n".join(rows)


def regret(line: Line, value: float) -> float:
    """How far below the best single candidate on the test, in per cent of it; negative: above it."""
    best = max(one["test"] for one in line["candidates"].values())
    return 100 * (best - value) / abs(best)


def best_fixed(lines: list[Line]) -> tuple[str, list[float]]:
    """The candidate, of those that every world has, with the least mean regret, chosen with the test in sight."""
    common = set.intersection(*(set(line["candidates"]) for line in lines)) if lines else set()
    of = {name: [regret(line, line["candidates"][name]["test"]) for line in lines] for name in common}
    name = min(of, key=lambda name: float(np.mean(of[name])), default="")
    return name.removeprefix("method="), of.get(name, [])


def worlds(lines: list[Line]) -> str:
    """A row for every world: what was chosen, its test figure, the best single by test, the best without a source, and
    whether the choice is significantly better than that."""
    rows = [
        "| world | chosen | test | best single by test | without source | is | regret | s |",
        "|---|---|--:|---|--:|---|--:|--:|",
    ]
    for line in lines:
        name, one = max(line["candidates"].items(), key=lambda item: item[1]["test"])
        value, against = line["variants"]["auto"], line["against"]
        sure = "better" if against and against["low"] > 0 else "worse" if against and against["high"] < 0 else "not told"
        rows.append(
            f"| {line['name']} | {line['chosen']} | {value:.4f} | {name.removeprefix('method=')} {one['test']:.4f} | "
            f"{line['reference']:.4f} | {sure if against else 'the same'} | {regret(line, value):+.1f} % | "
            f"{line['seconds']:.0f} |"
        )
    return "\n".join(rows)


def harm(lines: list[Line]) -> str:
    """Where a transfer was chosen: is it significantly worse than the best without a source, by correlation of tastes."""
    rows = ["| correlation | worlds | transfer | significantly worse | significantly better | gain over no source |"]
    rows += ["|--:|--:|--:|--:|--:|--:|"]
    for correlation in sorted({line["correlation"] for line in lines}):
        some = [line for line in lines if line["correlation"] == correlation]
        against = [line["against"] for line in some]
        worse = sum(bool(one and one["high"] < 0) for one in against)
        better = sum(bool(one and one["low"] > 0) for one in against)
        change = [100 * (line["variants"]["auto"] / line["reference"] - 1) for line in some]
        moved = sum(line["transfer"] for line in some)
        rows.append(f"| {correlation:g} | {len(some)} | {moved} | {worse} | {better} | {np.mean(change):+.1f} % |")
    return "\n".join(rows) if lines else ""


def mixtures(lines: list[Line]) -> str:
    """How often the ensemble and the gate were chosen, and what they brought over the best single candidate on the test."""
    rows = ["| mixture | there | chosen | test − best single by folds, where chosen | elsewhere |", "|---|--:|--:|--:|--:|"]
    for kind in ("ensemble", "gate"):
        found = [(line["chosen"].startswith(kind), line["mixtures"][kind]) for line in lines if kind in line["mixtures"]]
        change = [(taken, 100 * (one["test"] / one["best"] - 1)) for taken, one in found]
        kept, left = ([value for taken, value in change if taken is wanted] for wanted in (True, False))
        rows.append(f"| {kind} | {len(found)} | {len(kept)} | {said(kept)} | {said(left)} |")
    return "\n".join(rows)


def ordered(lines: list[Line]) -> str:
    """Regret of the best of 5 folds among the candidates that a share of the seconds reaches, by order; a data set, and of
    the simulated worlds those of one correlation, is left out of what foretells its order."""
    lines = [line for line in lines if "described" in line]
    if not lines:
        return ""
    shares = (0.1, 0.3, 0.5)
    rows = [
        "| order | " + " | ".join(f"{share:.0%} of the seconds" for share in shares) + " |",
        "|---|" + "--:|" * len(shares),
    ]
    for name, order in orders().items():
        cells = []
        for share in shares:
            values = []
            for line in lines:
                key = line["kind"], line.get("correlation")
                others = [other for other in lines if (other["kind"], other.get("correlation")) != key]
                values.append(regret(line, reached(line, order(line, others), share)))
            cells.append(said(values))
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def reached(line: Line, order: Sequence[str], share: float) -> float:
    """The test value of the candidate with the best folds among those that end within a share of all seconds."""
    limit, spent, there = share * sum(one["seconds"] for one in line["candidates"].values()), 0.0, []
    for name in order:
        spent += line["candidates"][name]["seconds"]
        if there and spent > limit:
            break
        there.append(name)
    best = max(there, key=lambda name: float(np.mean(line["candidates"][name]["folds"])))
    return line["candidates"][best]["test"]


def heading(first: str, others: Sequence[str]) -> list[str]:
    return [f"| {first} | " + " | ".join(others) + " |", "|---|" + "--:|" * len(others)]


def said(values: list[float]) -> str:
    if not values:
        return "–"
    return f"{np.mean(values):+.2f} ± {np.std(values, ddof=1) if len(values) > 1 else 0:.2f} %, {max(values):+.1f}"
