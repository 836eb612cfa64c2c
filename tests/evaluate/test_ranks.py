"""Ranking metrics: ranx where nothing is tied, brute force over the orders of tied items, and what cannot be fooled."""

from __future__ import annotations

from functools import partial
from itertools import permutations
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from transfer.evaluate.rank_metrics import METRICS, ties_of, user_metrics

KS = (1, 2, 3, 5, 10)
ROWS, ITEMS, WIDE, EVENTS = 4, 6, 11, 24  # few shapes of tables, so that few programs are compiled


@partial(jax.jit, static_argnums=4)
def compiled(
    scores: jax.Array, relevant: jax.Array, row: jax.Array, item: jax.Array, ks: tuple[int, ...]
) -> dict[str, jax.Array]:
    found = user_metrics(ties_of(scores, relevant, row, item), row, item, len(scores), ks)
    return {f"{name}@{k}": values[:, i] for name, values in found.items() for i, k in enumerate(ks)}


def measure(scores: NDArray[Any], relevant: NDArray[np.bool_], ks: tuple[int, ...] = KS) -> dict[str, NDArray[Any]]:
    """The metrics; events in scattered order, with padding rows up to a fixed number."""
    row, item = (np.asarray(part, np.int32) for part in np.nonzero(relevant))
    order = np.random.default_rng(0).permutation(len(row))
    padding = max(EVENTS, len(row)) + 3 - len(row)
    row = np.concatenate([np.full(1, len(scores)), row[order], np.full(padding - 1, len(scores))]).astype(np.int32)
    item = np.concatenate([np.zeros(1), item[order], np.arange(padding - 1) % scores.shape[1]]).astype(np.int32)
    arrays = (np.asarray(scores, np.float32), relevant, row, item)
    return {name: np.asarray(values) for name, values in compiled(*map(jnp.asarray, arrays), ks).items()}


def of_lists(hits: NDArray[np.bool_], total: int, k: int) -> dict[str, float]:
    """Means over lists of the metrics by their definitions; hits [lists, places] says what is relevant, from the top."""
    top = hits[:, :k].astype(float)
    place = np.arange(1, top.shape[1] + 1)
    ideal = np.sum(1 / np.log2(np.arange(1, min(k, total) + 1) + 1))
    values = {
        "recall": top.sum(axis=1) / total,
        "ndcg": np.sum(top / np.log2(place + 1), axis=1) / ideal,
        "mrr": np.max(top / place, axis=1),
        "map": np.sum(top * np.cumsum(top, axis=1) / place, axis=1) / min(k, total),
        "hit": top.any(axis=1),
        "precision": top.sum(axis=1) / k,
    }
    return {name: float(np.mean(value)) for name, value in values.items()}


def expected(scores: NDArray[Any], relevant: NDArray[np.bool_], k: int) -> dict[str, float]:
    """Mean of the metrics over every order of the candidates that respects the scores."""
    candidates = np.flatnonzero(~np.isneginf(scores))
    orders = candidates[np.array(list(permutations(range(len(candidates)))))]
    sorted_ones = np.all(np.diff(scores[orders], axis=1) <= 0, axis=1)
    return of_lists(relevant[orders[sorted_ones]], int(relevant.sum()), k)


def test_ranx_agrees_where_nothing_is_tied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")  # compiling ranx takes minutes, running it as Python a second
    from ranx import Qrels, Run, evaluate

    random = np.random.default_rng(0)
    users, items, ks = 20, 100, (1, 5, 20)
    scores = random.permuted(np.tile(np.arange(items), (users, 1)), axis=1) / 7
    relevant = random.random((users, items)) < random.choice([0.01, 0.05, 0.3], (users, 1))
    relevant[np.arange(users), random.integers(items, size=users)] = True
    ours = measure(scores, relevant, ks)
    qrels = Qrels({f"u{u}": {f"i{i}": 1 for i in np.flatnonzero(relevant[u])} for u in range(users)})
    run = Run({f"u{u}": {f"i{i}": float(scores[u, i]) for i in range(items)} for u in range(users)})
    for name in METRICS:
        for k in ks:
            theirs = {"hit": "hit_rate"}.get(name, name)
            evaluate(qrels, run, f"{theirs}@{k}", return_mean=False)
            values = np.array([run.scores[f"{theirs}@{k}"][f"u{u}"] for u in range(users)])
            if name == "map":  # ranx divides by all relevant items, though at most k of them can be found
                values *= relevant.sum(axis=1) / np.minimum(relevant.sum(axis=1), k)
            np.testing.assert_allclose(ours[f"{name}@{k}"], values, rtol=2e-5, atol=1e-6, err_msg=f"{name}@{k}")
            assert 0 < values.mean() <= 1


tables = st.integers(0, 2**32 - 1).map(np.random.default_rng)


@settings(deadline=None, max_examples=40)
@given(random=tables, levels=st.integers(1, 4), share=st.sampled_from([0.2, 0.5, 0.9]))
def test_ties_count_by_the_mean_over_all_their_orders(random: np.random.Generator, levels: int, share: float) -> None:
    scores = random.integers(levels, size=(ROWS, ITEMS)).astype(float)
    relevant = random.random((ROWS, ITEMS)) < share
    scores[~relevant & (random.random((ROWS, ITEMS)) < 0.3)] = -np.inf
    ours = measure(scores, relevant)
    for u in np.flatnonzero(relevant.any(axis=1)):
        for k in KS:
            for name, value in expected(scores[u], relevant[u], k).items():
                assert ours[f"{name}@{k}"][u] == pytest.approx(value, abs=2e-6), (name, k, scores[u], relevant[u])


def test_a_constant_scorer_is_no_better_than_chance() -> None:
    candidates = 8
    scores = np.zeros((ROWS, WIDE))
    scores[:, candidates:] = -np.inf
    relevant = np.zeros((ROWS, WIDE), bool)
    relevant[0, 0] = relevant[1, :5] = relevant[2, 5:candidates] = relevant[3, :2] = True
    ours = measure(scores, relevant)
    count = relevant.sum(axis=1)
    for k in (1, 2, 3, 5):
        np.testing.assert_allclose(ours[f"recall@{k}"], k / candidates, rtol=1e-5)
        np.testing.assert_allclose(ours[f"precision@{k}"], count / candidates, rtol=1e-5)
        np.testing.assert_allclose(ours[f"hit@{k}"][0], k / candidates, rtol=1e-5)
        np.testing.assert_allclose(ours[f"mrr@{k}"][0], np.sum(1 / np.arange(1, k + 1)) / candidates, rtol=1e-5)
    misses = np.prod([(candidates - count - j) / (candidates - j) for j in range(5)], axis=0)
    np.testing.assert_allclose(ours["hit@5"], 1 - misses, rtol=1e-5)


def test_a_dead_model_scores_nan_and_never_well() -> None:
    random = np.random.default_rng(0)
    scores = random.random((ROWS, ITEMS))
    relevant = np.zeros((ROWS, ITEMS), bool)
    relevant[:3, 2] = True
    alive = measure(scores, relevant)
    scores[0], scores[1, 4], scores[3] = np.nan, np.nan, np.nan
    for name, values in measure(scores, relevant).items():
        assert np.isnan(values[:2]).all(), name  # all NaN, and one NaN of an item that is not even relevant
        assert values[2] == alive[name][2]
        assert values[3] == 0  # nothing to find: such a row is padding
    infinite = measure(np.full((ROWS, ITEMS), np.inf), relevant)
    assert infinite["recall@1"][0] == pytest.approx(1 / ITEMS)


def test_masked_items_and_padding_rows_change_nothing() -> None:
    random = np.random.default_rng(1)
    scores, relevant = random.random((ROWS, ITEMS)), random.random((ROWS, ITEMS)) < 0.4
    relevant[3] = False
    wide = np.concatenate([np.full((ROWS, WIDE - ITEMS), -np.inf), scores], axis=1)
    also = np.concatenate([np.zeros((ROWS, WIDE - ITEMS), bool), relevant], axis=1)
    alone, beside = measure(scores, relevant), measure(wide, also)
    for name in alone:
        np.testing.assert_allclose(alone[name], beside[name], atol=1e-6, err_msg=name)
        assert alone[name][3] == 0  # a user without relevant items
    # the list holds candidates only: two items seen, one found at the first place of the four that are left
    seen = np.array([[9.0, 8.0, 3.0, 2.0, 1.0, 0.0]] * ROWS)
    target = np.zeros((ROWS, ITEMS), bool)
    target[:, 2] = True
    assert measure(seen, target)["hit@1"][0] == 0
    seen[:, :2] = -np.inf
    assert measure(seen, target)["hit@1"][0] == 1


def test_the_perfect_order_has_ndcg_one_and_no_other_has() -> None:
    relevant = np.zeros((ROWS, ITEMS), bool)
    for u, count in enumerate([1, 2, 4, 6]):
        relevant[u, :count] = True
    perfect = np.tile(-np.arange(ITEMS), (ROWS, 1))
    best, worst = measure(perfect, relevant), measure(-perfect, relevant)
    for k in KS:
        np.testing.assert_allclose(best[f"ndcg@{k}"], 1, rtol=1e-6)
        np.testing.assert_allclose(best[f"map@{k}"], 1, rtol=1e-6)
        np.testing.assert_allclose(best[f"mrr@{k}"], 1, rtol=1e-6)
        assert worst[f"ndcg@{k}"][0] < 1
        assert max(values.max() for values in best.values()) <= 1 + 1e-6


def test_a_list_longer_than_the_catalogue_finds_everything() -> None:
    relevant = np.eye(ROWS, ITEMS, dtype=bool)
    ours = measure(np.zeros((ROWS, ITEMS)), relevant)
    np.testing.assert_allclose(ours["recall@10"], 1, rtol=1e-6)
    np.testing.assert_allclose(ours["precision@10"], 0.1, rtol=1e-6)  # empty places are misses
