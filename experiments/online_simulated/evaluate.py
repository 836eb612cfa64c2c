"""Run this study: python experiments/online_simulated/evaluate.py [--quick] [--accept]; compares with expected.json."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

import transfer
from transfer.evaluate.online.interleaving import preference
from transfer.evaluate.online.trial import trial
from transfer.evaluate.online.visits import Market, seen, worth
from transfer.evaluate.significance import summary
from transfer.experiment.online_test import REWARDS, Arms, arms_of, market_of
from transfer.report.figures import Near, settle

METHODS = ("popularity", "item_knn", "ease", "ials", "graph_filter", "user_knn", "ridge_map", "history_map")
METHODS = (*METHODS, "residual_map", "kernel_map")
REFERENCE = METHODS.index("popularity")  # the only one of them that sees no source: of new readers nothing else is known
WORLDS = [(correlation, seed) for correlation in (0.9, 0.3) for seed in range(10)]
BIASES, SPREADS, SHOWN = (0.0, 0.5, 1.0, 2.0), (0.0, 0.5, 1.0, 1.5), (1.0, 0.5)  # SHOWN: where tests are simulated
K, ASKED, DAYS, READERS, VISITS = 10, 200, 60, 2000, 8192
CLICKS, REVENUE = REWARDS.index("click"), REWARDS.index("revenue")
COMMON = (
    *("task=ranking", "split=cold_start", "split.beta=0.3", "task.k=[10]", "train.progress=false", "model.dim=16"),
    *("domain.users=800", "domain.shared=1", "domain.source_items=200", "domain.target_items=150"),
    "domain.capacity=32768",  # arrays of one shape: a method is one compiled program for all worlds
)
Figures = dict[str, Any]
NEAR = Near(relative=0.02, absolute=0.02)


def world(correlation: float, seed: int) -> Figures:
    """Lists and offline figures of all methods on one world, for as many readers of its test part in every world."""
    words = [*COMMON, f"domain.correlation={correlation}", f"domain.data_seed={seed}"]
    results = {method: transfer.run([*words, f"method={method}"]) for method in METHODS}
    found = arms_of(results, K)
    arms = Arms(found.names, found.lists[:, :ASKED], found.readers[:ASKED], found.items)
    first: Any = results[METHODS[0]]
    hidden, index = first.predictor.loaded.world.test, {user: i for i, user in enumerate(first.predictor.loaded.users)}
    users, row, item = (np.asarray(array) for array in (hidden.users, hidden.row, hidden.item))
    chunk, place = np.nonzero(row < users.shape[1])
    liked = np.zeros((len(index), len(arms.items)), bool)
    liked[users[chunk, row[chunk, place]], item[chunk, place]] = True
    tested: list[Any] = [result.per_user for result in results.values()]
    return {
        "domain": first.config.domain,
        "arms": arms,
        "hidden": liked[[index[user] for user in arms.readers]],
        "ndcg": np.stack([table["ndcg@10"].to_numpy()[:ASKED] for table in tested]),
        "recall": np.stack([table["recall@10"].to_numpy()[:ASKED] for table in tested]),
        "coverage@10": np.array([result.metrics["test"]["coverage@10"] for result in results.values()]),
        "popularity@10": np.array([result.metrics["test"]["popularity@10"] for result in results.values()]),
    }


def market(of: Figures, spread: float) -> Market:
    """What the readers of a world would do, with this spread of prices."""
    return market_of(of["domain"].model_copy(update={"price_spread": spread}), of["arms"], 0.0)


def offline(of: Figures, price: Any) -> Figures:
    """Offline figures by method, [methods]."""
    lists = of["arms"].lists
    hits = np.take_along_axis(of["hidden"][None], lists, axis=2)
    weights, gains = 1 / np.log2(2 + np.arange(K)), price[lists] * hits
    ideal = -np.sort(-(of["hidden"] * price[None, :]), axis=1)[:, :K] @ weights
    return {
        "ndcg@10": of["ndcg"].mean(1),
        "recall@10": of["recall"].mean(1),
        "price_ndcg@10": ((gains @ weights) / ideal[None, :]).mean(1),
        "revenue@10": gains.sum(2).mean(1),
        "coverage@10": of["coverage@10"],
        "popularity@10": of["popularity@10"],
    }


def verdict(difference: Any) -> str:
    """Of one world, by the paired 95 % interval over its readers [readers]."""
    half = stats.t.ppf(0.975, len(difference) - 1) * difference.std(ddof=1) / np.sqrt(len(difference))
    return "helps" if difference.mean() > half else "hurts" if difference.mean() < -half else "not shown"


def study(worlds: list[tuple[float, int]], days: int) -> Figures:
    """All figures of all worlds; [mean, low, high] are over worlds."""
    made = [world(*which) for which in worlds]
    found: Figures = {"worlds": len(made), "rank correlation": {}, "same winner": {}, "verdicts": {}}
    tables = []
    for spread in SPREADS:
        planted = [market(of, spread) for of in made]
        for bias in BIASES:
            markets = [shop._replace(seen=seen(K, bias)) for shop in planted]
            tables = [offline(of, np.asarray(shop.price)) for of, shop in zip(made, markets, strict=True)]
            revenue = [
                np.asarray(worth(shop, jnp.asarray(of["arms"].lists))[REVENUE]).mean(1)
                for of, shop in zip(made, markets, strict=True)
            ]
            label = f"position bias {bias}, price spread {spread}"
            pairs = {
                name: [(table[name], brings) for table, brings in zip(tables, revenue, strict=True)] for name in tables[0]
            }
            found["rank correlation"][label] = {
                name: over([float(stats.spearmanr(*pair).statistic) for pair in of]) for name, of in pairs.items()
            }
            found["same winner"][label] = {
                name: float(np.mean([a.argmax() == b.argmax() for a, b in of])) for name, of in pairs.items()
            }
            found["verdicts"][label] = verdicts(made, revenue)
            if (bias, spread) == SHOWN:
                found["tests"] = tests(made, markets, days)
    found["offline"] = {
        name: {method: over([float(table[name][m]) for table in tables]) for m, method in enumerate(METHODS)}
        for name in ("ndcg@10", "coverage@10", "popularity@10")
    }
    return found


def over(values: list[float]) -> list[float]:
    """Mean over worlds with its 95 % interval."""
    told = summary(values)
    return [told.mean, told.low, told.high]


def verdicts(made: list[Figures], revenue: list[Any]) -> Figures:
    """Of every verdict on nDCG@10 against the reference: how often, and how often the method brings more revenue online."""
    counts: dict[str, list[list[float]]] = {}
    for of, brings in zip(made, revenue, strict=True):
        own: dict[str, list[float]] = {}
        for m in range(len(METHODS)):
            if m != REFERENCE:
                own.setdefault(verdict(of["ndcg"][m] - of["ndcg"][REFERENCE]), []).append(
                    float(brings[m] > brings[REFERENCE])
                )
        for said, more in own.items():
            counts.setdefault(said, []).append(more)
    return {
        said: {"times": sum(map(len, more)), "worlds": len(more), "more revenue": float(np.mean(np.concatenate(more)))}
        | {"by world": over([float(np.mean(of)) for of in more])}
        for said, more in sorted(counts.items())
    }


def tests(made: list[Figures], markets: list[Market], days: int) -> Figures:
    """A/B tests of all methods, and of each with the reference beside interleaving, in all worlds."""
    rows = []
    for number, (of, shop) in enumerate(zip(made, markets, strict=True)):
        lists, key = jnp.asarray(of["arms"].lists), jax.random.key(number)
        truth = np.asarray(worth(shop, lists)).mean(2)
        kept, given_up = (trial(key, shop, lists, days, READERS, REVENUE, give_up=flag) for flag in (False, True))
        left = np.asarray(given_up.open[-1])
        inside = np.abs(np.asarray(kept.mean) - truth[REVENUE]) <= np.asarray(kept.half)
        preferred, apart = [], []
        for m in range(len(METHODS)):
            if m == REFERENCE:
                continue
            pair = lists[jnp.array([REFERENCE, m])]
            sign = np.sign(truth[CLICKS, m] - truth[CLICKS, REFERENCE])
            drawn = sign * np.asarray(preference(jax.random.fold_in(key, m), shop, *pair, VISITS), np.float64)
            preferred.append([drawn.mean() > 0, drawn.mean() > 1.96 * drawn.std() / VISITS**0.5])
            both = trial(jax.random.fold_in(key, m), shop, pair, 1, VISITS, CLICKS, give_up=False)
            arm, clicks = np.asarray(both.arm[0]), np.asarray(both.shown.click[0]).sum(1)
            one, two = clicks[arm == 0], clicks[arm == 1]
            less, error = sign * (two.mean() - one.mean()), np.sqrt(one.var() / len(one) + two.var() / len(two))
            apart.append([less > 0, less > 1.96 * error])
        rows.append(
            {
                "all sequences hold on all days": float(inside.all()),
                "arms left": float(left.sum()),
                "the best arm is left": float(left[truth[REVENUE].argmax()]),
                "regret, all arms kept": float(kept.regret[-1]),
                "regret, losers given up": float(given_up.regret[-1]),
                "revenue of the best arm": float(truth[REVENUE].max() * days * READERS),
                "interleaving: right sign": float(np.mean(preferred, axis=0)[0]),
                "interleaving: right and sure": float(np.mean(preferred, axis=0)[1]),
                "A/B: right sign": float(np.mean(apart, axis=0)[0]),
                "A/B: right and sure": float(np.mean(apart, axis=0)[1]),
            }
        )
    return {name: over([row[name] for row in rows]) for name in rows[0]}


def tables(found: Figures) -> str:
    """The figures as Markdown."""
    parts = [f"Of {found['worlds']} worlds; [95 % intervals] are over worlds."]
    names = list(next(iter(found["rank correlation"].values())))
    rows = [[label, *map(_between, of.values())] for label, of in found["rank correlation"].items()]
    parts.append(_table("Rank correlation over methods with revenue online", ["", *names], rows))
    rows = [[label, *(f"{share:.2f}" for share in of.values())] for label, of in found["same winner"].items()]
    parts.append(_table("How often the best by it is the best by revenue online", ["", *names], rows))
    rows = [
        [label, said, str(one["times"]), str(one["worlds"]), f"{one['more revenue']:.3f}", _between(one["by world"])]
        for label, of in found["verdicts"].items()
        for said, one in of.items()
    ]
    heads = ["", "verdict on nDCG@10", "times", "worlds", "more revenue online", "mean over worlds"]
    parts.append(_table("What a verdict offline is worth", heads, rows))
    parts.append(_table("Tests", ["", "mean"], [[name, _between(of)] for name, of in found["tests"].items()]))
    rows = [[method, *(_between(of[method]) for of in found["offline"].values())] for method in METHODS]
    parts.append(_table("Offline", ["", *found["offline"]], rows))
    return "\n\n".join(parts) + "\n"


def _between(of: list[float]) -> str:
    mean, low, high = of
    digits = 0 if abs(mean) >= 1000 else 3
    return f"{mean:,.{digits}f} [{low:,.{digits}f}, {high:,.{digits}f}]".replace("-", "−")


def _table(title: str, heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---", *["--:"] * (len(heads) - 1)], *rows]
    return f"## {title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def asked_for(asked: argparse.Namespace) -> Figures:
    """The figures that a command line asks for."""
    return study(WORLDS[8:11] if asked.quick else WORLDS, 5 if asked.quick else DAYS)


if __name__ == "__main__":
    settle(Path(__file__), asked_for, tables, NEAR, argparse.ArgumentParser(description=__doc__))
