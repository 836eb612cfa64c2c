"""Means over pairs of domains, as the literature reports them: of comparisons that differ in source and target alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from transfer.report.comparison.compare import compare
from transfer.report.comparison.comparison import Comparison, Setting
from transfer.report.comparison.runs import Run, measured
from transfer.report.comparison.titles import UNNAMED, spelled
from transfer.report.comparison.verdicts import PAIRS, fill

PAIR = ("domain.source", "domain.target")
Repeat = tuple[int, int]  # the run's seed and its split's


def compare_all(runs: list[Run]) -> list[Comparison]:
    """The means over pairs of domains, where there are several pairs, and then every comparison."""
    comparisons = compare(runs)
    return [*averages(comparisons), *comparisons]


def averages(comparisons: list[Comparison]) -> list[Comparison]:
    """A mean for comparisons of labelled examples that differ in nothing but the pair of domains, and have a method in
    common."""
    made = [_average(members) for members in grids(comparisons) if members[0].unit == "examples"]
    return [comparison for comparison in made if comparison.settings]


def grids(comparisons: list[Comparison]) -> list[list[Comparison]]:
    """Comparisons that differ in nothing but the pair of domains, where there are several."""
    groups: dict[str, list[Comparison]] = {}
    for comparison in comparisons:
        if not comparison.members:
            rest = {key: value for key, value in _words(comparison).items() if not key.startswith(PAIR)}
            groups.setdefault(json.dumps(rest, sort_keys=True, default=str), []).append(comparison)
    return [members for members in groups.values() if len(members) > 1]


def alone(comparisons: list[Comparison]) -> list[Comparison]:
    """Those that are no part of a mean over pairs: what is told where there is no room for every pair."""
    inside = {id(member) for comparison in comparisons for member in comparison.members}
    return [comparison for comparison in comparisons if id(comparison) not in inside]


def pair_name(comparison: Comparison) -> str:
    """`amazon → webcam`; several sources are joined by +."""
    words, world = _words(comparison), comparison.facts["world"]
    if all(key in words for key in PAIR):
        return " → ".join(spelled(words[key]) for key in PAIR)
    return f"{' + '.join(source['name'] for source in world['sources'])} → {world['target']['name']}"  # of one's own files


def _words(comparison: Comparison) -> dict[str, Any]:
    return measured(next(run for run in comparison.runs if run.done))


def _chosen(comparison: Comparison) -> dict[str, Setting]:
    return {setting.method: setting for setting in comparison.best}


def _average(members: list[Comparison]) -> Comparison:
    """Every method at the setting that validation chose in each pair; methods that lack a pair have no mean."""
    first, words = members[0], _words(members[0])
    title = first.title
    if words["domain.name"] in UNNAMED:
        title = f"{words['domain.name']},{title.partition(',')[2]}"
    ends = tuple(f"{key}{sign}" for key in PAIR for sign in "=.")
    title = ", ".join(part for part in title.split(", ") if not part.startswith(ends))
    chosen = [_chosen(member) for member in members]
    settings = []
    for name in chosen[0]:
        if all(name in by_name for by_name in chosen) and (runs := _mean_runs([by_name[name] for by_name in chosen])):
            planned = max(by_name[name].planned for by_name in chosen)
            values = {
                key: value for key, value in chosen[0][name].values.items() if not key.startswith("hp.")
            }  # of all pairs
            settings.append(Setting(name, {"method": name.partition(" ")[0]}, values, runs, planned, best=True))
    everything = [run for setting in settings for run in setting.runs]
    comparison = Comparison(
        f"{title}, mean over {len(members)} {PAIRS}", first.metric, first.sign, settings, everything, members=members
    )
    fill(comparison)
    return comparison


def _mean_runs(by_pair_settings: list[Setting]) -> list[Run]:
    """A run for every seed and split that all pairs have: its figures are means over the pairs."""
    tables: list[dict[Repeat, Run]] = [
        {(run.result["seed"], run.result["split_seed"]): run for run in setting.runs} for setting in by_pair_settings
    ]
    made = []
    for seed, split in tables[0]:
        if all((seed, split) in table for table in tables):
            runs = [table[seed, split] for table in tables]
            mine = runs[0]
            seconds = float(np.mean([run.seconds or 0.0 for run in runs]))
            facts = {
                **mine.result,
                "metrics": _means_by(runs, "metrics"),
                "distance": _means_by(runs, "distance"),
                "shift": _means([run.result.get("shift", {}) for run in runs]),
                "selectors": _means([run.result.get("selectors", {}) for run in runs]),
                "fingerprint": f"split {split}",
                "seconds": {"train": seconds},
                "replicas": 1,
            }
            made.append(Run(Path(), {}, mine.config, facts, []))
    return made


def _means_by(runs: list[Run], key: str) -> dict[str, dict[str, float]]:
    """Means over runs of a two-level table of their results: of what all of them have."""
    tables = [run.result.get(key, {}) for run in runs]
    return {part: _means([table[part] for table in tables]) for part in tables[0] if all(part in table for table in tables)}


def _means(tables: list[dict[str, float]]) -> dict[str, float]:
    names = [name for name in tables[0] if all(table.get(name) is not None for table in tables)]
    return {name: float(np.mean([table[name] for table in tables])) for name in names}
