"""Run this study: python experiments/open_bandit/evaluate.py DATA [--quick] [--accept]; compares with expected.json."""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from transfer.config.logs import LogFile
from transfer.data.logs.read import Log, read_log
from transfer.data.logs.simulate import Planted, planted, softmax
from transfer.errors import TransferError
from transfer.evaluate.logged.estimate import bootstrap, estimate, interval, logged, percentiles
from transfer.evaluate.logged.estimators import ESTIMATORS, limits_of
from transfer.evaluate.logged.pairs import PAIRED, difference
from transfer.evaluate.logged.rates import rates
from transfer.evaluate.logged.slates import SLATES, slate_values
from transfer.experiment.evaluate_log import evaluate
from transfer.experiment.log_policies import Contexts, contexts_of, of_log
from transfer.experiment.log_values import How, arrays_of
from transfer.report.figures import Near, settle

CAMPAIGNS, POLICIES = ("men", "women"), ("random", "bts")
Figures = dict[str, Any]
NEAR = Near(relative=0.01, absolute=1e-4, free=("seconds", "GiB before", "GiB at most"))


def both_policies(data: Path) -> Figures:
    """The value of each policy from the other one's log, beside its own click-through rate."""
    found: Figures = {}
    for campaign in CAMPAIGNS:
        logs = {
            policy: read_log(LogFile(path=f"open-bandit/{policy}/{campaign}/{campaign}.csv", name=policy), data)
            for policy in POLICIES
        }
        for of, by in (("bts", "random"), ("random", "bts")):
            for chances in ("log", "frequency"):
                found[f"{campaign}: {of} from the log of {by}, chances by {chances}"] = one_value(
                    logs[of], logs[by], chances
                )
    return found


def one_value(of: Log, by: Log, chances: str) -> Figures:
    """All estimators for the policy of one log from another one."""
    own = rates(of.rows).row(0, named=True)
    contexts: Contexts = contexts_of(by, ["position"])
    policy, how = of_log(contexts, of), How(propensities=chances)
    arrays, _ = arrays_of(by, contexts, "click", how)
    limits = limits_of(len(by.rows))
    tables = jnp.asarray(policy.table[None], jnp.float32)
    result, less = estimate(arrays, tables, limits), difference(arrays, tables, None, limits)
    low, high = interval(result.value[0], result.error[0], arrays.units)
    drawn = percentiles(bootstrap(arrays, tables, jax.random.key(0), limits, 1000))
    try:
        evaluate(by, [of], how=how)
        refused = ""
    except TransferError as error:
        refused = str(error)
    return {
        "own": [own["ctr"], own["ctr_low"], own["ctr_high"]],
        "effective": float(result.effective[0]),
        "events": float(result.events[0]),
        "mean_weight": float(result.mean_weight[0]),
        "largest": float(result.largest[0]),
        "refused": refused,
        "values": {
            name: [float(result.value[0, e]), float(low[e]), float(high[e]), *(float(end[0, e]) for end in drawn)]
            for e, name in enumerate(ESTIMATORS)
        },
        "difference": {name: [float(less.value[0, e]), float(less.error[0, e])] for e, name in enumerate(PAIRED)},
        "apart": {name: float(less.apart[0, e]) for e, name in enumerate(ESTIMATORS)},
    }


WORLD = planted(6, 8, rate=0.2, seed=1)
BETTER = softmax(2 * np.log(WORLD.rate), 1.0)  # near the log's policy, which is ∝ rate
FAR = np.eye(8)[WORLD.rate.argmin(1)] * 0.5 + 0.5 / 8  # half of it always what was shown least
TARGETS = {"near": BETTER, "far": FAR}
MIXED = (0.02, 0.1, 0.5)  # of `near` in the log's policy, for differences


def coverage(n: int, logs: int, draws: int) -> Figures:
    """Bias and coverage of every estimator on planted logs, with limits that grow and with limits that bind."""
    tables = jnp.asarray(np.stack(list(TARGETS.values())), jnp.float32)
    truth = np.array([WORLD.value(table) for table in TARGETS.values()])[:, None]
    found: Figures = {"n": n, "logs": logs, "draws": draws, "truth": dict(zip(TARGETS, truth[:, 0].tolist(), strict=True))}
    for label, limits in (("usual limits", limits_of(n)), ("limits of 2", limits_of(n, 2, 2, 4))):
        rng, values, ends, drawn = np.random.default_rng(7), [], [], []
        for number in range(logs):
            log = logged(*WORLD.draw(n, rng), seed=number)
            result = estimate(log, tables, limits)
            values.append(np.asarray(result.value))
            ends.append(interval(result.value, result.error, n))
            if draws and label == "usual limits":
                drawn.append(percentiles(bootstrap(log, tables, jax.random.key(number), limits, draws)))
        found[label] = _table(np.array(values), np.array(ends), truth)
        if drawn:
            found["bootstrap"] = _table(np.array(values), np.array(drawn), truth)
    return found


def _table(values: Any, ends: Any, truth: Any, names: Any = tuple(ESTIMATORS), rows: Any = tuple(TARGETS)) -> Figures:
    """Bias and spread as shares of the truth, and the share of intervals with it."""
    inside = ((ends[:, 0] <= truth) & (truth <= ends[:, 1])).mean(0)
    bias, spread = values.mean(0) / truth - 1, values.std(0) / truth
    return {
        row: {name: [float(table[r, e]) for table in (bias, spread, inside)] for e, name in enumerate(names)}
        for r, row in enumerate(rows)
    }


def differences(n: int, logs: int) -> Figures:
    """Width and coverage of the difference of two policies, direct and of two estimates taken for independent."""
    tables = jnp.asarray(np.stack([(1 - share) * WORLD.logging + share * BETTER for share in MIXED]), jnp.float32)
    second = jnp.asarray(WORLD.logging, jnp.float32)
    truth = np.array([WORLD.value(np.asarray(table, np.float64)) for table in tables])[:, None] - WORLD.value(WORLD.logging)
    rng, limits, inside, width, apart = np.random.default_rng(11), limits_of(n), [], [], []
    for number in range(logs):
        result = difference(logged(*WORLD.draw(n, rng), seed=number), tables, second, limits)
        low, high = interval(result.value, result.error, n)
        inside.append((low <= truth) & (truth <= high))
        width.append(np.asarray(result.error))
        apart.append(np.asarray(result.apart))
    return {
        f"{share:.0%}": {
            "truth": float(truth[p, 0]),
            "coverage": dict(zip(PAIRED, np.mean(inside, axis=0)[p].tolist(), strict=True)),
            "width": dict(zip(PAIRED, (3.92 * np.mean(width, axis=0)[p]).tolist(), strict=True)),
            "apart": dict(zip(ESTIMATORS, (3.92 * np.mean(apart, axis=0)[p]).tolist(), strict=True)),
        }
        for p, share in enumerate(MIXED)
    }


def slates(n: int, logs: int) -> Figures:
    """Bias and coverage for lists of three whose clicks depend on the item above."""
    items, places = 4, 3
    rng = np.random.default_rng(3)
    logging, policy = rng.dirichlet(np.full(items, 4.0), places), rng.dirichlet(np.full(items, 2.0), places)
    rate = rng.uniform(0.1, 0.5, (items, items + 1))
    truth, before = 0.0, np.eye(items + 1)[items]
    for k in range(places):
        truth += float(policy[k] @ rate @ before)
        before = np.append(policy[k], 0.0)
    values, ends = [], []
    for _ in range(logs):
        weight, reward, predicted, expected = (np.zeros((places, n), np.float32) for _ in range(4))
        above = np.full(n, items)
        for k in range(places):
            item = (np.cumsum(logging[k]) > rng.random((n, 1))).argmax(1)
            reward[k] = rng.random(n) < rate[item, above]
            weight[k] = (policy[k] / logging[k])[item]
            model = np.bincount(item, reward[k], items) / np.maximum(np.bincount(item, minlength=items), 1)
            predicted[k], expected[k], above = model[item], policy[k] @ model, item
        value, error = slate_values(*map(jnp.asarray, (weight[None], reward, predicted, expected[None])), n_units=n)
        values.append(np.asarray(value))
        ends.append(interval(value, error, n))
    table = _table(np.array(values), np.array(ends), np.array([[truth]]), tuple(SLATES), ("slates of three",))
    return {"n": n, "logs": logs, "truth": truth, **table}


def scale(n: int, policies: int, draws: int) -> Figures:
    """Seconds and memory for many policies on many impressions."""
    world: Planted = planted(1000, 50, rate=0.05, seed=2)
    log = logged(*world.draw(n, np.random.default_rng(0)), cell=None)
    log = logged(log.context, log.item, log.propensity, log.reward, np.zeros(n, np.int32))  # one model for all contexts
    heat = np.geomspace(0.5, 3, policies)
    tables = jnp.asarray(np.stack([softmax(np.log(world.rate), 1 / h) for h in heat]), jnp.float32)
    before, seconds, limits = _memory(), {}, limits_of(n)
    for label, call in (
        ("values", lambda: estimate(log, tables, limits)),
        ("differences", lambda: difference(log, tables, None, limits)),
        (f"{draws} bootstrap draws", lambda: bootstrap(log, tables, jax.random.key(0), limits, draws)),
    ):
        for run in ("first", "again"):
            began = time.perf_counter()
            jax.block_until_ready(call())
            seconds[f"{label}, {run}"] = time.perf_counter() - began
    began = time.perf_counter()
    for table in np.asarray(tables[:3], np.float64):  # five estimators alone, without errors
        in_numpy(log, table)
    seconds["NumPy, one policy"] = (time.perf_counter() - began) / 3
    return {"n": n, "policies": policies, "seconds": seconds, "GiB before": before, "GiB at most": _memory()}


def in_numpy(log: Any, table: Any) -> list[float]:
    """ips, clipped_ips, snips and dr of one policy, in float64, without errors."""
    context, item, cell = (np.asarray(array) for array in (log.context, log.item, log.cell))
    reward, chance = np.asarray(log.reward, np.float64), np.asarray(log.propensity, np.float64)
    w = table[context, item] / chance
    counts = np.bincount(item, minlength=table.shape[1])
    model = (np.bincount(item, reward, table.shape[1]) + reward.mean()) / (counts + 1)
    v = (table @ model)[context]
    rest = w * (reward - model[item])
    assert not cell.any()
    clipped = np.minimum(w, len(w) ** 0.5) * reward
    return [float(x) for x in ((w * reward).mean(), clipped.mean(), (w * reward).sum() / w.sum(), (v + rest).mean())]


def _memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def tables(found: Figures) -> str:
    """The figures as Markdown."""
    lines = ["# Figures", ""]
    for name, one in found["open bandit"].items():
        own, low, high = (f"{value:.2%}" for value in one["own"])
        lines += [f"## {name}", "", f"Its own log: {own} ({low} to {high}). Effective impressions {one['effective']:,.0f},"]
        lines += [
            f"clicks weigh like {one['events']:.1f}, mean weight {one['mean_weight']:.3f}, largest {one['largest']:,.1f}."
        ]
        lines += [f"Refused: {one['refused']}" if one["refused"] else "Not refused.", ""]
        lines += [
            "| estimator | value | 95 % | bootstrap | less the log's own | of two estimates |",
            "|---|--:|--:|--:|--:|--:|",
        ]
        for estimator, (gap, error) in one["difference"].items():
            half = f"{gap:+.2%} ± {1.96 * error:.2%}"
            apart = f"± {1.96 * one['apart'][estimator]:.2%}" if estimator in one["apart"] else ""
            cells = [f"{value:.2%}" for value in one["values"].get(estimator, ())]
            shown = [cells[0], f"{cells[1]} to {cells[2]}", f"{cells[3]} to {cells[4]}"] if cells else ["", "", ""]
            lines.append(f"| `{estimator}` | {' | '.join(shown)} | {half} | {apart} |")
        lines.append("")
    planted = {
        f"{label}, {row}": of
        for label, table in found["coverage"].items()
        if isinstance(table, dict)
        for row, of in table.items()
        if isinstance(of, dict)
    } | {"lists of three": found["slates"]["slates of three"]}
    lines += ["## Bias, spread (of the true value) and coverage of 95 % intervals on planted logs", ""]
    for label, of in planted.items():
        lines += [f"### {label}", "", "| estimator | bias | spread | coverage |", "|---|--:|--:|--:|"]
        lines += [
            f"| `{name}` | {bias:+.1%} | {spread:.1%} | {inside:.1%} |" for name, (bias, spread, inside) in of.items()
        ]
        lines.append("")
    lines += ["## Width of the 95 % interval of a difference to the log's policy on planted logs", ""]
    lines += [
        "| share of the other policy | estimator | direct | of two estimates | coverage, direct |",
        "|--:|---|--:|--:|--:|",
    ]
    for share, of in found["differences"].items():
        for name, width in of["width"].items():
            apart = f"{of['apart'][name]:.4f}" if name in of["apart"] else ""
            lines.append(f"| {share} | `{name}` | {width:.4f} | {apart} | {of['coverage'][name]:.1%} |")
    scale = found["scale"]
    lines += ["", f"## {scale['policies']} policies on {scale['n']:,} impressions", "", "| what | seconds |", "|---|--:|"]
    lines += [f"| {name} | {seconds:.2f} |" for name, seconds in scale["seconds"].items()]
    lines += ["", f"Memory of the process: {scale['GiB before']:.1f} GiB before, {scale['GiB at most']:.1f} at most.", ""]
    return "\n".join(lines)


def asked_for(asked: argparse.Namespace) -> Figures:
    """The figures that a command line asks for."""
    logs, draws, n = (20, 50, 20_000) if asked.quick else (1000, 200, 1_000_000)
    return {
        "open bandit": both_policies(asked.data),
        "coverage": coverage(2000, logs, draws),
        "differences": differences(2000, logs),
        "slates": slates(2000, logs),
        "scale": scale(n, 100, 100 if not asked.quick else 16),
    }


if __name__ == "__main__":
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("data", type=Path)
    settle(Path(__file__), asked_for, tables, NEAR, words)
