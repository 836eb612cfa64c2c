"""method.rank_by=revenue: lists by chance × price; with equal prices the lists are those of the scores."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import small_overrides, small_world

from transfer.api import compose
from transfer.data.interactions.events import Catalogue
from transfer.data.interactions.world import World
from transfer.errors import TransferError
from transfer.experiment.build import build_program, build_task
from transfer.experiment.checks import check_settings
from transfer.learning import chances
from transfer.learning.chances import STAGE

WORDS = {"split": "few_shot", "split__keep": 2, "split__beta": 0.4, "method": "popularity"}


@pytest.fixture(autouse=True, scope="module")
def _few() -> Iterator[None]:
    """Few of the candidates are sampled, as it is where there are many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chances, "SAMPLED", 2)
        yield


@cache
def world() -> World:
    return small_world(**WORDS).world


def priced(price: Any) -> World:
    shelf = world().test.catalogue
    assert isinstance(shelf, Catalogue)
    shelf = replace(shelf, price=None if price is None else jnp.asarray(price, jnp.float32))
    return replace(world(), test=replace(world().test, catalogue=shelf), valid=replace(world().valid, catalogue=shelf))


@cache
def measure() -> Any:
    """Figures of the test and the scores of the first readers, by scores and by revenue."""
    made = {}
    for by in ("score", "revenue"):
        config = check_settings(compose([*small_overrides(**WORDS), f"method.rank_by={by}"]))
        task = build_task(config, world())
        made[by] = task, build_program(config, world(), task)

    def run(world: World) -> Any:
        found = {}
        for by, (task, program) in made.items():
            done: dict[str, Any] = {}
            for stage in program.stages:
                done[stage.name] = stage.solve(world, done, {}, jax.random.key(0))  # type: ignore[union-attr]
            scores = program.scores(world, done, {})
            means, _ = task.measure(task.predict(scores, world.test), world.test, True)
            found[by] = means, scores(jnp.arange(3)), done.get(STAGE, {})
        return found

    return jax.jit(run)


def test_equal_prices_leave_the_lists_as_they_are() -> None:
    found = measure()(priced(np.full(world().n_items, 7.0)))
    (plain, _, none), (by_revenue, scores, numbers) = found["score"], found["revenue"]
    assert not none
    for name in ("ndcg@10", "recall@20", "revenue@10", "coverage@10"):
        assert float(by_revenue[name]) == pytest.approx(float(plain[name]), rel=1e-4), name
    assert float(numbers["slope"]) > 0
    assert 0 < float(scores.min()) <= float(scores.max()) < 7, "a chance of the price"


def test_dear_items_move_up_and_the_lists_sell_more() -> None:
    prices = np.where(np.random.default_rng(0).random(world().n_items) < 0.3, 60.0, 5.0)
    found = measure()(priced(prices))
    (plain, _, _), (by_revenue, scores, numbers) = found["score"], found["revenue"]
    assert float(by_revenue["revenue@10"]) > 1.2 * float(plain["revenue@10"])
    assert float(by_revenue["price_ndcg@10"]) > float(plain["price_ndcg@10"])
    assert float(by_revenue["ndcg@10"]) < float(plain["ndcg@10"]), "the control: it costs hits"
    counts = np.asarray(world().target.train.item_counts)
    chance = 1 / (1 + np.exp(-(float(numbers["slope"]) * counts + float(numbers["intercept"]))))
    np.testing.assert_allclose(np.asarray(scores)[0], chance * prices, rtol=1e-4)
    likes = np.asarray(world().test.row)[0] < world().test.users.shape[1]
    base = likes.sum() / int(world().test.n_users) / world().n_items
    assert chance.mean() == pytest.approx(base, rel=0.4), "of all candidates, not of those that were sampled"
    assert world().n_items > 8 * chances.SAMPLED * base * world().n_items, "the control: they are few"


def test_an_item_without_a_price_counts_with_the_mean() -> None:
    prices = np.where(np.arange(world().n_items) % 2 == 0, 0.0, np.arange(world().n_items))
    numbers = measure()(priced(prices))["revenue"][2]
    np.testing.assert_allclose(numbers["price"], np.where(prices > 0, prices, prices[prices > 0].mean()), rtol=1e-5)


def test_without_prices_or_validation_or_lists_it_is_refused() -> None:
    def build(world: World, *words: str) -> None:
        config = check_settings(compose([*small_overrides(**WORDS), "method.rank_by=revenue", *words]))
        build_program(config, world, build_task(config, world))

    with pytest.raises(TransferError, match=re.escape("needs prices; write domain.target.items.price=COLUMN")):
        build(priced(None))
    with pytest.raises(TransferError, match="orders lists, and task=ctr has none"):
        build(world(), "task=ctr")
    empty = replace(world(), valid=replace(world().valid, n_events=np.int32(0)))  # type: ignore[arg-type]
    with pytest.raises(TransferError, match=r"it is empty; raise split\.valid"):
        build(empty)
