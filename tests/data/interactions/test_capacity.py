"""domain.capacity: arrays padded to one length give the figures of exact ones, and worlds then share compiled programs."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import small_overrides, small_world
from hypothesis import given
from hypothesis import strategies as st
from planted import PADDED, check_whole

from transfer.api import compose
from transfer.data.interactions.events import Room, heldout_of, interactions_of
from transfer.errors import TransferError
from transfer.experiment.run import Result, run_batch
from transfer.methods.baselines import popularity
from transfer.registry import outline
from transfer.training import loop
from transfer.training.compiler import executables_of

# Few enough people and items that each has training events: the worlds with and without padding are then the same.
DENSE = {
    "split": "ratio",
    "domain__users": 60,
    "domain__source_items": 20,
    "domain__target_items": 16,
    "domain__source_events": 14,
    "domain__target_events": 11,
    "domain__popularity_skew": 0.1,
}


def run(method: str, task: str, capacity: int | None) -> Result:
    """The same steps whatever the length of the arrays, in one block: another would be another program."""
    budget = {"train__steps": 24, "train__evaluate_every": 99, "train__keep": "last"}
    world = DENSE | {"domain__capacity": capacity, "domain__text_dim": 8 if outline("methods", method).needs.texts else 0}
    return run_batch([compose(small_overrides(task=task, method=method, **world, **budget))])[0]


# they compile long, and read events as cmf, emcdr and ials do
SLOW = (
    "dann_factors",
    "lightgcn",
    "clfm",
    "dtcdr",
    "conet",
    "bitgcf",
    "dcdcsr",
    "sscdr",
    "natr",
    "deepapf",
    "diffusion_map",
    "disencdr",
)


@pytest.mark.parametrize(
    ("method", "task"),
    [pytest.param(*one, marks=pytest.mark.slow) if one[0] in SLOW else one for one in PADDED],
)
def test_padding_changes_no_figure(method: str, task: str) -> None:
    exact, padded = run(method, task, None), run(method, task, 2048)
    check_whole(exact, task)
    assert exact.per_user is not None
    assert padded.per_user is not None
    assert exact.per_user["user"].to_list() == padded.per_user["user"].to_list()
    for part, metrics in exact.metrics.items():
        assert padded.metrics[part] == pytest.approx(metrics, rel=1e-4, abs=1e-5)


OTHER = [
    {"domain__correlation": 0.5, "domain__shared": 0.3, "domain__target_events": 5},
    {"domain__correlation": -1, "domain__shared": 1, "domain__target_events": 8},
]


def words(method: str, capacity: int | None, world: dict[str, float]) -> list[str]:
    changes = {"split": "ratio", "domain__capacity": capacity, "train__evaluate_every": 4, "train__batch_size": 1024}
    return small_overrides(method=method, **changes, **world)


@pytest.mark.parametrize(("capacity", "traces"), [(2048, "none"), (None, "some")])
def test_worlds_of_one_capacity_share_their_compiled_programs(
    capacity: int | None, traces: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    traced: list[str] = []
    real = loop.stream
    monkeypatch.setattr(loop, "stream", lambda key, name, *rest: traced.append(name) or real(key, name, *rest))
    counts = []
    for world in OTHER:
        run_batch([compose(words("ridge_map", capacity, world))])
        counts.append(len(traced))
    assert counts[0] > 0
    assert (counts[1] == counts[0]) is (traces == "none")


@pytest.mark.parametrize("method", ["cmf", "user_knn"])
def test_a_shared_program_sees_the_world_that_it_is_given(method: str) -> None:
    """The second world, run after another, has the figures that it has alone."""
    after = [run_batch([compose(words(method, 2048, world))])[0].metrics for world in OTHER]
    executables_of.cache_clear()
    alone = [run_batch([compose(words(method, 2048, world))])[0].metrics for world in reversed(OTHER)]
    assert after == alone[::-1]
    assert after[0] != after[1]


def test_splits_of_one_shape_share_their_programs_and_see_their_own_events(monkeypatch: pytest.MonkeyPatch) -> None:
    traced: list[str] = []
    real = loop.stream
    monkeypatch.setattr(loop, "stream", lambda key, name, *rest: traced.append(name) or real(key, name, *rest))
    splits = [compose(small_overrides(method="cmf", split__seed=seed, **DENSE)) for seed in (0, 1)]
    after, counts = [], []
    for split in splits:
        after.append(run_batch([split])[0].metrics)
        counts.append(len(traced))
    assert counts[1] == counts[0] > 0
    executables_of.cache_clear()
    assert run_batch([splits[1]])[0].metrics == after[1] != after[0]


def test_everybody_and_everything_is_in_a_padded_world() -> None:
    world = small_world(split="ratio", domain__target_events=2, domain__capacity=2048).world
    assert (world.n_users, world.n_items) == (200, 60)
    assert (np.asarray(world.target.train.item_counts) == 0).any()
    assert world.target.train.users.shape == world.sources[0].train.users.shape == (2048,)


def test_too_small_a_capacity_and_splits_in_time_are_refused() -> None:
    with pytest.raises(TransferError, match=r"domain\.capacity=100: a part has [\d,]+ events"):
        small_world(split="ratio", domain__capacity=100)
    needed = small_world(split="ratio").world.sources[0].train.users.shape[0]
    small_world(split="ratio", domain__capacity=needed)
    with pytest.raises(TransferError, match=r"domain\.capacity=2048: split=global_time keeps sequences"):
        small_world(split="global_time", domain__capacity=2048)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 4)), min_size=1, max_size=20, unique=True))
def test_padded_arrays_hold_the_events_and_nothing_else(pairs: list[tuple[int, int]]) -> None:
    user, item = np.array(sorted(pairs), np.int32).T
    events = {"user": user, "item": item, "rating": np.arange(1, len(user) + 1, dtype=np.float32)}
    exact, padded = interactions_of(events, 7, 5), interactions_of(events, 7, 5, Room(32, 7))
    for name in ("users", "items", "ratings"):
        np.testing.assert_array_equal(getattr(padded, name)[: len(user)], getattr(exact, name))
    assert (padded.users[len(user) :] == 7).all()
    assert (padded.items[len(user) :] == 5).all()
    np.testing.assert_array_equal(padded.starts, exact.starts)
    held = heldout_of(events, [events], events, 5, Room(32, 7))
    here = held.row[0] < held.users.shape[1]
    found = zip(held.users[0][held.row[0][here]], held.item[0][here], held.rating[0][here], strict=True)
    assert sorted((int(u), int(i), float(r)) for u, i, r in found) == [
        (int(u), int(i), float(r)) for u, i, r in zip(user, item, events["rating"], strict=True)
    ]
    assert held.n_events == len(user)
    assert held.n_users == len(set(user.tolist()))


def test_a_method_that_looks_at_values_while_it_builds_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    real = popularity.build
    monkeypatch.setattr(popularity, "build", lambda config, world, *rest: real(config, world, *rest, world.valid.users[0]))
    with pytest.raises(TypeError) as told:
        run_batch([compose(small_overrides(method="popularity"))])
    assert "has shapes alone" in told.value.__notes__[0]
