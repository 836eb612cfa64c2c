"""Attention between domains: over what a reader wants everywhere and here, and over a history in frozen factors."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pairs import files
from two_domains import COLD, ITEMS, NOBODY, READERS, Case, Floats, domains, world

from transfer.api import compose
from transfer.data.interactions.world import World
from transfer.errors import TransferError
from transfer.experiment import Result, run_batch
from transfer.methods.model_based import deepapf


def relu(x: Floats) -> Floats:
    return np.maximum(x, 0)


def sigmoid(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))


@cache
def same_items() -> World:
    """Films 3 and 5 are the books 0 and 4."""
    twins = jnp.full(ITEMS[1], -1, jnp.int32).at[jnp.array([3, 5])].set(jnp.array([0, 4], jnp.int32))
    return replace(world(), sources=(replace(world().sources[0], target_items=twins),))


def natr_brought(case: Case, history: list[Floats], user: int) -> Floats:
    """s of a user with these factors of the source, pair by pair."""
    params = jax.tree.map(np.float64, case.done["attention"])
    if not history:
        return np.zeros_like(params["by_item"])
    mapped = np.array(history) @ params["transfer"]
    a = np.exp([params["by_item"] @ relu(params["body"]["factors"][user] * row) for row in mapped])
    return np.asarray(a @ mapped / a.sum())


def natr_score(case: Case, history: list[Floats], user: int, item: int) -> float:
    """The paper's score, pair by pair; history: factors of the source."""
    own, head = (jax.tree.map(np.float64, case.done["attention"][name]) for name in ("body", "head"))
    params = jax.tree.map(np.float64, case.done["attention"])
    p, q = own["factors"][user], head["factors"][item]
    said = head["mean"] + own["bias"][user] + head["bias"][item]
    if not history:
        return said + p @ q
    s = natr_brought(case, history, user)
    beta = float(case.hp["transfer"]) * sigmoid(params["by_domain"] @ relu(s * q) - params["by_domain"] @ relu(p * q))
    return said + (beta * s + (1 - beta) * p) @ q


@pytest.mark.parametrize(("by", "transfer"), [("users", 1.0), ("users", 0.0), ("items", 0.7)])
def test_natr_attends_over_a_history_in_the_sources_factors(by: str, transfer: float) -> None:
    here = same_items() if by == "items" else world()
    case = Case(f"natr method.by={by}", f"hp.transfer={transfer}", here=here)
    e, (books, films) = np.float64(case.done["source"]["head"]["factors"]), domains()
    twins = {0: e[3], 4: e[5]}
    expected = np.zeros((READERS, ITEMS[0]))
    for user in range(READERS):
        if by == "users":
            history = [e[j] for j in np.flatnonzero(films[user])]
        else:
            history = [twins[i] for i in np.flatnonzero(books[user]) if i in twins]
        for item in range(ITEMS[0]):
            expected[user, item] = natr_score(case, history, user, item)
    np.testing.assert_allclose(case.scores(), expected, rtol=1e-3, atol=1e-3)


def test_natr_predicts_a_book_without_it_in_the_history() -> None:
    case = Case("natr method.by=items", "task.loss=bpr", "hp.l2=0", here=same_items())
    fit, key, e = case.program.stages[-1], jax.random.key(0), np.float64(case.done["source"]["head"]["factors"])
    batch = fit.batch(case.world, case.done, key)
    twins, events = {0: e[3], 4: e[5]}, jax.device_get(batch["events"])
    losses = []
    for user, (wanted, other) in zip(events.users, events.items, strict=True):
        history = [twins[i] for i in np.flatnonzero(domains()[0][user]) if i in twins and i != wanted]
        losses.append(np.log1p(np.exp(natr_score(case, history, user, other) - natr_score(case, history, user, wanted))))
    found = fit.loss(case.done["attention"], case.done, batch, case.hp, key, jnp.float32(0))
    assert float(found) == pytest.approx(np.mean(losses), rel=1e-3)
    assert set(case.done["attention"]) == {"body", "head", "by_item", "by_domain", "transfer"}, "e is not among them"


def test_the_prior_of_natr_holds_what_is_brought_as_it_holds_a_readers_own_factors() -> None:
    case, key = Case("natr", "task.loss=bpr"), jax.random.key(0)
    fit, e, films = case.program.stages[-1], np.float64(case.done["source"]["head"]["factors"]), domains()[1]
    own, head = (jax.tree.map(np.float64, case.done["attention"][name]) for name in ("body", "head"))
    batch = fit.batch(case.world, case.done, key)
    squares = []
    for user, items in zip(*jax.device_get((batch["events"].users, batch["events"].items)), strict=True):
        s = natr_brought(case, [e[j] for j in np.flatnonzero(films[user])], user)
        of_items = [head["bias"][i] ** 2 + head["factors"][i] @ head["factors"][i] for i in items]
        squares.append(own["bias"][user] ** 2 + own["factors"][user] @ own["factors"][user] + s @ s + np.mean(of_items))
    held, free = (
        float(fit.loss(case.done["attention"], case.done, batch, {**case.hp, "l2": l2}, key, jnp.float32(0)))
        for l2 in (0.3, 0.0)
    )
    assert held - free == pytest.approx(0.3 * np.mean(squares), rel=1e-3)


def test_natr_is_refused_where_nothing_is_common() -> None:
    with pytest.raises(TransferError, match=r"write method\.by=users"):
        Case("natr method.by=items")
    with pytest.raises(TransferError, match=r"write method\.by=items"):
        Case("natr", here=replace(world(), bridges=jnp.zeros(0, jnp.int32)))


@pytest.mark.parametrize("common", [True, False])
def test_deepapf_weighs_the_common_and_the_own_part_for_each_book(common: bool) -> None:
    case = Case(f"deepapf method.common={common}", "method.hidden=4", drawn=1)
    p = jax.tree.map(np.float64, case.done["joint"])
    known, expected = domains()[0].any(1), np.zeros((READERS, ITEMS[0]))

    def attention(x: Floats) -> float:
        return relu(x @ p["attention"] + p["bias"]) @ p["out"]

    for user in range(READERS):
        c, o = p["users"]["common"][user], p["users"]["own"][0][user]
        for item, q in enumerate(p["items"][0]):
            alpha = sigmoid(attention(c * q) - attention(o * q)) if known[user] else 1.0
            z = alpha * c + (1 - alpha) * o if common else o
            expected[user, item] = p["weights"] @ (z * q)
    held = sum(np.square(p[name]).sum() for name in ("attention", "out", "weights"))
    found = deepapf.deepapf(case.config).penalty(case.done["joint"], {"decay": jnp.float32(0.1)})
    assert float(found) == pytest.approx(0.1 * held, rel=1e-4)
    assert not known[[COLD, NOBODY]].any()
    offset = p["offsets"][0]
    np.testing.assert_allclose(case.scores(), offset["mean"] + offset["bias"] + expected, rtol=1e-3, atol=1e-3)


# On planted pairs of films and books: the method, and the same without what it brings from the source.
NUMBERS = ("model.dim=8", "train.batch_size=256", "hp.learning_rate=0.03", "train.keep=last")
APART = {"natr": "hp.transfer=0", "deepapf": "hp.source_weight=0"}
PRIOR = {"natr": "hp.l2=0.03", "deepapf": "hp.l2=0.1 hp.decay=0"}


@cache
def outcomes(method: str, related: bool = True) -> list[Result]:
    words = [*files(related), f"method={method}", *NUMBERS, *PRIOR[method].split()]
    return run_batch([compose([*words, *more.split()]) for more in ("", APART[method])])


def figures(method: str, related: bool = True) -> list[float]:
    return [result.metrics["test"]["ndcg@10"] for result in outcomes(method, related)]


@pytest.mark.parametrize("method", list(APART))
def test_cold_readers_get_the_books_of_their_films(method: str) -> None:
    """Popularity has 0.69."""
    carried, apart = figures(method)
    assert carried > 0.85, (carried, apart)
    assert carried - apart > 0.1, (carried, apart)


@pytest.mark.slow
@pytest.mark.parametrize("method", list(APART))
def test_cold_readers_get_what_is_popular_where_films_say_nothing(method: str) -> None:
    assert max(figures(method, related=False)) < 0.75, figures(method, related=False)
