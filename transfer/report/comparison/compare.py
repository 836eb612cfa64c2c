"""The comparison of a sweep: settings, the best of each method by validation, pairs of methods, gaps to a reference."""

from __future__ import annotations

import json
from itertools import combinations

import numpy as np

from transfer.evaluate import significance
from transfer.report.comparison.comparison import Comparison, Pair, Setting
from transfer.report.comparison.files import clean
from transfer.report.comparison.per_user import GROUPS, Sample, Tests, difference, in_group, read_tested
from transfer.report.comparison.runs import MEASURE, REPEATS, TUNED, Flat, Run, compared, measured, varying
from transfer.report.comparison.titles import shared_name, title_of
from transfer.report.comparison.verdicts import fill

UNSAID = {
    "method.guard": "none",
    "method.permute": "[]",
    "method.fusion": "early",
    "method.rank_by": "score",
}  # what no name of a setting says


def compare(runs: list[Run], pairs: bool = True) -> list[Comparison]:
    """One comparison for everything that is measured alike; runs without a result are in none of their averages."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        if run.config and run.status != "missing":
            # a failed run has no protocol: its configuration says where it belongs
            key = {name: value for name, value in measured(run).items() if not name.startswith("protocol.")}
            groups.setdefault(json.dumps(key, sort_keys=True, default=str), []).append(run)
    mixed: list[list[Run]] = []
    for members in groups.values():
        protocols: dict[str, list[Run]] = {}
        for run in members:
            protocols.setdefault(json.dumps(measured(run), sort_keys=True, default=str) if run.done else "", []).append(run)
        lost = protocols.pop("", [])
        mixed.extend([*own, *lost] if number == 0 else own for number, own in enumerate(protocols.values()))
    named: dict[tuple[str, ...], list[Flat]] = {}
    for rows in mixed:
        named.setdefault(shared_name(rows[0]), []).append(measured(rows[0]))
    return [_compare(rows, named[shared_name(rows[0])], pairs) for rows in mixed]


def _compare(runs: list[Run], others: list[Flat], pairs: bool) -> Comparison:
    first = next(run for run in runs if run.done)
    metric, sign = first.result["select"]["metric"], first.result["select"]["sign"]
    comparison = Comparison(title_of(first, others), metric, sign, _settings(runs), runs)
    for each in comparison.best:
        comparison.tests[each.method] = {run.pair: tested for run in each.runs if (tested := read_tested(run))}
    fill(comparison)
    if pairs:
        comparison.pairs.extend(_pairs(comparison, comparison.tests))
    return comparison


def _settings(runs: list[Run]) -> list[Setting]:
    """Settings in the order of their first runs, the best of every method by the mean of what is selected by marked."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(json.dumps(compared(run), sort_keys=True, default=str), []).append(run)
    kept = [rows for rows in groups.values() if any(run.done for run in rows)]
    swept = [key for key in varying(run.overrides for run in runs) if key not in (*REPEATS, TUNED) and not _measures(key)]
    categories = _categories([compared(rows[0]) for rows in kept])
    made = []
    for rows in kept:
        values, given = compared(rows[0]), rows[0].overrides
        name = clean(str(values.get("method.name")))
        named = {key: values[key] for key in categories if values.get(key) not in (None, UNSAID.get(key))}
        variant = [clean(f"{_short(key)}={value}") for key, value in named.items()]
        shown = [key for key in swept if key in given and key not in ("method", *rows[0].tuned)]
        label = {"method": name} | {clean(key): clean(given[key]) for key in shown}
        made.append(Setting(" ".join([name, *variant]), label, values, [run for run in rows if run.done], len(rows)))
    return [_marked(setting, made) for setting in made]


def _short(key: str) -> str:
    return "model" if key == "model.name" else key.partition(".")[2]


def full_key(short: str) -> str:
    """The key of a configuration that a name of a setting shortens."""
    return "model.name" if short == "model" else short if "." in short else f"method.{short}"


def _measures(key: str) -> bool:
    return key.startswith(MEASURE) or key in ("domain", "split", "task")


def _categories(rows: list[Flat]) -> list[str]:
    """Settings of a method, or its model, that are words and vary: variants to compare, not numbers to tune."""
    keys: dict[str, None] = {}
    for name in dict.fromkeys(row.get("method.name") for row in rows):
        own = [row for row in rows if row.get("method.name") == name]
        for key in varying(own):
            words = [row.get(key) for row in own]
            if key.startswith(("method.", "model.name")) and all(isinstance(word, str) for word in words):
                keys[key] = None
    return list(keys)


def _marked(setting: Setting, settings: list[Setting]) -> Setting:
    """With `best` where `select=` prefers it, among the settings of its method that finished most runs; where a search
    has chosen already, that is it."""
    rivals = [other for other in settings if other.method == setting.method]
    rivals = [other for other in rivals if other.tuned] or rivals
    most = max(len(other.runs) for other in rivals)
    full = [other for other in rivals if len(other.runs) == most]
    scores = [other.score for other in full]
    chosen = full[int(np.nanargmax(scores))] if np.isfinite(scores).any() else full[0]
    return Setting(setting.method, setting.label, setting.values, setting.runs, setting.planned, best=chosen is setting)


def _pairs(comparison: Comparison, tests: dict[str, Tests]) -> list[Pair]:
    """All pairs of chosen settings that can be compared by user."""
    rows: list[Pair] = []
    columns: dict[bytes, tuple[Sample, list[np.ndarray], list[int]]] = {}
    for setting, other in combinations(comparison.best, 2):
        delta = difference(comparison.metric, tests[setting.method], tests[other.method])
        if delta is None:
            continue
        key = delta.units.split.tobytes() + delta.units.user.tobytes()
        columns.setdefault(key, (delta, [], []))[1].append(delta.linear)
        columns[key][2].append(len(rows))
        rows.append(_pair(comparison.sign, setting, other, delta))
    for delta, linear, places in columns.values():  # one draw of users serves all the pairs on them
        draws = significance.bootstrap(np.column_stack(linear), delta.units)
        for place, (p, low, high) in zip(places, draws, strict=True):
            rows[place] = rows[place]._replace(bootstrap=p, bootstrap_low=low, bootstrap_high=high)
    holm = significance.holm([row.paired.p for row in rows])
    signed = significance.holm([row.wilcoxon for row in rows])
    drawn = significance.holm([row.bootstrap for row in rows])
    corrected = zip(rows, holm, signed, drawn, strict=True)
    return [row._replace(holm=p, wilcoxon=w, bootstrap=b) for row, p, w, b in corrected]


def _pair(sign: int, setting: Setting, other: Setting, delta: Sample) -> Pair:
    """A pair before its p values are corrected; its bootstrap is drawn for all pairs at once."""
    p, effect = significance.wilcoxon(delta.plain)
    unknown = float("nan")
    return Pair(
        setting.method,
        other.method,
        significance.paired(delta.linear, delta.units, delta.by_run),
        holm=unknown,
        wilcoxon=p,
        bootstrap=unknown,
        bootstrap_low=unknown,
        bootstrap_high=unknown,
        runs=significance.summary(delta.by_run),
        runs_wilcoxon=significance.wilcoxon(delta.by_run)[0],
        rank_biserial=sign * effect,
        cohen=sign * significance.cohen(delta.plain),
        users=len(delta.linear),
    )


def users_by_group(comparison: Comparison) -> dict[str, int]:
    """Test users in each group, mean over the splits of the best setting's runs."""
    worlds = {run.pair[0]: run for setting in comparison.best[:1] for run in setting.runs}
    tests = [test for run in worlds.values() if (test := read_tested(run))]
    counts = {group: [int(in_group(test.history, group).sum()) for test in tests] for group in GROUPS}
    return {group: round(float(np.mean(values))) for group, values in counts.items() if values}
