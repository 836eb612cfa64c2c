"""split=fold_in: people who come after training are known by their earlier days alone, and every method reads those."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sweeps import USERS, write_run

from transfer.api import compose
from transfer.config.splits import Split
from transfer.data.interactions.domain import EVENTS, Domain
from transfer.data.interactions.split import split
from transfer.data.interactions.world import World, at_inference
from transfer.errors import TransferError
from transfer.experiment import Result, run_batch
from transfer.experiment.build import build_program, build_task, load_world
from transfer.experiment.checks import check_settings
from transfer.report.comparison.compare import compare
from transfer.report.comparison.runs import read_runs
from transfer.solvers import histories

DAYS = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 30), st.integers(0, 20)), min_size=1, max_size=60)


def domain(name: str, drawn: list[tuple[int, int, int]]) -> Domain:
    events = {(f"u{user}", f"{name}{item}"): day for user, item, day in drawn}
    rows = [(user, item, None, day) for (user, item), day in events.items()]
    return Domain(
        name, pl.DataFrame(rows, EVENTS, orient="row"), pl.DataFrame(schema={"item": pl.String, "title": pl.String})
    )


@given(DAYS, DAYS, st.integers(0, 9), st.sampled_from([0.2, 0.5, 1.0]))
@settings(deadline=None, max_examples=30)
def test_nothing_after_the_cut_is_learnt_and_nothing_of_the_last_day_is_told(
    read: list[tuple[int, int, int]], seen: list[tuple[int, int, int]], seed: int, share: float
) -> None:
    books, movies = domain("books", read), domain("movies", seen)

    def divide(share: float) -> Any:
        how = Split(name="fold_in", seed=seed, stop=0.1, valid=0.2, test=0.3, share=share)
        return split(books, [movies], how, Path())

    try:
        parts = divide(share)
    except TransferError:
        assume(False)
    times = sorted(books.events["time"])
    cut, later = times[int(len(times) * (1 - 0.3 - 0.2))], times[int(len(times) * (1 - 0.3))]
    if len(moments := sorted(set(times))) > 2:  # something is left to every part
        later = max(later, moments[2])
        cut = min(max(cut, moments[1]), max(moment for moment in moments if moment < later))
    for learnt in (parts.train, *parts.sources):
        assert (learnt["time"] < cut).all()
    hidden = pl.concat([parts.valid, parts.test])
    pairs = {name: set(part.select("user", "item").rows()) for name, part in (("train", parts.train), ("hidden", hidden))}
    assert not pairs["train"] & pairs["hidden"]
    assert not set(parts.valid["user"]) & set(parts.test["user"])
    assert ((parts.valid["time"] >= cut) & (parts.valid["time"] < later)).all()
    assert (parts.test["time"] >= later).all()
    for user, events in books.events.partition_by("user", as_dict=True).items():
        day, first = events["time"].max(), events["time"].min()
        asked = hidden.filter(pl.col("user") == user[0])
        assert len(asked) == ((events["time"] == day).sum() if day >= cut and first < day else 0)
        for known, of in zip(parts.histories, (books, movies), strict=True):
            mine = known.filter(pl.col("user") == user[0])
            all_of_hers = of.events.filter((pl.col("user") == user[0]) & (pl.col("time") < day))
            assert sorted(mine["item"]) == sorted(all_of_hers["item"] if len(asked) else [])
    whole = divide(1.0)
    assert pairs["train"] <= set(whole.train.select("user", "item").rows())
    assert parts.test.equals(whole.test)
    assert set(whole.train.select("user", "item").rows()) == set(
        books.events.filter(pl.col("time") < cut).select("user", "item").rows()
    )


RING, STEPS = 12, 7


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Walks around a ring of books, one a day; 60 readers before the cut, 15 + 15 after it; films tell nothing."""
    folder = tmp_path_factory.mktemp("ring")
    random = np.random.default_rng(0)
    first = np.repeat([0, 100, 200], [60, 15, 15])
    rows = [
        (f"u{user}", f"b{(start + step) % RING}", day + step)
        for user, (start, day) in enumerate(zip(random.integers(0, RING, 90), first, strict=True))
        for step in range(STEPS)
    ]
    pl.DataFrame(rows, ["user", "item", "time"], orient="row").write_csv(folder / "books.csv")
    films = [(user, f"m{random.integers(0, 5)}", time) for user, _, time in rows[::STEPS]]
    pl.DataFrame(films, ["user", "item", "time"], orient="row").write_csv(folder / "movies.csv")
    parts = ("split=fold_in", "split.valid=0.166", "split.test=0.166", "task.k=[1]", "task.select=ndcg@1")
    files = ("domain=files", f"data_dir={folder}", "domain.target=books.csv", "domain.source=movies.csv")
    return (*files, *parts, "train.progress=false")


def learnt(ring: tuple[str, ...], *words: str) -> Result:
    (result,) = run_batch([compose([*ring, *words])])
    return result


def with_days(world: World, change: Any) -> World:
    """The world of which scores are asked, with other histories in the order of time."""
    return replace(
        world.inference, target=replace(world.inference.target, sequence=change(world.inference.target.sequence))
    )


@pytest.mark.parametrize("model", ["sasrec", "gru4rec", "caser"])
def test_the_order_of_a_history_that_was_never_learnt_from_says_what_comes_next(ring: tuple[str, ...], model: str) -> None:
    small = ("model.dim=16", "model.length=8", "task.negatives=8", "train.batch_size=32", "train.epochs=100")
    result = learnt(ring, f"model={model}", *small, "train.evaluate_every=20", "hp.learning_rate=0.02", "hp.dropout=0")
    assert result.metrics["test"]["hit@1"] > 0.8
    config = check_settings(result.config)
    world = load_world(config).world
    task = build_task(config, world)
    program = build_program(config, world, task)
    hp = {name: jnp.float32(value) for name, value in config.hp.items()}

    @jax.jit
    def hit(asked: World, parameters: Any) -> jax.Array:
        return task.evaluate(program.scores(asked, parameters, hp), world.test)["hit@1"]

    assert float(hit(world.inference, result.parameters)) == pytest.approx(result.metrics["test"]["hit@1"])
    backwards = lambda of: replace(of, items=jnp.asarray(np.asarray(of.items).reshape(-1)[_reversed(of)]))  # noqa: E731
    for control in (with_days(world, backwards), world):  # the other way round, and without any history
        assert float(hit(control, result.parameters)) < 0.5


def _reversed(of: Any) -> np.ndarray:
    """Places of the events with those of every user in the opposite order."""
    starts = np.asarray(of.starts)
    return np.concatenate([np.arange(a, b)[::-1] for a, b in pairwise(starts)])


def test_the_world_tells_of_later_people_only_where_scores_are_asked(ring: tuple[str, ...]) -> None:
    loaded = load_world(check_settings(compose([*ring, "model=gru4rec"])))
    world = loaded.world
    later = np.array([int(user[1:]) >= 60 for user in loaded.users])
    for of in (world.target.train, world.sources[0].train, world.target.sequence, world.merged):
        assert (np.diff(np.asarray(of.starts))[later] == 0).all()
    assert (np.diff(np.asarray(at_inference(world).target.train.starts))[later] == STEPS - 1).all()
    assert (np.diff(np.asarray(at_inference(world).merged.starts))[later] == STEPS).all()  # the film came on the first day
    np.testing.assert_array_equal(world.inference.target.train.item_counts, world.target.train.item_counts)
    assert (world.valid.n_users, world.test.n_users, world.test.n_events) == (15, 15, 15)
    assert at_inference(world.inference) is world.inference


@pytest.mark.parametrize("dense", [True, False])
def test_item_knn_scores_a_history_that_it_is_told(
    ring: tuple[str, ...], dense: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all items as neighbours both ways of finding them are x · sim, the cosine over readers before the cut."""
    if not dense:
        monkeypatch.setattr(histories, "DENSE_CELLS", 10)
    result = learnt(
        ring,
        "method=item_knn",
        "method.domains=target",
        f"method.neighbours={RING}",
        "hp.shrinkage=1",
        f"train.epochs={1 + dense}",
    )  # a program of its own
    world = result.predictor.loaded.world
    x, asked = (
        np.asarray(histories.dense(of.target.train, jnp.ones(of.target.train.users.shape)))
        for of in (world, world.inference)
    )
    norm = np.sqrt(x.sum(axis=0))
    similarity = x.T @ x / (np.outer(norm, norm) + 1) * (1 - np.eye(RING))
    expected = asked @ similarity
    assert expected[60:].any()
    np.testing.assert_allclose(result.predictor.score(result.predictor.loaded.users), expected, rtol=1e-4, atol=1e-5)
    assert set(result.parameters["items"]) == ({"similarity"} if dense else {"likeness", "places"})


def test_ease_of_the_most_chosen_items_is_ease_of_a_world_with_only_these(ring: tuple[str, ...]) -> None:
    words = ("method=ease", "hp.ridge=3", "hp.source_weight=1")
    result = learnt(ring, *words, "method.domains=target", "method.most=5")
    world = result.predictor.loaded.world
    x, asked = (
        np.asarray(histories.dense(of.target.train, jnp.ones(of.target.train.users.shape)), np.float64)
        for of in (world, world.inference)
    )
    best = np.argsort(-x.sum(axis=0), kind="stable")[:5]
    inverse = np.linalg.inv(x[:, best].T @ x[:, best] + 3 * np.eye(5))
    expected = np.zeros_like(asked)
    expected[:, best] = asked[:, best] @ (-inverse / np.diag(inverse) * (1 - np.eye(5)))
    np.testing.assert_allclose(result.predictor.score(result.predictor.loaded.users), expected, rtol=1e-3, atol=1e-5)
    whole, more = (learnt(ring, *words, most).predictor for most in ("method.most=null", "method.most=1000"))
    np.testing.assert_array_equal(whole.score(["u0", "u89"]), more.score(["u0", "u89"]))


def test_a_method_that_knows_only_people_of_training_is_refused(ring: tuple[str, ...]) -> None:
    with pytest.raises(TransferError, match="method=cmf does not know them"):
        learnt(ring, "method=cmf")


def test_a_model_with_a_source_is_measured_against_the_same_model_without(tmp_path: Path) -> None:
    """The first model has more than the second, and both gain 0.1 by the source: that is what the gaps say."""
    for number, (model, method, level) in enumerate(
        [("a", "target_only", 0.6), ("b", "target_only", 0.3), ("a", "emcdr", 0.7), ("b", "emcdr", 0.4), ("b", "ease", 0.5)]
    ):
        for seed in (0, 1):
            noise = np.random.default_rng([number, seed]).normal(0, 0.01, USERS)
            words = (f"model={'mf' if method == 'ease' else model}", f"method={method}", f"seed={seed}")
            write_run(tmp_path / f"{2 * number + seed}", *words, values=level + noise)
    (found,) = compare(read_runs(tmp_path))
    gaps = {gap.method: gap.paired.difference for gap in found.target_gaps}
    expected = {"emcdr model=a": 0.1, "emcdr model=b": 0.1, "ease": -0.1}
    assert {name.replace(" model=mf", ""): round(gap, 2) for name, gap in gaps.items()} == expected
