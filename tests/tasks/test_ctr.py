"""task=ctr: figures against scikit-learn, who is asked what, and scores as chances."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import small_world
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from transfer.api import compose
from transfer.data.interactions.folds import stacked
from transfer.data.interactions.world import World
from transfer.errors import TransferError
from transfer.evaluate.chances import Asked, asked, logistic
from transfer.experiment.build import build_program, build_task
from transfer.experiment.checks import check_settings
from transfer.learning.chances import STAGE
from transfer.program import Task
from transfer.tasks import ctr

SPLIT = {"split": "few_shot", "split__keep": 2, "split__beta": 0.4}


@cache
def world() -> World:
    return small_world(**SPLIT).world


def task(*words: str) -> Task:
    return ctr.build(compose(["task=ctr", *words]).task, world())


def scored(table: np.ndarray, sampled: int) -> tuple[dict[str, float], Asked]:
    """The figures of looked-up scores, and the events that are asked."""
    rows = jnp.asarray(table, jnp.float32)

    def both(rows: jax.Array, part: Any) -> Any:
        events = asked(lambda users: rows[users], part, sampled)
        return ctr.measure(events, part)[0], events

    means, events = jax.jit(both)(rows, world().test)
    there = np.asarray(events.weight).reshape(-1) > 0
    return {k: float(v) for k, v in means.items()}, Asked(*(np.asarray(part).reshape(-1)[there] for part in events))


@pytest.mark.parametrize("sampled", [0, 3])
def test_padding_asks_nothing_else(sampled: int) -> None:
    """The part as long as a longer one has the figures that it has alone."""
    part = world().test
    longer = replace(part, row=np.pad(part.row, ((0, 0), (0, 9)), constant_values=part.users.shape[1]))
    longer = replace(longer, item=np.pad(part.item, ((0, 0), (0, 9))), rating=np.pad(part.rating, ((0, 0), (0, 9))))
    both = stacked([part, longer])
    assert both is not None
    assert both.row.shape[-1] == part.row.shape[-1] + 9
    rows = jnp.asarray(np.random.default_rng(0).normal(0, 2, (world().n_users, world().n_items)), jnp.float32)
    asking = task(f"task.sampled={sampled}")
    figures = jax.jit(lambda of: asking.evaluate(lambda users: rows[users], of))
    found = [figures(of) for of in (part, jax.tree.map(lambda leaf: leaf[0], both))]
    assert {k: float(v) for k, v in found[1].items()} == pytest.approx({k: float(v) for k, v in found[0].items()}, rel=1e-5)


@pytest.mark.parametrize("sampled", [0, 3])
def test_the_figures_are_those_of_scikit_learn(sampled: int) -> None:
    table = np.random.default_rng(0).normal(0, 2, (world().n_users, world().n_items)).round(1)  # with ties
    means, events = scored(table, sampled)
    p = 1 / (1 + np.exp(-events.score.astype(float)))
    assert means["log_loss"] == pytest.approx(log_loss(events.chosen, p), rel=1e-4)
    assert means["auc"] == pytest.approx(roc_auc_score(events.chosen, p), rel=1e-4)
    own = [
        roc_auc_score(events.chosen[rows], p[rows])
        for row in np.unique(events.row)
        if len(set(events.chosen[rows := events.row == row])) == 2
    ]
    assert means["user_auc"] == pytest.approx(np.mean(own), rel=1e-4)
    bins = np.minimum((np.ceil(p * 15) - 1).astype(int).clip(0), 14)
    gaps = [abs(p[bins == b].mean() - events.chosen[bins == b].mean()) * (bins == b).mean() for b in np.unique(bins)]
    assert means["calibration_error"] == pytest.approx(np.sum(gaps), abs=1e-3)
    constant, _ = scored(np.zeros_like(table), sampled)
    assert [constant["auc"], constant["user_auc"]] == pytest.approx([0.5, 0.5], abs=1e-5)


def test_what_is_asked_is_hidden_and_what_is_not_chosen_is_known_to_nobody() -> None:
    part, width = world().test, world().n_items
    table = np.arange(world().n_users * width).reshape(-1, width)  # a score says which user and item
    for sampled in (0, 3):
        _, events = scored(table, sampled)
        pairs = [divmod(int(score), width) for score in events.score]
        row = {int(u): i for i, u in enumerate(np.asarray(part.users).reshape(-1)[: int(part.n_users)])}
        assert [row[u] for u, _ in pairs] == events.row.tolist()
        hidden = {(row[u], i) for (u, i), y in zip(pairs, events.chosen, strict=True) if y}
        others = {(row[u], i) for (u, i), y in zip(pairs, events.chosen, strict=True) if not y}
        real = np.asarray(part.row)[0] < part.users.shape[1]
        assert hidden == set(
            zip(np.asarray(part.row)[0][real].tolist(), np.asarray(part.item)[0][real].tolist(), strict=True)
        )
        seen = set(zip(np.asarray(part.seen_row)[0].tolist(), np.asarray(part.seen_item)[0].tolist(), strict=True))
        assert not others & (hidden | seen)
        if not sampled:
            rows, items = (np.asarray(of)[0] for of in (part.disliked_row, part.disliked_item))
            assert others == {(int(r), int(i)) for r, i in zip(rows, items, strict=True) if r < part.users.shape[1]}
        else:
            assert len(others) > 2 * len(hidden)


def test_chances_are_those_of_a_logistic_regression_and_never_turned_round() -> None:
    random = np.random.default_rng(0)
    score = random.normal(50, 7, 4_000).astype(np.float32)
    chosen = (random.random(4_000) < 1 / (1 + np.exp(-(0.3 * (score - 50) - 1)))).astype(np.float32)
    weight = np.ones(4_000, np.float32)
    fit = jax.jit(logistic)
    a, b = map(float, fit(score, chosen, weight))
    theirs = LogisticRegression(C=np.inf, tol=1e-8).fit(score[:, None], chosen)
    assert a == pytest.approx(float(theirs.coef_[0, 0]), rel=0.02)
    assert b == pytest.approx(float(theirs.intercept_[0]), rel=0.02)
    assert fit(score, chosen, np.where(np.arange(4_000) < 2_000, weight, 0))[0] != a, "padding weighs nothing"
    a, b = map(float, fit(-score, chosen, weight))
    assert a == 0
    assert 1 / (1 + np.exp(-b)) == pytest.approx(chosen.mean(), abs=1e-5)
    a, b = map(float, fit(np.where(chosen > 0, 1.0, -1.0).astype(np.float32), chosen, weight))
    assert np.isfinite([a, b]).all(), "of a perfect scorer too"


def test_counts_become_chances_on_validation() -> None:
    """Popularity's scores are counts: as log-odds they are absurd, and after the last stage they are calibrated."""
    config = check_settings(compose(["task=ctr", "method=popularity", "task.sampled=3"]))
    made = build_task(config, world())
    program = build_program(config, world(), made)
    solve, last = program.stages
    assert last.name == STAGE

    @jax.jit
    def run(world: World) -> Any:
        done = {"counts": solve.solve(world, {}, {}, jax.random.key(0))}  # type: ignore[union-attr]
        plain = ctr.evaluate(
            lambda users: jnp.broadcast_to(done["counts"]["count"], (len(users), world.n_items)), world.test, 3
        )
        done[STAGE] = last.solve(world, done, {}, jax.random.key(0))  # type: ignore[union-attr]
        return plain, made.evaluate(program.scores(world, done, {}), world.test)

    plain, found = ({k: float(v) for k, v in of.items()} for of in run(world()))
    assert found["auc"] == pytest.approx(plain["auc"], abs=1e-4), "the order stays"
    assert found["auc"] > 0.55
    assert found["log_loss"] < -(0.25 * np.log(0.25) + 0.75 * np.log(0.75)) + 0.02 < plain["log_loss"]
    assert found["calibration_error"] < 0.1 < plain["calibration_error"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("task.loss=hinge",), "task.loss=hinge: task=ctr knows bpr"),
        (("task.select=rmse",), "task.select=rmse: task=ctr measures log_loss, auc, user_auc, calibration_error"),
        (("task.positives=false",), "task=ctr asks what is chosen or liked"),
        (("task.negatives=0",), "task.negatives=0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(TransferError, match=re.escape(message)):
        task(*words)


def test_without_dislikes_there_is_nothing_to_set_likes_against() -> None:
    bare = replace(world(), test=replace(world().test, disliked_row=None, disliked_item=None))
    with pytest.raises(TransferError, match=re.escape("no dislikes are hidden")):
        ctr.build(compose(["task=ctr", "task.sampled=0"]).task, bare)
    config = check_settings(compose(["task=ctr", "method=popularity"]))
    empty = replace(world(), valid=replace(world().valid, n_events=np.int32(0)))  # type: ignore[arg-type]
    with pytest.raises(TransferError, match=r"task=ctr learns chances on the validation part, and it is empty"):
        build_program(config, empty, build_task(config, empty))
