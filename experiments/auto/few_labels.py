"""With few labels: what rules say of a source, in worlds that are not in worlds.jsonl.

python experiments/auto/few_labels.py measure DATA FILE KIND...    a line of FILE for each world: simulated, digits, reviews
python experiments/auto/few_labels.py tables FILE                  the table of the README

Ridge classifiers on the labelled target, on the source, and on both, where the source has half or 80 % of the weight.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from command import asked
from scipy import stats

from transfer.composing import compose
from transfer.evaluate.significance import LEVEL, Units, by_user, paired, simultaneous
from transfer.experiment.build import load_world

KINDS = ("simulated", "digits", "reviews")
FOLDS, DIVISIONS, L2 = 5, 5, 0.001  # the penalty that task=classification has by default
SOURCES, TESTED = 600, 1500  # examples at most
SHARES = (0.5, 0.8)
RULES = {
    "no transfer": "no transfer",
    "mean": "the highest mean of 5 folds",
    "each": "bounds by Bonferroni (as it was)",
    "together": "bounds of all at once",
    "again": "and two methods judged again (as it is)",
    "all again": "and all methods judged again",
    "90 %": "all judged again, each by a bound of 90 %",
}


class World(NamedTuple):
    """x and one-hot y of a source, of the target's labelled pool, and of the test."""

    kind: str
    name: str
    source: tuple[Any, Any]
    pool: tuple[Any, Any]
    test: tuple[Any, Any]


def worlds(kinds: list[str], data: str) -> Iterator[tuple[World, tuple[int, ...], int]]:
    """Worlds, labels of a class, and draws of the labels."""
    if "simulated" in kinds:
        for draw in range(4):
            for correlation in (-1.0, -0.3, 0.0, 0.3, 0.6, 0.8, 0.9, 1.0):
                yield simulated(correlation, draw), (5, 10, 25, 50, 100), 1
    for target, strength in (("rotated", 0.2), ("rotated", 0.5), ("noisy", 0.5), ("inverted", 1.0), ("background", 0.5)):
        if "digits" in kinds:
            words = ("domain=digits_shift", f"domain.target={target}", f"domain.strength={strength}")
            yield real("digits", f"{target} {strength}", words, data), (2, 3, 5, 10), 3
    for source, target in (("electronics", "books"), ("books", "dvd"), ("kitchen", "electronics"), ("dvd", "kitchen")):
        if "reviews" in kinds:
            words = ("domain=amazon_reviews", f"domain.source={source}", f"domain.target={target}")
            world = real("reviews", f"{source} to {target}", words, data)
            yield world, (10, 25), 3
            x, y = world.source
            told = y[np.random.default_rng(0).permutation(len(y))]
            yield world._replace(kind="reviews with a useless source", source=(x, told)), (10, 25), 3


def simulated(correlation: float, draw: int) -> World:
    """Two classes whose means differ along directions that correlate across the domains, in 40 uneven dimensions; the
    source is shifted and scaled."""
    rng = np.random.default_rng([draw, round(10 * correlation) + 10])
    size = 40
    spread = 1 / np.sqrt(1 + np.arange(size))
    spread, apart = spread / spread.mean(), rng.uniform(0.8, 1.6) * np.sqrt(size) / 6
    own, other = np.linalg.qr(rng.standard_normal((size, 2)))[0].T
    shared = correlation * own + np.sqrt(1 - correlation**2) * other
    shift, scale = 0.5 * rng.standard_normal(size), np.exp(0.3 * rng.standard_normal(size))

    def drawn(count: int, direction: Any) -> tuple[Any, Any]:
        of = np.arange(count) % 2
        return rng.standard_normal((count, size)) * spread + (2 * of - 1)[:, None] * apart * direction, np.eye(2)[of]

    x, y = drawn(400, shared)
    return World("simulated", f"{correlation} {draw}", (x * scale + shift, y), drawn(200, own), drawn(TESTED, own))


def real(kind: str, name: str, words: tuple[str, ...], data: str) -> World:
    """A data set's domains with all labels of the pool."""
    rng = np.random.default_rng(0)
    split = ("split=few_labels", "split.target_labels=all", "split.valid=0", "split.seed=77")
    world: Any = load_world(compose([*words, *split, f"data_dir={data}", "method=target_only"])).world

    def some(x: Any, y: Any, most: int, there: Any = slice(None)) -> tuple[Any, Any]:
        y = np.asarray(y).reshape(-1, y.shape[-1])
        x, y = np.asarray(x).reshape(len(y), -1)[there], y[there]
        rows = rng.permutation(len(y))[:most]
        return x[rows], y[rows]

    test, source = world.test, world.sources[0].train
    there = np.asarray(test.weight).reshape(-1) > 0
    parts = (source.x, source.y, SOURCES), (world.labelled.x, world.labelled.y, SOURCES)
    return World(kind, name, *(some(*part) for part in parts), some(test.inputs.x, test.y, TESTED, there))


def measured(world: World, count: int, draw: int) -> tuple[Any, Any]:
    """Whether each method [divisions, methods, labels] knows each label that its folds hid, and [methods, tested] the test,
    with all labels."""
    rng = np.random.default_rng([draw, count])
    parts = [world.source, world.pool, world.test]
    x, y = (np.concatenate([part[i] for part in parts]).astype(np.float64) for i in (0, 1))
    inner, sizes = x @ x.T, np.cumsum([0, *(len(part[1]) for part in parts)])
    source, pool, test = (np.arange(*sizes[i : i + 2]) for i in range(3))
    of = y.argmax(axis=1)
    labelled = np.concatenate([rng.permutation(pool[of[pool] == c])[:count] for c in range(y.shape[1])])
    alone = ridge(inner, y, source, np.ones(len(source)), np.arange(len(y)))

    def right(known: Any, asked: Any) -> Any:
        """[methods, asked]."""
        weight = [np.r_[np.full(len(source), s / len(source)), np.full(len(known), (1 - s) / len(known))] for s in SHARES]
        both = [ridge(inner, y, np.r_[source, known], w, asked) for w in weight]
        scores = [ridge(inner, y, known, np.ones(len(known)), asked), alone[asked], *both]
        return np.stack([score.argmax(axis=1) == of[asked] for score in scores])

    values = np.zeros((DIVISIONS, 2 + len(SHARES), len(labelled)))
    folds = min(FOLDS, count)
    for division in range(DIVISIONS):
        part = np.concatenate([rng.permutation(np.arange(count)) % folds for _ in range(y.shape[1])])
        for fold in range(folds):
            values[division][:, part == fold] = right(labelled[part != fold], labelled[part == fold])
    return values, right(labelled, test)


def ridge(inner: Any, y: Any, rows: Any, weight: Any, asked: Any) -> Any:
    """Scores of those asked by ridge regression to ±1 on these rows from inner products, as solvers.classifiers."""
    weight = weight / weight.sum()
    root, own, other = np.sqrt(weight), inner[np.ix_(rows, rows)], inner[np.ix_(asked, rows)]
    mean = own @ weight
    own = root[:, None] * (own - mean[:, None] - mean + weight @ mean + 100.0) * root + L2 * np.eye(len(rows))
    other = other - (other @ weight)[:, None] - mean + weight @ mean + 100.0
    return other @ (root[:, None] * np.linalg.solve(own, root[:, None] * (2 * y[rows] - 1)))


def chosen(values: Any) -> dict[str, int]:
    """The method that each rule takes, 0 is the one without a source; of those that are sure the highest mean."""
    first, every = values[0], values.mean(axis=0)
    best = int(np.argmax(first.mean(axis=1)))
    mixed = first[1:] - first[0]
    if best:
        mixed[best - 1] = every[best] - every[0]
    alone = [len(every) - 1, 1]  # Bonferroni's number, and that of a bound that thinks of no others
    return {
        "no transfer": 0,
        "mean": best,
        "each": sure(first[1:] - first[0], alone[0]),
        "together": sure(first[1:] - first[0]),
        "again": sure(mixed) if best else 0,
        "all again": sure(every[1:] - every[0]),
        "90 %": sure(every[1:] - every[0], alone[1], 0.8),
    }


def sure(difference: Any, many: int | None = None, level: float = LEVEL) -> int:
    """The highest mean of differences [methods, labels] among those with a lower bound above 0; 0 for none."""
    count = difference.shape[1]
    units = Units(np.zeros(count, int), np.arange(count), np.full(count, 1 / count))
    tests = [paired(one, units) for one in difference]
    limit = simultaneous(by_user([(one, units) for one in difference]), count - 1)
    if many:
        limit = float(stats.t.ppf(1 - (1 - level) / 2 / many, count - 1))
    means = [one.difference if one.difference - limit * one.error > 0 else 0.0 for one in tests]
    return int(np.argmax(means)) + 1 if max(means) > 0 else 0


def measure(data: str, file: Path, kinds: list[str]) -> None:
    """Append a line for every world, number of labels and draw."""
    for world, counts, draws in worlds(kinds, data):
        with file.open("a") as out:
            for count in counts:
                for draw in range(draws):
                    values, right = measured(world, count, draw)
                    size = len(right[0])
                    units = Units(np.zeros(size, int), np.arange(size), np.full(size, 1 / size))
                    gaps = [paired(one.astype(float) - right[0], units) for one in right]
                    line = {
                        "kind": world.kind,
                        "world": world.name,
                        "labels": values.shape[2],
                        "test": right.mean(axis=1).round(4).tolist(),
                        "worse": [bool(gap.difference < 0 and gap.p < 0.05) for gap in gaps],
                        "chosen": chosen(values),
                    }
                    out.write(json.dumps(line) + "\n")


def tables(lines: list[dict[str, Any]]) -> str:
    """By kind and labels: mean regret, mean loss where no source helps, and the share of worlds that are hurt, by rule."""
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for line in lines:
        groups.setdefault((line["kind"], line["labels"]), []).append(line)
    rows = ["| rule | " + " | ".join(f"{kind}, {labels}" for kind, labels in groups) + " |", "|---|" + "--:|" * len(groups)]
    for rule, words in RULES.items():
        cells = []
        for some in groups.values():
            regret = [100 * (1 - one["test"][one["chosen"][rule]] / max(one["test"])) for one in some]
            loss = [
                100 * (1 - one["test"][one["chosen"][rule]] / one["test"][0])
                for one in some
                if max(one["test"]) == one["test"][0]
            ]
            hurt = 100 * np.mean([one["worse"][one["chosen"][rule]] for one in some])
            cells.append(f"{np.mean(regret):.1f}, {f'{np.mean(loss):.2f}' if loss else '–'}, {hurt:.1f}")
        rows.append(f"| {words} | " + " | ".join(cells) + " |")
    return "\n".join(
        [*rows, f"| *worlds, no source helps in* | {' | '.join(_counted(some) for some in groups.values())} |"]
    )


def _counted(some: list[dict[str, Any]]) -> str:
    return f"{len(some)}, {sum(max(one['test']) == one['test'][0] for one in some)}"


if __name__ == "__main__":
    words = asked(__doc__, "FILE", KINDS)
    if words.what == "measure":
        measure(words.data, words.out, words.kinds)
    else:
        print(tables([json.loads(line) for line in words.file.read_text().splitlines()]))
