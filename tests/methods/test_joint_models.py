"""Models of several domains at once: scores and losses against plain NumPy, and what each carries to cold readers."""

from __future__ import annotations

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import two_domains
from conftest import interactions, world_of
from pairs import files
from two_domains import DIM, READERS, Floats

from transfer.api import compose
from transfer.data.interactions.world import World
from transfer.experiment import run_batch
from transfer.learning import joint_model
from transfer.learning.joint_model import JointModel
from transfer.registry import find

ITEMS = (5, 7, 4)  # books, films and series
COLD, NOBODY = 0, 1  # a reader of no books, one of nothing


@cache
def domains() -> list[Floats]:
    """Who has what, of every domain [readers, items]."""
    random = np.random.default_rng(0)
    tables = [(random.random((READERS, n)) < 0.4).astype(float) for n in ITEMS]
    tables[0][COLD] = 0
    for x in tables:
        x[NOBODY] = 0
    return tables


@cache
def world() -> World:
    return world_of(*(interactions([np.flatnonzero(row) for row in x], x.shape[1]) for x in domains()))


class Case(two_domains.Case):
    """A method of one fit on this world, with random parameters, in NumPy too."""

    def __init__(self, method: str, *words: str, here: World | None = None):
        super().__init__(method, *words, drawn=1, here=here or world())
        self.fit, self.given = self.program.stages[0], self.done["joint"]
        self.params = jax.tree.map(np.float64, self.given)
        build: Any = getattr(find("methods", method), method)
        self.joint: JointModel = build(self.config, True) if method == "conet" else build(self.config)

    def offset(self, d: int) -> Floats:
        return self.params["offsets"][d]["mean"] + self.params["offsets"][d]["bias"]

    def loss(self, **hp: float) -> float:
        drawn, given = self.fit.batch(self.world, {}, jax.random.key(0)), {**self.hp, **hp}
        return float(self.fit.loss(self.given, {}, drawn, given, jax.random.key(0), jnp.float32(0)))


def relu(x: Floats) -> Floats:
    return np.maximum(x, 0)


@pytest.mark.parametrize("common", [0.7, 1.0])
def test_clfm_scores_with_a_common_and_an_own_part(common: float) -> None:
    case = Case("clfm", f"method.common={common}")
    p = case.params
    assert len(p["common"]) == round(common * DIM)
    parts = [
        [*(row @ p["users"][u] for row in p["common"]), *(row @ p["users"][u] for row in p["own"][0])]
        for u in range(READERS)
    ]
    np.testing.assert_allclose(case.scores(), case.offset(0) + np.array(parts) @ p["items"][0].T, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("words", ["", "method.combine=mean", "method.as_published_code=true"])
def test_dtcdr_combines_the_factors_of_the_domains_that_know_a_reader(words: str) -> None:
    case = Case("dtcdr", "method.hidden=[4,2]", *words.split())
    p, head, published = case.params, case.params["heads"][0], "published" in words
    expected = np.zeros((READERS, ITEMS[0]))
    for u in range(READERS):
        known = [d for d, x in enumerate(domains()) if x[u].any() or published] or [0]
        rows = np.stack([p["users"][d][u] for d in known])
        z = rows.mean(0) if "mean" in words else rows.max(0)
        for i in range(ITEMS[0]):
            y = p["items"][0][i].max(0)
            h = np.concatenate([z, y])
            for layer in head["tower"]["layers"]:
                h = relu(h @ layer["weight"] + layer["bias"])
            expected[u, i] = float((head["product"][0] * z) @ y + h @ head["tower"]["out"][:, 0])
    assert p["items"][0].shape == (ITEMS[0], 3 if published else 1, DIM)
    np.testing.assert_allclose(case.scores(), case.offset(0) + expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("published", "product"), [(False, 0), (True, 0), (False, 1)])
def test_conet_joins_the_towers_in_every_layer(published: bool, product: int) -> None:
    case = Case("conet", "method.hidden=[4,3,2]", f"method.as_published_code={published}", f"method.product={product == 1}")
    p, expected = case.params, np.zeros((READERS, ITEMS[0]))
    for u in range(READERS):
        partners = [
            rows[x[u] > 0].mean(0) if x[u].any() else np.zeros(DIM) for rows, x in zip(p["items"], domains(), strict=True)
        ]
        for i in range(ITEMS[0]):
            h = [np.concatenate([p["users"][u], rows]) for rows in (p["items"][0][i], *partners[1:])]
            for n in range(3):
                new = [h[d] @ p["towers"][d]["layers"][n]["weight"] + p["towers"][d]["layers"][n]["bias"] for d in range(3)]
                for d in (1, 2) if not published else ():
                    new[0] += h[d] @ p["cross"][d - 1][n]
                    new[d] += h[0] @ p["cross"][d - 1][n]
                h = [relu(each) for each in new]
            expected[u, i] = h[0] @ p["towers"][0]["out"][:, 0] + product * (p["users"][u] @ p["items"][0][i])
    np.testing.assert_allclose(case.scores(), case.offset(0) + expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("layers", "words"), [(1, ""), (3, ""), (2, "hp.common=0 hp.keep=1")])
def test_bitgcf_spreads_in_each_domain_and_mixes_between_them(layers: int, words: str) -> None:
    case = Case("bitgcf", f"method.layers={layers}", *words.split())
    common, keep = (float(case.hp[name]) for name in ("common", "keep"))
    counts = [x.sum(1, keepdims=True) for x in domains()]
    shares = [x / np.sqrt(np.maximum(x.sum(1, keepdims=True), 1) * np.maximum(x.sum(0), 1)) for x in domains()]
    users = [rows * (count > 0) for rows, count in zip(case.params["users"], counts, strict=True)]
    items, total = case.params["items"], np.zeros((READERS, ITEMS[0]))
    for n in range(layers + 1):
        total += users[0] @ items[0].T
        if words and n:
            assert (users[0][COLD] == 0).all()
        to_users = [a @ rows for a, rows in zip(shares, items, strict=True)]
        to_items = [a.T @ rows for a, rows in zip(shares, users, strict=True)]
        new = [m + m * z for m, z in zip(to_users, users, strict=True)]
        items = [m + m * z for m, z in zip(to_items, items, strict=True)]
        whole = sum(c * z for c, z in zip(counts, new, strict=True)) / np.maximum(sum(counts), 1)
        others = [(new[1] + new[2]) / 2, (new[0] + new[2]) / 2, (new[0] + new[1]) / 2]
        users = [common * whole + (1 - common) * (keep * z + (1 - keep) * o) for z, o in zip(new, others, strict=True)]
    np.testing.assert_allclose(case.scores(), case.offset(0) + total, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("loss", ["bpr", "full_softmax"])
def test_the_loss_is_the_targets_and_the_weighed_mean_of_the_sources_with_the_prior(loss: str) -> None:
    case = Case("clfm", f"task.loss={loss}", "hp.source_weight=0.3", "hp.l2=0.2")
    p, losses = case.params, []
    drawn = jax.device_get(case.fit.batch(world(), {}, jax.random.key(0)))
    for d, batch in enumerate(drawn.batches):
        z = p["users"][batch.users] @ np.concatenate([p["common"], p["own"][d]]).T
        s = case.offset(d) + z @ p["items"][d].T
        chosen = np.take_along_axis(s, batch.items, 1)
        each = (
            np.log(np.exp(s).sum(1)) - chosen[:, 0]
            if loss == "full_softmax"
            else np.log1p(np.exp(chosen[:, 1] - chosen[:, 0]))
        )
        squares = np.square(p["items"][d]).sum(1) + np.square(p["offsets"][d]["bias"])
        prior = np.square(z).sum(1) + squares[batch.items].mean(1)
        losses.append((each + 0.2 * prior).mean())
    assert case.loss() == pytest.approx(losses[0] + 0.3 * (losses[1] + losses[2]) / 2, rel=1e-4)


@pytest.mark.parametrize("words", ["bitgcf hp.common=0 hp.keep=1", "clfm method.common=0.5"])
def test_a_source_of_weight_0_says_nothing(words: str) -> None:
    case = Case(*words.split(), "hp.l2=0")
    alone, both = case.loss(source_weight=0.0), case.loss()
    case.given = {**case.given, "items": [rows if d == 0 else 2 * rows for d, rows in enumerate(case.given["items"])]}
    assert case.loss(source_weight=0.0) == alone
    assert case.loss() != pytest.approx(both, rel=1e-3)


def test_domains_are_drawn_each_for_itself() -> None:
    books = interactions([np.flatnonzero(row) for row in domains()[0]], ITEMS[0])
    case = Case("clfm", here=world_of(books, books))
    one, other = case.fit.batch(case.world, {}, jax.random.key(0)).batches
    assert (one.users != other.users).mean() > 0.5


def test_networks_and_connections_are_held() -> None:
    for method, held in (("conet", ("towers", "cross")), ("dtcdr", ("heads",))):
        case = Case(method)
        leaves = {name: [leaf for leaf in jax.tree.leaves(case.params[name]) if leaf.ndim > 1] for name in held}
        if method == "dtcdr":
            leaves["heads"] = [leaf - (leaf.shape == (1, DIM)) for leaf in leaves["heads"]]
        wanted = sum(np.square(leaf).sum() for each in leaves.values() for leaf in each)
        assert case.loss(decay=0.1) - case.loss(decay=0.0) == pytest.approx(0.1 * wanted, rel=1e-3)
    case = Case("conet")
    connections = sum(np.abs(leaf).sum() for leaf in jax.tree.leaves(case.params["cross"]))
    assert case.loss(sparsity=0.1) - case.loss() == pytest.approx(0.1 * connections, rel=1e-3)


def test_published_code_of_conet_trains_with_the_connections_that_it_leaves_out_of_scores() -> None:
    assert Case("conet", "method.as_published_code=true").loss() == Case("conet").loss()


def swapped(params: Any) -> Any:
    """The same with the domains in the other order."""
    return {
        name: part[::-1] if isinstance(part, list) else swapped(part) if isinstance(part, dict) else part
        for name, part in params.items()
    }


@pytest.mark.parametrize("method", ["clfm", "dtcdr", "conet", "bitgcf", "deepapf"])
def test_a_source_is_scored_as_a_target_would_be(method: str) -> None:
    books, films = two_domains.domains()
    two = world_of(*(interactions([np.flatnonzero(row) for row in x], x.shape[1]) for x in (books, films)))
    other = world_of(*(interactions([np.flatnonzero(row) for row in x], x.shape[1]) for x in (films, books)))
    case = Case(method, here=two)
    model, users = case.joint, jnp.arange(READERS)
    ready = model.ready(case.given, model.seen(two), case.hp)
    found = joint_model.scored(model, ready, 1, users, joint_model.every_item(ready, 1))
    wanted = joint_model.joint_scores(model, other, swapped(case.given), case.hp)(users)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
    assert np.asarray(found).std(0).max() > 0.1


# What the method learns with, and the same without what it carries: no weight for the films, connections or mixing.
LEARN = ("train.batch_size=256", "hp.learning_rate=0.03")
APART = {
    "clfm": (LEARN, "hp.source_weight=0"),
    "dtcdr": ((*LEARN, "hp.decay=0.3"), "hp.source_weight=0"),  # no perceptron is left: the product carries
    "conet": (LEARN, "method.as_published_code=true"),
    "bitgcf": (("train.batch_size=32", "hp.learning_rate=0.1", "hp.l2=0.01"), "hp.common=0 hp.keep=1"),
}


SLOW = ("conet", "dtcdr")  # they compile long


@pytest.mark.parametrize("method", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in APART])
def test_cold_readers_get_the_books_of_their_films(method: str) -> None:
    """On planted pairs of films and books, and the same without what the method carries."""
    learn, without = APART[method]
    words = [*files(), f"method={method}", "model.dim=8", "train.keep=last", *learn]
    results = run_batch([compose([*words, *more.split()]) for more in ("", without)])
    carried, apart = (result.metrics["test"]["ndcg@10"] for result in results)
    assert carried > 0.8, (carried, apart)
    assert carried - apart > 0.05, (carried, apart)
