"""The gate of sweep=auto: from what is known of readers it finds whom a source helps, and nothing where they are alike."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import small_overrides, small_world
from scipy.special import expit

from transfer.api import compose
from transfer.auto.decision import Candidate, decide
from transfer.auto.ensemble import Fold
from transfer.auto.gate import fitted, gated
from transfer.errors import TransferError
from transfer.experiment.run import run_batch
from transfer.learning.gate import NEAREST, tilted, traits
from transfer.report.comparison import per_user
from transfer.results.run_folder import VALID_PER_USER

FOLDS, READERS = 4, 150


def planted(seed: int, told: float) -> tuple[list[Any], list[Fold]]:
    """A source that brings a reader 0.1 or costs her as much; her second trait says which as strongly as `told`."""
    rng = np.random.default_rng(seed)
    folds, rows = [], [{}, {}]
    for number in range(FOLDS):
        helped = rng.choice([-1.0, 1.0], READERS)
        z = rng.normal(size=(READERS, 4))
        z[:, 0] = 0.0
        z[:, 1] += told * helped
        noise = rng.normal(0.3, 0.05, READERS)
        tested = per_user.Tested(np.arange(READERS), np.zeros(READERS, int), np.ones(READERS), {})

        def values(shares: np.ndarray, helped: np.ndarray = helped, noise: np.ndarray = noise) -> np.ndarray:
            return noise + 0.1 * helped * (shares[:, 0] - 0.5)

        fold = Fold((f"fold {number}", 0), tested, lambda counts: np.zeros(READERS), z, values)
        folds.append(fold)
        for place, own in enumerate(rows):
            share = np.tile(np.eye(2)[place], (READERS, 1))
            own[fold.pair] = tested._replace(values={"ndcg@10": values(share)})
    return [alone("map", True, rows[0]), alone("books", False, rows[1])], folds


class Run(NamedTuple):
    """What a decision reads of a run."""

    result: dict[str, Any]
    pair: tuple[str, int] = ("", 0)
    seconds: float = 1.0


def alone(name: str, uses: bool, rows: dict[Any, per_user.Tested]) -> Candidate:
    facts = {"select": {"metric": "ndcg@10", "sign": 1, "by": "valid"}, "uses_source": uses, "task": "ranking"}
    runs: Any = [Run(facts)]
    return Candidate((f"method={name}",), runs, VALID_PER_USER, nested=rows)


def test_readers_whom_the_source_helps_are_told_from_those_whom_it_harms() -> None:
    pool, folds = planted(0, told=1.5)
    gate = gated(pool, folds, "ndcg@10", 1)
    assert gate is not None
    assert gate.words[:3] == ("method=ensemble", 'method.members=["map","books"]', "method.gate=true")
    numbers = {key: float(value) for key, value in (word.removeprefix("hp.").split("=") for word in gate.words[3:])}
    assert numbers["gate_target"] == 0, "it is the same for all"
    assert numbers["gate_source"] > 1
    assert abs(numbers["gate_surprise"]) < 0.3 * numbers["gate_source"]
    found = decide(pool, [gate])
    assert found.chosen is gate
    assert found.mixtures[0].gain.low > 0.02
    # on readers of no fold the numbers do what the nested values promise
    (_, (fold, *_)) = planted(1, told=1.5)
    slopes = np.array([numbers[f"gate_{name}"] for name in ("target", "source", "surprise", "nearness")])
    share = expit(np.log(numbers["weight_1"]) + fold.traits @ slopes)
    gain = fold.gated(np.stack([share, 1 - share], axis=1)) - 0.3
    assert gain.mean() > 0.02


def test_no_gate_is_kept_where_nothing_tells_readers_apart() -> None:
    kept = 0
    for seed in range(16):
        pool, folds = planted(seed, told=0.0)
        gate = gated(pool, folds, "ndcg@10", 1)
        assert gate is not None
        kept += decide(pool, [gate]).chosen is gate
    assert kept <= 1, "2.5 % of 16, and chance"


def test_readers_of_a_fold_are_judged_by_what_the_other_folds_say() -> None:
    pool, (one, other, *_) = planted(0, told=1.5)
    turned = other._replace(traits=other.traits * np.array([1, -1, 1, 1]))
    gate = gated(pool, [one, turned], "ndcg@10", 1)
    assert gate is not None
    assert gate.nested is not None
    for rows in gate.nested.values():
        assert rows.values["ndcg@10"].mean() < 0.28, "each says the opposite of the other"


def test_where_the_traits_begin_changes_no_share() -> None:
    rng = np.random.default_rng(0)
    helped, z = rng.choice([-1.0, 1.0], READERS), rng.normal(size=(READERS, 4))
    z[:, 1] += helped
    values = np.linspace(-0.5, 0.5, 9)[:, None] * helped
    found = [
        expit(bias + traits @ slopes)
        for traits in (z, z + 5)
        for slopes, bias in [fitted(traits, values, np.full(READERS, 1 / READERS))]
    ]
    assert np.ptp(found[0]) > 0.5
    np.testing.assert_allclose(found[0], found[1], atol=0.01)


def test_there_is_no_gate_without_a_choice() -> None:
    pool, folds = planted(0, told=1.0)
    assert gated([pool[0], pool[0]], folds, "ndcg@10", 1) is None
    slopes, bias = fitted(np.zeros((50, 4)), np.stack([np.zeros(50), np.ones(50)]), np.full(50, 0.02))
    assert (slopes == 0).all()
    assert expit(bias) > 0.8


def test_traits_are_what_they_are_called() -> None:
    world = small_world(split="cold_start").world
    users = np.array([0, 3, 77], np.int32)
    z = np.asarray(jax.jit(lambda world, users: traits(world)(users))(world, users))
    source, events = world.sources[0].train, np.zeros((world.n_users, world.sources[0].train.n_items))
    np.add.at(events, (np.asarray(source.users), np.asarray(source.items)), 1)
    counts = np.diff(np.asarray(world.target.train.starts))
    np.testing.assert_allclose(z[:, 0], np.log1p(counts[users]), rtol=1e-5)
    np.testing.assert_allclose(z[:, 1], np.log1p(events[users].sum(axis=1)), rtol=1e-5)
    share = events.sum(axis=0) / events.sum()
    others = [u for u in np.asarray(world.bridges) if u < world.n_users]
    for row, user in zip(z, users, strict=True):
        own = events[user]
        assert row[2] == pytest.approx(-np.log(share[own > 0]).mean(), rel=1e-4)
        cosine = [own @ events[o] / np.sqrt(own.sum() * max(events[o].sum(), 1)) for o in others if o != user]
        assert row[3] == pytest.approx(np.sort(cosine)[-NEAREST:].mean(), rel=1e-4)


def test_shares_are_tilted_towards_the_first_member() -> None:
    z, slopes = jnp.array([[0.0, 1.0], [0.0, -1.0], [0.0, 0.0]]), jnp.array([5.0, 2.0])
    shares = np.asarray(tilted(jnp.array([0.25, 0.5, 0.25]), slopes, z))
    odds = np.array([0.25, 0.5, 0.25]) * np.stack([np.exp([2, -2, 0]), np.ones(3), np.ones(3)], axis=1)
    np.testing.assert_allclose(shares, odds / odds.sum(axis=1, keepdims=True), rtol=1e-5)
    np.testing.assert_allclose(shares[2], [0.25, 0.5, 0.25])


def test_numbers_of_a_gate_that_is_not_there_are_refused() -> None:
    with pytest.raises(TransferError, match=r"hp\.gate_source has no effect without a gate; write method\.gate=true"):
        run_batch([compose([*small_overrides(method="ensemble"), "hp.gate_source=1"])])
