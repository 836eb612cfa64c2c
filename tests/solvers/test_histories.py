"""Interactions as a matrix, joint matrices and biases, against dense NumPy and plain loops."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from random import Random

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import interactions, world_of
from numpy.typing import NDArray

from transfer.data.interactions.events import Interactions
from transfer.errors import TransferError
from transfer.solvers import biases, histories, joint

N_USERS, N_ITEMS = 12, 9
DAMPING = 3.0
Floats = NDArray[np.float64]


def random_events(seed: int, n_items: int = N_ITEMS) -> Interactions:
    """Some users without events and one with every item; some items of nobody."""
    random = Random(seed)
    mine = [set(random.sample(range(n_items - 2), random.randint(1, n_items - 2))) for _ in range(N_USERS - 3)]
    return interactions([set(), *mine, set(range(n_items - 2)), set()], n_items, seed)


def triples(events: Interactions) -> list[tuple[int, int, float]]:
    columns = (np.asarray(column).tolist() for column in (events.users, events.items, events.ratings))
    return list(zip(*columns, strict=True))


def matrix(events: Interactions, values: NDArray[np.float32]) -> Floats:
    full = np.zeros((events.n_users, events.n_items))
    full[np.asarray(events.users), np.asarray(events.items)] = values
    return full


def values_of(events: Interactions, seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=events.users.shape).astype(np.float32)


@pytest.fixture(params=[0, 1])
def events(request: pytest.FixtureRequest) -> Interactions:
    return random_events(request.param)


def test_rows_and_the_dense_form_are_the_matrix(events: Interactions) -> None:
    values = values_of(events, 0)
    full = matrix(events, values)
    np.testing.assert_array_equal(histories.dense(events, jnp.asarray(values)), full)
    users = np.array([0, 5, 10, 11, 5, 1, 10], np.int32)  # without events, repeated, with all items, the last
    np.testing.assert_array_equal(histories.rows(events, jnp.asarray(values), jnp.asarray(users)), full[users])


def test_rows_hold_users_with_as_many_events_as_the_bound() -> None:
    """`longest` bounds the number of events of a user; a user with exactly so many loses none."""
    tight = replace(interactions([{0}, {1, 2, 4, 5}, {3}], 6), longest=4)
    np.testing.assert_array_equal(
        histories.rows(tight, tight.ratings, jnp.arange(3)), matrix(tight, np.asarray(tight.ratings))
    )


def test_products_without_the_dense_form(events: Interactions) -> None:
    values = values_of(events, 1)
    full = matrix(events, values)
    random = np.random.default_rng(2)
    left = random.normal(size=(4, N_USERS))
    ours = histories.times(jnp.asarray(left, jnp.float32), events, jnp.asarray(values))
    np.testing.assert_allclose(ours, left @ full, rtol=1e-4, atol=1e-5)


def test_counts(events: Interactions) -> None:
    full = matrix(events, np.ones(events.users.shape, np.float32))
    np.testing.assert_array_equal(events.item_counts, full.sum(axis=0))
    np.testing.assert_array_equal(histories.user_counts(events), full.sum(axis=1))
    assert histories.user_counts(events).dtype == events.item_counts.dtype == np.float32


def test_a_matrix_too_large_for_memory_is_refused_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(histories, "DENSE_CELLS", 1000)
    histories.check_dense(10, 100, "method=ease")
    with pytest.raises(TransferError, match=r"method=ease needs a 10 x 101 matrix.*domain\.core=5"):
        histories.check_dense(10, 101, "method=ease")


@pytest.mark.parametrize("both", [True, False])
def test_the_joint_matrix_has_the_target_first_and_weighted_sources(both: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    domains = [random_events(0), random_events(1, 7), random_events(2, 5)]
    world = world_of(*domains)
    blocks = [matrix(events, np.ones(events.users.shape, np.float32)) for events in domains]
    expected = np.concatenate([blocks[0], 0.25 * blocks[1], 0.5 * blocks[2]], axis=1) if both else blocks[0]
    assert joint.joint_width(world, both) == expected.shape[1]
    weight = joint.source_weights(world, {"source_weight": jnp.asarray(0.25), "source_weight_2": jnp.asarray(2.0)})
    everybody = jnp.arange(world.n_users)
    np.testing.assert_array_equal(jax.jit(joint.joint_rows, static_argnums=1)(world, both, weight, everybody), expected)
    gram = jax.jit(lambda world: joint.over_rows(world, both, weight, lambda x: x.T @ x))
    np.testing.assert_allclose(gram(world), expected.T @ expected, rtol=1e-6)
    monkeypatch.setattr(histories, "BLOCK_CELLS", 5 * expected.shape[1])  # five rows at a time, of the last only two
    assert histories.blocks(world.n_users, expected.shape[1]).shape == (3, 5)
    assert world.n_users == 12
    gram = jax.jit(lambda world: joint.over_rows(world, both, weight, lambda x: x.T @ x))
    np.testing.assert_allclose(gram(world), expected.T @ expected, rtol=1e-6)
    users = np.array([10, 0, 3, 3], np.int32)
    rows = jax.jit(joint.joint_rows, static_argnums=1)(world, both, weight, jnp.asarray(users))
    np.testing.assert_array_equal(rows, expected[users])


def test_edges_are_the_entries_of_the_joint_matrix() -> None:
    """Of a source that shares items too, and with padding."""
    domains = [random_events(0), random_events(1, 7), random_events(2, 5)]
    world = world_of(*domains)
    shared = replace(world.sources[0], target_items=jnp.array([-1, 4, -1, 0, -1, -1, 2]))
    pad = lambda array, value: jnp.concatenate([array, jnp.full(3, value, array.dtype)])  # noqa: E731
    target = world.target.train
    padded = replace(
        target, users=pad(target.users, N_USERS), items=pad(target.items, N_ITEMS), ratings=pad(target.ratings, 0)
    )
    world = replace(world, target=replace(world.target, train=padded), sources=(shared, world.sources[1]))
    weights = [0.25, 0.5]
    edges = joint.joint_edges(world, True, weights)
    found = np.zeros((N_USERS + 1, joint.joint_width(world, True)))
    np.add.at(found, (np.asarray(edges.users), np.asarray(edges.columns)), np.asarray(edges.weights))
    rows = joint.joint_rows(world, True, weights, jnp.arange(N_USERS))
    np.testing.assert_array_equal(found[:N_USERS], rows)
    np.testing.assert_array_equal(found[N_USERS], 0)
    np.testing.assert_array_equal(joint.joint_columns(world, True)[1], [9, 4, 11, 0, 13, 14, 2])
    assert rows[:, 4].max() == 1.25
    alone = joint.joint_edges(world, False, [])
    np.testing.assert_array_equal(alone.weights, edges.weights[: len(alone.weights)])


# --- biases ----------------------------------------------------------------------------------------------------------


def naive_item_biases(events: Interactions) -> tuple[float, Floats]:
    rated = triples(events)
    mean = sum(r for *_, r in rated) / len(rated)
    own = [[r - mean for _, item, r in rated if item == i] for i in range(events.n_items)]
    return mean, np.array([sum(each) / (len(each) + DAMPING) for each in own])


def naive_deviations(many: list[Interactions], damping: float) -> Floats:
    """Per user the damped mean of what the items do not explain, over all these domains."""
    left: list[list[float]] = [[] for _ in range(N_USERS)]
    for events in many:
        mean, bias = naive_item_biases(events)
        for user, item, r in triples(events):
            left[user].append(r - mean - bias[item])
    return np.array([sum(each) / (len(each) + damping) for each in left])


def test_item_biases_and_user_deviations(events: Interactions) -> None:
    items = jax.jit(biases.item_biases)(events, jnp.asarray(DAMPING))
    mean, bias = naive_item_biases(events)
    assert float(items["mean"]) == pytest.approx(mean, rel=1e-6)
    np.testing.assert_allclose(items["bias"], bias, rtol=1e-4, atol=1e-6)
    assert bias[-1] == items["bias"][-1] == 0  # nobody's item
    deviations = jax.jit(biases.user_deviations)(events, items, jnp.asarray(2.0))
    np.testing.assert_allclose(deviations, naive_deviations([events], 2.0), rtol=1e-4, atol=1e-6)
    assert deviations[0] == 0
    expected = [r - mean - bias[item] for _, item, r in triples(events)]
    np.testing.assert_allclose(biases.residuals(events, items), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("count", [1, 2])
def test_source_biases_pool_the_sources_and_fit_the_slope(count: int) -> None:
    target, sources = random_events(3), [random_events(4, 7), random_events(5, 5)][:count]
    hp = {"damping": jnp.asarray(DAMPING), "user_damping": jnp.asarray(2.0)}
    params = jax.jit(biases.source_biases)(world_of(target, *sources), hp)
    mean, bias = naive_item_biases(target)
    deviation = naive_deviations(sources, 2.0)
    rated = triples(target)
    x = np.array([deviation[user] for user, *_ in rated])
    y = np.array([r - mean - bias[item] for _, item, r in rated])
    slope = np.linalg.lstsq(x[:, None], y, rcond=None)[0][0]
    assert float(params["slope"]) == pytest.approx(slope, rel=1e-3)
    np.testing.assert_allclose(params["user"], slope * deviation, rtol=1e-3, atol=1e-5)
    users = np.array([2, 0, 10], np.int32)
    expected = mean + (slope * deviation)[users][:, None] + bias[None, :]
    np.testing.assert_allclose(jax.jit(biases.scores)(params, jnp.asarray(users)), expected, rtol=1e-4)


def test_closed_forms_run_over_replicas() -> None:
    """Closed forms run inside vmap over replicas: the same numbers, row by row."""
    events = random_events(6)
    dampings = jnp.asarray([0.5, 3.0, 50.0])
    together = jax.vmap(partial(biases.item_biases, events))(dampings)
    for row, damping in enumerate(dampings):
        np.testing.assert_allclose(together["bias"][row], biases.item_biases(events, damping)["bias"], rtol=1e-5, atol=1e-7)
    assert np.abs(together["bias"][2]).max() < np.abs(together["bias"][0]).max()
