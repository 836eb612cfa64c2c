"""Tasks: batches, negatives and losses, and metrics against scoring every user alone without any of our code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache, partial
from random import Random
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import interactions, small_world
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import mean_absolute_error, root_mean_squared_error

import transfer.data.interactions.events as events_module
from transfer.api import compose
from transfer.config.schema import Task as Settings
from transfer.data.interactions.events import Heldout
from transfer.data.interactions.folds import stacked
from transfer.data.interactions.world import World
from transfer.data.load import _load
from transfer.errors import TransferError
from transfer.evaluate.rank_metrics import METRICS
from transfer.program import Batch, Scores, Task
from transfer.tasks import ranking, rating

KS = (5, 10, 20)
SCALE = (1.0, 5.0)
N_ITEMS, N_USERS, N_EVENTS = 9, 6, 26
unseen = partial(jax.jit, static_argnums=3)(ranking.unseen_items)


@cache
def settings_of(name: str) -> Settings:
    return compose([f"task={name}"]).task


def ranking_task(**changes: Any) -> Task:
    values = {"k": KS, "select": "ndcg@10", "loss": "bpr", "negatives": 3, **changes}
    return ranking.build(
        settings_of("ranking").model_copy(update=values), SimpleNamespace(test=SimpleNamespace(open_row=None))
    )


def rating_task(**changes: Any) -> Task:
    return rating.build(settings_of("rating").model_copy(update=changes), SimpleNamespace(scale=SCALE))


def histories(random: Random) -> list[set[int]]:
    """Items by user: none for the first, all for the second, all but one for the third, the others share the rest."""
    cells = random.sample([(u, i) for u in range(3, N_USERS) for i in range(N_ITEMS)], N_EVENTS - 2 * N_ITEMS + 1)
    but_one = set(range(N_ITEMS)) - {random.randrange(N_ITEMS)}
    return [set(), set(range(N_ITEMS)), but_one, *({i for v, i in cells if v == u} for u in range(3, N_USERS))]


# --- negatives and batches -------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32), st.integers(0, 2**31))
def test_an_unseen_item_is_never_the_users_own(seed: int, key: int) -> None:
    mine = histories(Random(seed))
    users = jnp.arange(N_USERS, dtype=jnp.int32).repeat(4)
    drawn = np.asarray(unseen(interactions(mine, N_ITEMS), users, jax.random.key(key), 5))
    assert drawn.shape == (4 * N_USERS, 5)
    assert drawn.min() >= 0
    assert drawn.max() < N_ITEMS
    for user, items in zip(np.asarray(users), drawn, strict=True):
        if len(mine[user]) < N_ITEMS:
            assert not mine[user] & set(items.tolist())


def test_unseen_items_are_uniform_over_the_rest() -> None:
    mine = histories(Random(1))
    drawn = np.asarray(unseen(interactions(mine, N_ITEMS), jnp.arange(N_USERS, dtype=jnp.int32), jax.random.key(0), 20_000))
    for user in (u for u in range(N_USERS) if len(mine[u]) < N_ITEMS):
        counts = np.bincount(drawn[user], minlength=N_ITEMS)
        rest = sorted(set(range(N_ITEMS)) - mine[user])
        assert counts[rest].sum() == 20_000
        assert len(rest) == 1 or stats.chisquare(counts[rest]).pvalue > 1e-3, (user, counts)


def test_batches_are_drawn_from_the_events() -> None:
    events = small_world(task="rating").world.target.train
    columns = [np.asarray(part).tolist() for part in (events.users, events.items, events.ratings)]
    known = {(u, i): (n, r) for n, (u, i, r) in enumerate(zip(*columns, strict=True))}
    for task, width in ((rating_task(), 1), (ranking_task(), 4)):
        draw = partial(jax.jit, static_argnums=2)(task.batch)
        with jax.debug_key_reuse(True):
            batch, again, other = (draw(events, jax.random.key(seed), 10_000) for seed in (0, 0, 1))
        users, items, ratings = (np.asarray(part).tolist() for part in (batch.users, batch.items, batch.ratings))
        assert batch.items.shape == (10_000, width)
        found = [known[u, i[0]] for u, i in zip(users, items, strict=True)]
        assert [r for _, r in found] == ratings
        counts = np.bincount([n for n, _ in found], minlength=len(known))
        assert stats.chisquare(counts).pvalue > 1e-3
        if width == 1:  # the prior of ratings: over all draws, every user and every item weighs the same
            np.testing.assert_allclose(batch.user_weights, 1 / np.bincount(columns[0])[users], rtol=1e-6)
            np.testing.assert_allclose(batch.item_weights, 1 / np.bincount(columns[1])[items], rtol=1e-6)
        assert not any((u, i) in known for u, row in zip(users, items, strict=True) for i in row[1:])
        np.testing.assert_array_equal(again.items, batch.items)
        assert (np.asarray(other.items) != np.asarray(batch.items)).any()


# --- losses ----------------------------------------------------------------------------------------------------------


def of_ratings(ratings: Any) -> Batch:
    """A batch of which only the ratings matter."""
    drawn = rating_task().batch(interactions([{0, 1}], 3), jax.random.key(0), len(ratings))
    return drawn._replace(ratings=jnp.asarray(ratings, jnp.float32))


def sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-x))


Q = np.array([[1.0, 0.3, 0.6, 2.0]])  # how often each item of the batch below is drawn in expectation


def naive_losses(s: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    first, others = s[:, :1], s[:, 1:]
    share = np.exp(s) / np.exp(s).sum(axis=1, keepdims=True)
    return {
        "bpr": -np.log(sigmoid(first - others)).mean(axis=1),
        "softmax": -np.log(share[:, 0]),
        "sampled_softmax": -np.log(np.exp(s[:, 0]) / (np.exp(s) / Q).sum(axis=1)),
        "full_softmax": -np.log(np.exp(s[:, 0]) / np.exp(others).sum(axis=1)),
        "binary_cross_entropy": -np.log(sigmoid(s[:, 0])) - np.log(1 - sigmoid(others)).mean(axis=1),
        "squared_error": (1 - s[:, 0]) ** 2 + (others**2).mean(axis=1),
    }


@pytest.mark.parametrize("name", ranking.LOSSES)
def test_losses_are_what_their_names_say(name: str) -> None:
    s = np.random.default_rng(0).normal(0, 2, (50, 4))
    batch = of_ratings(np.ones(1))._replace(log_q=jnp.asarray(np.log(Q), jnp.float32))
    task = ranking_task(loss=name)
    both = jax.jit(jax.vmap(jax.value_and_grad(lambda row: task.loss(row[None, :], batch)[0])))
    np.testing.assert_allclose(both(jnp.asarray(s, jnp.float32))[0], naive_losses(s)[name], rtol=2e-4)
    slope = np.asarray(both(jnp.asarray([[-80.0, 80.0, 90.0, 80.0]] * 50, jnp.float32))[1])
    assert np.isfinite(slope).all()  # also where a model is very sure, and wrong
    assert (slope[:, 0] < 0).all()


def test_the_sampled_softmax_estimates_the_sum_over_all_items() -> None:
    """Its partition function is right on average, whatever the number of negatives; without the correction it is not."""
    mine = histories(Random(2))
    events = interactions(mine, N_ITEMS)
    s = np.random.default_rng(3).normal(0, 1, N_ITEMS).astype(np.float32)
    seen = min(range(3, N_USERS), key=lambda user: len(mine[user]) or N_ITEMS)
    assert len(mine[seen]) <= 3
    for negatives in (1, 4):
        drawn = jax.jit(ranking.batch, static_argnums=(2, 3))(events, jax.random.key(0), 40_000, negatives)
        rows = np.asarray(drawn.users) == seen
        items, outputs = np.asarray(drawn.items)[rows], s[np.asarray(drawn.items)]
        exact = np.exp(s[items[:, 0]]) + sum(np.exp(s[i]) for i in range(N_ITEMS) if i not in mine[seen])
        sums = {
            name: np.exp(np.asarray(ranking.LOSSES[name](jnp.asarray(outputs), drawn)) + outputs[:, 0])[rows]
            for name in ("sampled_softmax", "softmax")
        }
        assert sums["sampled_softmax"].mean() == pytest.approx(exact.mean(), rel=0.02)
        assert sums["softmax"].mean() < 0.9 * exact.mean()


def test_the_rating_loss_is_the_squared_error_of_each_example() -> None:
    batch = of_ratings([1, 3, 5])
    np.testing.assert_allclose(rating_task().loss(jnp.asarray([[2.0], [3.0], [2.5]]), batch), [1, 0, 6.25])


# --- metrics ---------------------------------------------------------------------------------------------------------


@pytest.fixture(params=[2**22, 500])
def chunked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """One chunk of users, or several; loaded worlds are forgotten before and after."""
    monkeypatch.setattr(events_module, "CHUNK_SCORES", request.param)
    _load.cache_clear()
    yield request.param
    _load.cache_clear()


def random_table(world: World) -> NDArray[np.float32]:
    """Scores [users, items] without ties."""
    random = np.random.default_rng(3)
    return random.permutation(world.n_users * world.n_items).reshape(world.n_users, -1).astype(np.float32) / 1e3


def looked_up(table: NDArray[Any]) -> Scores:
    rows = jnp.asarray(table, jnp.float32)
    return lambda users: rows[users]


def by_user(part: Heldout) -> dict[int, tuple[dict[int, float], set[int]]]:
    """The hidden items with their ratings, and the seen ones, of every user."""
    found: dict[int, tuple[dict[int, float], set[int]]] = {}
    for chunk, users in enumerate(np.asarray(part.users)):
        for row, item, value in zip(*(np.asarray(x)[chunk] for x in (part.row, part.item, part.rating)), strict=True):
            if row < len(users):
                found.setdefault(int(users[row]), ({}, set()))[0][int(item)] = float(value)
        for row, item in zip(*(np.asarray(x)[chunk] for x in (part.seen_row, part.seen_item)), strict=True):
            if row < len(users):
                found[int(users[row])][1].add(int(item))
    return found


def naive_metrics(table: NDArray[Any], part: Heldout, train: dict[int, int]) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    shown: dict[int, set[int]] = {k: set() for k in KS}
    for user, (hidden, seen) in by_user(part).items():
        order = [i for i in np.argsort(-table[user]).tolist() if i not in seen]
        for k in KS:
            top, n = order[:k], len(hidden)
            hits = [i in hidden for i in top]
            shown[k] |= set(top)
            gains = [hit / np.log2(place + 2) for place, hit in enumerate(hits)]
            mine = {
                "recall": sum(hits) / n,
                "ndcg": sum(gains) / sum(1 / np.log2(place + 2) for place in range(min(n, k))),
                "mrr": 1 / (hits.index(True) + 1) if any(hits) else 0,
                "map": sum(sum(hits[: p + 1]) / (p + 1) for p, hit in enumerate(hits) if hit) / min(n, k),
                "hit": float(any(hits)),
                "precision": sum(hits) / k,
                "popularity": float(np.mean([train.get(i, 0) for i in top])),
            }
            for name, value in mine.items():
                values.setdefault(f"{name}@{k}", []).append(value)
    means = {name: float(np.mean(column)) for name, column in values.items()}
    return means | {f"coverage@{k}": len(items) / table.shape[1] for k, items in shown.items()}


@pytest.mark.parametrize(("split", "chunked"), [("cold_start", 2**22), ("ratio", 500)], indirect=["chunked"])
def test_ranking_metrics_are_those_of_each_user_alone_in_any_chunks(split: str, chunked: int) -> None:
    world = small_world(split=split).world
    assert (world.test.users.shape[0] == 1) == (chunked > 500)
    table = random_table(world)
    train = dict(zip(*np.unique(np.asarray(world.target.train.items), return_counts=True), strict=True))
    task, scores = ranking_task(), looked_up(table)
    measure = jax.jit(lambda scores, part: task.measure(task.predict(scores, part), part, True)[0], static_argnums=0)
    for part in (world.valid, world.test) if split == "ratio" else (world.test,):
        ours, expected = measure(scores, part), naive_metrics(table, part, train)
        assert set(ours) >= set(expected)
        for name, value in expected.items():
            assert float(ours[name]) == pytest.approx(value, rel=2e-5), name
    again = measure(scores, part)
    assert {name: float(x) for name, x in again.items()} == {name: float(x) for name, x in ours.items()}


@pytest.mark.parametrize("name", ["ranking", "rating"])
def test_hidden_parts_of_one_shape_are_measured_as_each_alone(name: str) -> None:
    """One is padded to the other: users, events, what was seen."""
    world = small_world(split="cold_start", split__beta=0.4).world
    parts = [world.valid, world.test]
    table = random_table(world)
    task, scores = ranking_task() if name == "ranking" else rating_task(), looked_up(table)
    one = stacked(parts)
    assert one is not None
    assert one.users.shape[0] == 2
    widths = {part.users.shape[1] for part in parts}
    assert len(widths) == 2, "else nothing is padded"

    @jax.jit
    def measure(part: Heldout) -> Any:
        return task.measure(task.predict(scores, part), part, True)

    for i, part in enumerate(parts):
        (means, rows), (wanted, of_users) = measure(jax.tree.map(lambda leaf, i=i: leaf[i], one)), measure(part)
        assert set(means) == set(wanted)
        assert {k: float(v) for k, v in means.items()} == pytest.approx(
            {k: float(v) for k, v in wanted.items()}, rel=1e-5, nan_ok=True
        )
        for key, values in of_users.items():
            np.testing.assert_allclose(rows[key][: int(part.n_users)], values[: int(part.n_users)], rtol=1e-5)


def test_hidden_parts_that_differ_in_kind_or_fill_several_chunks_are_not_stacked() -> None:
    world = small_world(split="cold_start", split__beta=0.4).world
    assert stacked([replace(world.valid, catalogue=None), replace(world.test, catalogue=None)]) is not None
    assert stacked([replace(world.valid, catalogue=None), world.test]) is None
    assert stacked([replace(world.valid, users=np.zeros((2, 3), np.int32)), world.test]) is None


def test_padding_of_a_narrow_part_is_padding_of_the_wide_one() -> None:
    world = small_world(split="cold_start", split__beta=0.4).world
    none = [np.full((1, 4), part.users.shape[1], np.int32) for part in (world.valid, world.test)]  # of dislikes
    parts = [
        replace(part, disliked_row=row, disliked_item=row)
        for part, row in zip((world.valid, world.test), none, strict=True)
    ]
    one = stacked(parts)
    assert one is not None
    assert (np.asarray(one.disliked_row) == one.users.shape[2]).all()


def test_a_list_holds_nothing_that_the_user_has() -> None:
    """Two candidates are left of ten items: longer lists stay at two."""
    seen = np.arange(8, dtype=np.int32)
    hidden = {"user": np.zeros(1, np.int32), "item": np.array([8], np.int32), "rating": np.ones(1, np.float32)}
    train = {"user": np.zeros(8, np.int32), "item": seen, "rating": np.ones(8, np.float32)}
    part = jax.tree.map(jnp.asarray, events_module.heldout_of(hidden, [train], train, 10))
    task = ranking_task(k=(10,), select="ndcg@10")
    measured, _ = task.measure(task.predict(looked_up(np.arange(10.0)[None, :]), part), part, True)
    assert float(measured["coverage@10"]) == pytest.approx(0.2)
    assert float(measured["popularity@10"]) == 0


def test_sampled_metrics_have_their_own_names_and_their_own_level() -> None:
    world = small_world().world
    task = ranking_task(sampled=15, k=(5,), select="ndcg@5")
    assert task.select == "sampled15_ndcg@5"
    measure = jax.jit(lambda table, part: task.evaluate(lambda users: table[users], part))
    constant = jnp.zeros((world.n_users, world.n_items))
    sampled, again = measure(constant, world.test), measure(constant, world.test)
    assert {name: float(x) for name, x in again.items()} == {name: float(x) for name, x in sampled.items()}
    counts = [len(hidden) for hidden, _ in by_user(world.test).values()]  # by chance, k of the candidates are found
    assert float(sampled["sampled15_recall@5"]) == pytest.approx(np.mean([5 / (15 + n) for n in counts]), rel=1e-4)
    every, plain = (
        ranking_task(sampled=count, k=(10,)).evaluate(looked_up(random_table(world)), world.test) for count in (10_000, 0)
    )
    assert set(plain) == {f"{name}@10" for name in METRICS}  # without coverage and popularity, and not sampled
    assert {name: float(every[f"sampled10000_{name}"]) for name in plain} == pytest.approx(
        {name: float(value) for name, value in plain.items()}, rel=1e-6
    )
    assert {name.split("_", 1)[0] for name in sampled} == {"sampled15"}


def test_rating_metrics_are_those_of_scikit_learn_in_any_chunks(chunked: int) -> None:
    world = small_world(task="rating", split="ratio").world
    table = np.random.default_rng(0).normal(3, 2, (world.n_users, world.n_items)).astype(np.float32)
    for part in (world.valid, world.test):
        assert (part.users.shape[0] == 1) == (chunked > 500)
        events = [(u, i, r) for u, (hidden, _) in by_user(part).items() for i, r in hidden.items()]
        truth, predicted = [r for *_, r in events], [np.clip(table[u, i], 1, 5) for u, i, _ in events]
        ours = rating_task().evaluate(looked_up(table), part)
        assert set(ours) == {"mae", "rmse"}
        assert float(ours["mae"]) == pytest.approx(mean_absolute_error(truth, predicted), rel=1e-5)
        assert float(ours["rmse"]) == pytest.approx(root_mean_squared_error(truth, predicted), rel=1e-5)
    table[by_user(part).popitem()[0]] = np.nan
    assert all(np.isnan(float(value)) for value in rating_task().evaluate(looked_up(table), part).values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": "hinge"}, "task.loss=hinge: task=ranking knows bpr, softmax"),
        ({"k": ()}, "task.k=[]: give list lengths of 1 or more"),
        ({"k": (0, 5)}, "task.k=[0, 5]: give list lengths of 1 or more"),
        ({"negatives": 0}, "task.negatives=0"),
        ({"select": "ndcg@7"}, "task.select=ndcg@7: with task.k=[5, 10, 20] choose from recall@5"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TransferError, match=re.escape(message)):
        ranking_task(**changes)
    for wrong in ({"loss": "bpr"}, {"select": "ndcg@10"}):
        with pytest.raises(TransferError, match="task=rating"):
            rating_task(**wrong)
