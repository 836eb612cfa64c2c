"""ease with side information: the closed form, new items, what informs and what does not; the permutation control."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from planted import RANKING

from transfer.api import compose
from transfer.errors import TransferError
from transfer.evaluate import ranked
from transfer.experiment import Result, run_batch
from transfer.experiment.build import load_world
from transfer.learning.permuted import permuted, swap
from transfer.methods.baselines import ease
from transfer.program import Given
from transfer.solvers.joint import joint_rows

SMALL = ("domain.users=240", "domain.source_items=40", "domain.target_items=60", "domain.source_events=12")
WORLD = (*RANKING, *SMALL, "domain.target_events=12", "domain.popularity_skew=0.3", "train.progress=false", "method=ease")
BLOCKS = "domain.features={useful: 0.95, useless: 0}"
NEW = (*WORLD, BLOCKS, "split=cold_items", "split.beta=0.3", "hp.ridge=100", "hp.source_weight=1")


def ndcg(result: Result) -> float:
    return result.metrics["test"]["ndcg@10"]


def test_the_gram_of_all_domains_features_is_added() -> None:
    """Against NumPy: joint columns of both domains, films and books in one Gram matrix; 0 gives what ease without has."""
    numbers = ("hp.weight_useful=40", "hp.weight=3")
    config = compose([*WORLD, BLOCKS, "split=ratio", "hp.ridge=80", "hp.source_weight=1.5", *numbers])
    world = load_world(config).world
    program = ease.build(config, world, None, None)  # type: ignore[arg-type]
    hp = Given({name: jnp.float32(value) for name, value in config.hp.items()}, "ease")
    ours = program.stages[0].solve(world, {}, hp, jax.random.key(0))["weights"]  # type: ignore[union-attr]
    users = jnp.arange(world.n_users)
    x = np.asarray(joint_rows(world, True, [1.5], users), np.float64)
    sides = (world.target, *world.sources)
    g = x.T @ x + 80 * np.eye(100)
    for name, weight in (("useful", 40), ("useless", 3)):
        f = np.concatenate([np.asarray(side.features[name], np.float64) for side in sides])
        assert f.shape == (100, 16)
        g += weight * f @ f.T
    p = np.linalg.inv(g)
    expected = -p[:, :60] / np.diag(p)[None, :60]
    expected[np.arange(60), np.arange(60)] = 0
    np.testing.assert_allclose(ours, expected, atol=2e-5)


def test_without_weight_it_is_ease_bit_for_bit() -> None:
    plain, blocks = (compose([*WORLD, "split=ratio", *more]) for more in ((), (BLOCKS,)))
    one, other = (run_batch([config])[0] for config in (plain, blocks))
    for ours, theirs in zip(jax.tree.leaves(one.parameters), jax.tree.leaves(other.parameters), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert one.metrics == other.metrics


@cache
def new_items() -> dict[str, Result]:
    """Books without a training event: what ease says of them by a block that tells, one that does not, and none."""
    weights = {"none": (0, 0), "useful": (300, 0), "useless": (0, 300), "both": (300, 300)}
    configs = [compose([*NEW, f"hp.weight_useful={a}", f"hp.weight_useless={b}"]) for a, b in weights.values()]
    results = run_batch(configs)
    assert {result.facts["replicas"] for result in results} == {4}, "a sweep over modalities is one program"
    swapped = run_batch([compose([*NEW, "hp.weight_useful=300", "method.permute=[useful]"])])
    return dict(zip([*weights, "swapped"], [*results, *swapped], strict=True))


def test_new_items_are_found_by_what_is_said_of_them() -> None:
    found = {name: ndcg(result) for name, result in new_items().items()}
    assert found["useful"] > found["none"] + 0.1, found
    assert found["both"] > found["none"] + 0.05, found
    for name in ("useless", "swapped"):
        assert abs(found[name] - found["none"]) < 0.06, found


def test_a_run_says_what_was_swapped_and_is_another_run() -> None:
    plain, swapped = new_items()["useful"], new_items()["swapped"]
    assert swapped.facts["permuted"] == ["useful"]
    assert "permuted" not in plain.facts
    assert swapped.facts["fingerprint"] == plain.facts["fingerprint"], "the world is one, so that users are compared"
    assert swapped.facts["id"] != plain.facts["id"]
    assert plain.facts["world"]["target"]["features"]["useful"] == {"items": 60, "of": 60, "width": 16}


def test_the_candidates_of_new_items_are_the_new_items() -> None:
    loaded = load_world(compose([*NEW]))
    world = loaded.world
    counts = np.asarray(world.target.train.item_counts)
    test, valid = (np.asarray(part.candidates) for part in (world.test, world.valid))
    assert (test.sum(), valid.sum(), world.n_items) == (18, 6, 60)
    assert not (test & valid).any()
    np.testing.assert_array_equal(counts[test | valid], 0)
    assert counts[~test & ~valid].min() > 0
    hidden = np.asarray(world.test.item)[np.asarray(world.test.row) < world.test.users.shape[1]]
    assert set(hidden) == set(np.flatnonzero(test))


def test_what_others_score_does_not_matter_where_new_items_are_asked_for() -> None:
    world = load_world(compose([*NEW])).world
    table = jax.random.uniform(jax.random.key(0), (world.n_users, world.n_items))
    warm = (world.target.train.item_counts > 0).astype(jnp.float32)[None, :]

    def measured(table: jax.Array) -> dict[str, jax.Array]:
        found = ranked.rank(lambda users: table[users], world.test, 10, 0)
        return ranked.measure(found, world.test, True, "ndcg@10", (10,))[0]

    plain, raised = measured(table), measured(table + 100 * warm)
    assert plain == raised
    assert float(plain["coverage@10"]) == 1, "of the candidates"


def test_features_join_domains_without_a_common_user() -> None:
    """Nobody has a film and a book: only through the block does a film speak for books, for those that are like it."""
    config = compose([*WORLD, BLOCKS, "split=ratio", "domain.shared=0"])
    world = load_world(config).world
    solve = ease.build(config, world, None, None).stages[0].solve  # type: ignore[arg-type, union-attr]

    def films_for_books(weight: float) -> np.ndarray:
        hp = {"ridge": 50, "source_weight": 1, "weight": 0, "weight_useful": weight}
        given = Given({name: jnp.float32(value) for name, value in hp.items()}, "ease")
        return np.asarray(solve(world, {}, given, jax.random.key(0))["weights"])[60:]

    np.testing.assert_array_equal(films_for_books(0), 0)
    films, books = (np.asarray(side.features["useful"]) for side in (world.sources[0], world.target))
    assert np.corrcoef(films_for_books(50).ravel(), (films @ books.T).ravel())[0, 1] > 0.5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("hp.weight=1",),
            r"hp\.weight=1 weighs the items' features, and domain=simulated has none; write",
        ),
        (("hp.weight_text=1", BLOCKS), "weight_useful"),
        (
            ("method.permute=[text]", BLOCKS),
            "method.permute=text: the items have no such block of features; they have us",
        ),
    ],
)
def test_a_weight_or_swap_of_no_block_is_refused(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(TransferError, match=said):
        run_batch([compose([*WORLD, "split=ratio", *words])])


def test_rows_are_swapped_among_the_items_that_have_them() -> None:
    rows = jnp.arange(12.0).reshape(6, 2).at[jnp.array([1, 4])].set(0)
    swapped = swap(rows, jax.random.key(3))
    np.testing.assert_array_equal(swapped[jnp.array([1, 4])], 0)
    assert not np.array_equal(swapped, rows)
    assert sorted(map(tuple, np.asarray(swapped))) == sorted(map(tuple, np.asarray(rows)))


def test_every_domain_and_seed_is_swapped_on_its_own_and_nothing_else_is() -> None:
    world = load_world(compose([*WORLD, BLOCKS, "split=ratio", "domain.source_items=60"])).world
    one, again, other = (permuted(("useful",), seed)(world) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.target.features["useful"], again.target.features["useful"])
    assert not np.array_equal(one.target.features["useful"], other.target.features["useful"])
    assert one.target.features["useless"] is world.target.features["useless"]
    same = replace(world, sources=(replace(world.target, target_items=None),))
    moved = permuted(("useful",), 0)(same)
    assert not np.array_equal(moved.target.features["useful"], moved.sources[0].features["useful"])
