"""The comparison of a sweep: settings, the best of each method by validation, pairs of methods, gaps to a reference."""

from __future__ import annotations

import json
from itertools import combinations

import numpy as np

from transfer.evaluate import significance
from transfer.evaluate.significance import Paired, Summary
from transfer.report.comparison.comparison import Comparison, Gap, Pair, Setting, reference
from transfer.report.comparison.per_user import GROUPS, Difference, Tested, difference, in_group, read_tested
from transfer.report.comparison.runs import MEASURE, REPEATS, TUNED, Flat, Run, compared, measured, spelled, varying

UNSAID = (("method.guard", "none"),)  # what no name of a setting says
Tests = dict[tuple[str, int], Tested]


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
        named.setdefault(_name(measured(rows[0])), []).append(measured(rows[0]))
    return [_compare(rows, varying(named[_name(measured(rows[0]))]), pairs) for rows in mixed]


def _name(words: Flat) -> tuple[str, ...]:
    """What every title says; only where two are equal in it does a title say more."""
    return str(words["domain.name"]), str(words["task.name"]), str(words["split.name"])


def _compare(runs: list[Run], differing: list[str], pairs: bool) -> Comparison:
    facts = next(run.result for run in runs if run.done)
    metric, sign = facts["select"]["metric"], facts["select"]["sign"]
    words = measured(next(run for run in runs if run.done))
    title = f"{facts['domain']}, {facts['task']}, split {words.get('split.name')}"
    title += "".join(f", {key}={spelled(words[key])}" for key in differing if words.get(key) is not None)
    settings = _settings(runs)
    comparison = Comparison(title, metric, sign, settings, runs)
    for each in comparison.best:
        comparison.tests[each.method] = {run.pair: tested for run in each.runs if (tested := read_tested(run))}
    comparison.gaps.extend(_gaps(comparison, comparison.tests))
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
        name = str(values.get("method.name"))
        named = {
            key: values[key] for key in categories if (key, values.get(key)) not in UNSAID and values.get(key) is not None
        }
        variant = [f"{_short(key)}={value}" for key, value in named.items()]
        shown = [key for key in swept if key in given and key not in ("method", *rows[0].tuned)]
        label = {"method": name} | {key: given[key] for key in shown}
        made.append(Setting(" ".join([name, *variant]), label, values, [run for run in rows if run.done], len(rows)))
    return [_marked(setting, made) for setting in made]


def _short(key: str) -> str:
    return "model" if key == "model.name" else key.partition(".")[2]


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


def verdict(paired: Paired, sign: int) -> str:
    """helps or hurts where the 95 % interval leaves zero out, no difference where it does not."""
    if not np.isfinite(paired.low):
        return "not known"
    low, high = sorted((sign * paired.low, sign * paired.high))
    return "helps" if low > 0 else "hurts" if high < 0 else "no difference"


def _gaps(comparison: Comparison, tests: dict[str, Tests]) -> list[Gap]:
    gaps: list[Gap] = []
    for group in GROUPS if reference(comparison) else ():
        rows = []
        for setting in comparison.best:
            base = reference(comparison, setting)
            if base is None or setting is base:
                continue
            delta = difference(comparison.metric, tests[setting.method], tests[base.method], group)
            if delta:
                rows.append((setting.method, by_users(delta), comparison.unit, len(delta.linear)))
            elif group == "all" and (values := by_runs(setting, base, comparison.metric)):
                rows.append((setting.method, of_summary(significance.summary(values)), "runs", len(values)))
        corrected = significance.holm([paired.p for _, paired, _, _ in rows])
        for (method, paired, basis, size), p in zip(rows, corrected, strict=True):
            gaps.append(Gap(method, group, paired, verdict(paired, comparison.sign), p, basis, size))
    return gaps


def by_users(delta: Difference) -> Paired:
    return significance.paired(delta.linear, delta.units, delta.by_run)


def by_runs(ours: Setting, theirs: Setting, metric: str) -> list[float]:
    """Differences of a test metric over the worlds and seeds that both settings have."""
    other = {run.pair: run.metric("test", metric) for run in theirs.runs}
    values = ((run.metric("test", metric), other.get(run.pair)) for run in ours.runs)
    return [a - b for a, b in values if a is not None and b is not None]


def of_summary(summary: Summary) -> Paired:
    if summary.n < 2:
        return Paired(summary.mean, *(np.nan,) * 5)
    return significance.interval(summary.mean, summary.std**2 / summary.n, summary.n - 1.0)


def _pairs(comparison: Comparison, tests: dict[str, Tests]) -> list[Pair]:
    """All pairs of chosen settings that can be compared by user."""
    rows: list[Pair] = []
    columns: dict[bytes, tuple[Difference, list[np.ndarray], list[int]]] = {}
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


def _pair(sign: int, setting: Setting, other: Setting, delta: Difference) -> Pair:
    """A pair before its p values are corrected; its bootstrap is drawn for all pairs at once."""
    p, effect = significance.wilcoxon(delta.plain)
    unknown = float("nan")
    return Pair(
        setting.method,
        other.method,
        by_users(delta),
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
