"""What lists hold beyond hits, feedback and revenue, against every user alone in NumPy, and what each figure must tell."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from conftest import small_world
from numpy.typing import NDArray
from scipy import special
from sklearn.metrics import roc_auc_score

import transfer.data.interactions.events as events_module
from transfer.api import compose
from transfer.data.features.catalogue import prices, shares
from transfer.data.interactions.events import Heldout
from transfer.data.interactions.world import World
from transfer.data.load import _load
from transfer.errors import TransferError
from transfer.evaluate import list_metrics
from transfer.evaluate.feedback import judged_auc
from transfer.tasks import ranking

KS = (3, 10)
Table = NDArray[np.float32]


@pytest.fixture(scope="module")
def world() -> World:
    """A small world with texts, genres, prices and dislikes, some of them taken away, in several chunks of users."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(events_module, "CHUNK_SCORES", 1_500)
        _load.cache_clear()
        found = small_world(split="few_shot", split__keep=2, split__beta=0.3, domain__text_dim=8).world
        _load.cache_clear()
    assert found.test.users.shape[0] > 1
    shelf = found.test.catalogue
    assert shelf is not None
    assert shelf.genres is not None
    assert shelf.texts is not None
    assert shelf.price is not None
    gone = np.arange(found.n_items) % 3 == 0
    genres, texts = (jnp.where(gone[:, None], 0.0, rows) for rows in (shelf.genres, shelf.texts))
    shelf = replace(shelf, genres=genres, texts=texts, price=jnp.where(gone, 0.0, shelf.price))
    liked = found.test.seen_liked & (found.test.seen_item % 2 == 0)  # the others are known to be rated, and no more
    return replace(found, test=replace(found.test, catalogue=shelf, seen_liked=liked))


def measured(world: World, table: Table) -> tuple[dict[str, float], dict[str, NDArray[Any]]]:
    """The means, and the values of every user in the order of `asked`."""
    task = compose(["task=ranking", "task.k=[3,10]", "task.select=ndcg@10"]).task
    asked = ranking.build(task, world)
    predicted = jax.jit(lambda table, part: asked.predict(lambda users: table[users], part))(jnp.asarray(table), world.test)
    means, rows = jax.jit(partial(asked.measure, beyond=True))(predicted, world.test)
    count = int(world.test.n_users)
    return {k: float(v) for k, v in means.items()}, {k: np.asarray(v)[:count] for k, v in rows.items()}


class Asked:
    """One user of a hidden part: what is hidden and liked, disliked, seen, and liked at all."""

    def __init__(self, part: Heldout, chunk: int, row: int):
        def items(rows: Any, of: Any, where: Any = True) -> set[int]:
            return set(np.asarray(of)[chunk][(np.asarray(rows)[chunk] == row) & where].tolist())

        self.user = int(part.users[chunk, row])
        self.hidden, self.seen = items(part.row, part.item), items(part.seen_row, part.seen_item)
        self.disliked = items(part.disliked_row, part.disliked_item)
        self.likes = self.hidden | items(part.seen_row, part.seen_item, np.asarray(part.seen_liked)[chunk])


def asked(part: Heldout) -> list[Asked]:
    width = part.users.shape[1]
    return [Asked(part, *divmod(i, width)) for i in range(int(part.n_users))]


def pairwise(items: list[int], vectors: Table) -> float:
    """Mean 1 - cosine over the pairs of the items that have a vector."""
    rows = [vectors[i] / np.linalg.norm(vectors[i]) for i in items if vectors[i].any()]
    pairs = [1 - rows[i] @ rows[j] for i in range(len(rows)) for j in range(i)]
    return float(np.mean(pairs)) if pairs else np.nan


def divergence(items: list[int], likes: set[int], genres: Table) -> float:
    p, q = genres[sorted(likes)].sum(axis=0), genres[items].sum(axis=0)
    if not p.any() or not q.any():
        return np.nan
    p, q = p / p.sum(), q / q.sum()
    return float(special.rel_entr(p, 0.99 * q + 0.01 * p).sum())


def naive(one: Asked, order: list[int], k: int, world: World, readers: int) -> dict[str, float]:
    """All figures of one user's list by their definitions; order: the candidates from the best on."""
    counts, shelf = np.bincount(np.asarray(world.target.train.items), minlength=world.n_items), world.test.catalogue
    genres, texts, price = (np.asarray(x) for x in (shelf.genres, shelf.texts, shelf.price))  # type: ignore[union-attr]
    top = order[:k]
    popular = sorted((i for i in range(world.n_items) if i not in one.seen), key=lambda i: -counts[i])[:k]
    likes, dislikes = sum(i in one.hidden for i in top), sum(i in one.disliked for i in top)
    dcg = sum(price[i] / np.log2(place + 2) for place, i in enumerate(top) if i in one.hidden)
    ideal = sum(p / np.log2(place + 2) for place, p in enumerate(sorted((price[i] for i in one.hidden), reverse=True)[:k]))
    return {
        "popularity": float(np.mean(counts[top])),
        "popularity_lift": np.mean(counts[top]) / np.mean(counts[sorted(one.likes)]) - 1,
        "novelty": float(np.mean(np.log2((readers + 1) / (counts[top] + 1)))),
        "serendipity": sum(i in one.hidden and i not in popular for i in top) / k,
        "genre_diversity": pairwise(top, genres),
        "text_diversity": pairwise(top, texts),
        "miscalibration": divergence(top, one.likes, genres),
        "judged": likes + dislikes,
        "like_share": likes / (likes + dislikes) if likes + dislikes else np.nan,
        "price_coverage": float(np.mean(price[top] > 0)),
        "revenue": sum(price[i] for i in top if i in one.hidden),
        "revenue_imputed": sum(price[i] or price[price > 0].mean() for i in top if i in one.hidden),
        "price_ndcg": dcg / ideal if ideal else np.nan,
    }


def test_every_figure_is_that_of_each_user_alone_in_numpy(world: World) -> None:
    random = np.random.default_rng(3)
    table = random.permutation(world.n_users * world.n_items).reshape(world.n_users, -1).astype(np.float32) / 1e3
    means, rows = measured(world, table)
    users, n = asked(world.test), world.n_items
    readers = int((np.diff(np.asarray(world.target.train.starts)) > 0).sum())
    orders = [[i for i in np.argsort(-table[one.user]).tolist() if i not in one.seen] for one in users]
    for k in KS:
        alone = [naive(one, order, k, world, readers) for one, order in zip(users, orders, strict=True)]
        for name in alone[0]:
            values = np.array([of[name] for of in alone])
            known = ~np.isnan(values)
            weights = np.array([of["judged"] for of in alone])[known] if name == "like_share" else None
            assert means[f"{name}@{k}"] == pytest.approx(np.average(values[known], weights=weights), rel=2e-4), name
            if k == 10:
                np.testing.assert_allclose(rows[f"{name}@10"], values, rtol=2e-4, atol=2e-5, err_msg=name)
        held = np.bincount([i for order in orders for i in order[:k]], minlength=n)
        assert means[f"coverage@{k}"] == pytest.approx(np.mean(held > 0))
        lorenz = np.abs(held[:, None] - held[None, :]).sum() / (2 * n * held.sum())  # half the relative mean difference
        assert means[f"gini@{k}"] == pytest.approx(lorenz, rel=1e-4)
    likes, dislikes = sum(len(one.hidden) for one in users), sum(len(one.disliked) for one in users)
    assert means["like_share"] == pytest.approx(likes / (likes + dislikes))
    price = np.asarray(world.test.catalogue.price)  # type: ignore[union-attr]
    assert means["price_coverage"] == pytest.approx(np.mean([price[i] > 0 for one in users for i in one.hidden]))
    aucs = [
        roc_auc_score(*zip(*[(i in one.hidden, table[one.user, i]) for i in one.hidden | one.disliked], strict=True))
        for one in users
        if one.disliked
    ]
    assert 5 < len(aucs) < len(users)
    assert means["judged_auc"] == pytest.approx(np.mean(aucs), rel=1e-5)


def test_the_list_of_the_most_popular_is_expected_and_a_perfect_one_sells_most(world: World) -> None:
    counts = np.bincount(np.asarray(world.target.train.items), minlength=world.n_items)
    order = np.argsort(np.argsort(-counts, kind="stable"))
    popular, _ = measured(world, np.tile(-order.astype(np.float32), (world.n_users, 1)))
    assert popular["serendipity@10"] == 0, "all of it is expected"
    assert popular["recall@10"] > 0
    truth, price = np.zeros((world.n_users, world.n_items), np.float32), np.asarray(world.test.catalogue.price)  # type: ignore[union-attr]
    for one in asked(world.test):
        truth[one.user, sorted(one.hidden)] = 1 + price[sorted(one.hidden)]
        truth[one.user, sorted(one.disliked)] = -1
    perfect, _ = measured(world, truth)
    assert perfect["price_ndcg@10"] == pytest.approx(1)
    assert perfect["judged_auc"] == 1
    assert perfect["revenue@10"] > popular["revenue@10"]
    assert perfect["miscalibration@10"] < popular["miscalibration@10"]
    assert perfect["popularity_lift@10"] < popular["popularity_lift@10"]
    flat, _ = measured(world, np.zeros_like(truth))
    assert flat["judged_auc"] == 0.5
    share = np.mean([sum(price[sorted(one.hidden)]) * 3 / (world.n_items - len(one.seen)) for one in asked(world.test)])
    assert flat["revenue@3"] == pytest.approx(share, rel=1e-4), "expected over the orders of tied items"
    dead, _ = measured(world, np.full_like(truth, np.nan))
    assert np.isnan([dead["ndcg@10"], dead["judged_auc"]]).all()


def test_a_list_that_never_changes_has_the_largest_gini_and_the_smallest_coverage() -> None:
    counts = jnp.stack([jnp.zeros(50, jnp.int32).at[:10].set(7), jnp.full(50, 3, jnp.int32)])
    np.testing.assert_allclose(list_metrics.gini(counts, None), [0.8, 0], atol=1e-6)
    np.testing.assert_allclose(list_metrics.coverage(counts, None), [0.2, 1])
    some = jnp.arange(50) < 20
    np.testing.assert_allclose(list_metrics.gini(counts, some), [0.5, 0], atol=1e-6, err_msg="of the candidates")
    np.testing.assert_allclose(list_metrics.coverage(counts, some), [0.5, 1])


@pytest.mark.parametrize("k", [3, 9])
def test_a_list_is_as_long_as_there_are_candidates(k: int) -> None:
    """Two candidates where three, or nine of four items, are asked for."""
    table, counts = jnp.array([[3.0, 2.0, -jnp.inf, -jnp.inf]]), jnp.array([10.0, 4.0, 100.0, 100.0])
    lists = list_metrics.best(table, jnp.ones(1, bool), k)
    assert list_metrics.means(lists, counts[lists.item], (k, 1)).tolist() == [[7, 10]]
    assert list_metrics.exposures(jnp.zeros((1, 4), jnp.int32), lists, (k,)).tolist() == [[1, 1, 0, 0]]


def test_ties_between_likes_and_dislikes_count_half_and_padding_nothing() -> None:
    scores = jnp.array([[1.0, 1.0, 2.0, 0.0], [1.0, 2.0, 3.0, 4.0], [jnp.nan, 0.0, 1.0, 2.0]])
    likes, dislikes = ([0, 1, 2, 3, 3], [0, 3, 1, 0, 0]), ([0, 0, 2, 3], [1, 2, 0, 0])
    row, item, other, disliked = (jnp.array(part, jnp.int32) for part in (*likes, *dislikes))
    value = scores[jnp.minimum(jnp.concatenate([row, other]), 2), jnp.concatenate([item, disliked])]
    found = judged_auc(value, row, other, 3)
    assert float(found[0]) == 0.25, "one tie and one loss"
    assert np.isnan(found[1:]).all(), "no dislikes; a score that is no number"


def test_genres_and_prices_are_read_as_people_write_them() -> None:
    table = pl.DataFrame({"0": ["Crime|Space", "crime", "Rare", None, "Space | Crime"]})
    np.testing.assert_array_equal(shares(table, "|"), [[0.5, 0.5], [1, 0], [0, 0], [0, 0], [0.5, 0.5]])
    for lists in (["'TV', 'Movies'", "TV", "Movies"], [["TV", "Movies"], ["TV"], ["Movies", "Movies"]]):
        np.testing.assert_array_equal(shares(pl.DataFrame({"0": lists}), "|"), [[0.5, 0.5], [0, 1], [1, 0]])
    assert shares(pl.DataFrame({"0": ["a", "b"]}), "|") is None
    np.testing.assert_allclose(prices(pl.DataFrame({"0": ["$3.99", "", None, "free", "12"]}), "books"), [3.99, 0, 0, 0, 12])
    with pytest.raises(TransferError, match="below 0"):
        prices(pl.DataFrame({"0": [-1.0, 2.0]}), "books")
    with pytest.raises(TransferError, match="no item has a price"):
        prices(pl.DataFrame({"0": ["", None]}), "books")
