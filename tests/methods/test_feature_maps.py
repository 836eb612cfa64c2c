"""Feature maps and what stands on them: closed forms against NumPy and SciPy, personal maps, learnt kernels, histories."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from numpy.typing import NDArray
from planted import check_whole, figure, outcome, planted, world_of

from transfer.api import compose
from transfer.data.examples import msda
from transfer.experiment import Result, run_batch
from transfer.experiment.build import build_program, build_task
from transfer.experiment.checks import check_settings
from transfer.program import stream
from transfer.solvers import maps
from transfer.solvers.histories import user_counts

Floats = NDArray[np.float64]
solve, apply = jax.jit(maps.solve, static_argnums=0), jax.jit(maps.apply, static_argnums=0)


def pairs(seed: int = 0) -> tuple[Floats, Floats, Floats]:
    """60 paired rows, the last 20 of them without weight and wrong; the truth is a rotation and an offset."""
    random = np.random.default_rng(seed)
    x, rotation = random.normal(size=(60, 5)) + 1, scipy.linalg.qr(random.normal(size=(5, 5)))[0]
    y = x @ rotation + 3 + 0.1 * random.normal(size=x.shape)
    y[40:] = 100
    return x, y, (np.arange(60) < 40).astype(float)


@pytest.mark.parametrize("kind", [kind for kind in get_args(maps.Kind) if kind != "mlp"])
def test_closed_forms_of_maps(kind: Any) -> None:
    x, y, weight = pairs()
    a, b, w = (jnp.asarray(v, jnp.float32) for v in (x, y, weight))
    params = solve(kind, a, b, w, jnp.float32(2.0))
    x, y = x[:40], y[:40]
    mean_x, mean_y = x.mean(0), y.mean(0)
    expected = {
        "linear": lambda: np.linalg.lstsq(x - mean_x, y - mean_y, rcond=None)[0],
        "ridge": lambda: np.linalg.solve((x - mean_x).T @ (x - mean_x) + 2 * np.eye(5), (x - mean_x).T @ (y - mean_y)),
        "procrustes": lambda: scipy.linalg.orthogonal_procrustes(x - mean_x, y - mean_y)[0],
    }[kind]()
    np.testing.assert_allclose(params["matrix"], expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(apply(kind, params, a)[:40], (x - mean_x) @ expected + mean_y, rtol=1e-3, atol=1e-3)


def test_only_procrustes_is_a_rotation() -> None:
    x, y, weight = (jnp.asarray(v, jnp.float32) for v in pairs())
    kinds = ("procrustes", "ridge")
    turned = {kind: np.asarray(solve(kind, x, 2 * y, weight, jnp.float32(2.0))["matrix"]) for kind in kinds}
    np.testing.assert_allclose(turned["procrustes"].T @ turned["procrustes"], np.eye(5), atol=1e-5)
    assert np.linalg.norm(turned["ridge"].T @ turned["ridge"] - np.eye(5)) > 1


@cache
def learnt(correlation: float, task: str, method: str, *more: str) -> Result:
    return (
        run_batch([compose(planted(correlation, task, method, *more))])[0]
        if more
        else outcome(correlation, task, method)[0]
    )


def cold(task: str) -> Any:
    return np.asarray(user_counts(world_of(0.9, task).world.target.train)) == 0


def gain(method: str, correlation: float) -> float:
    """Test nDCG@10 of cold readers above popularity."""
    return figure(correlation, "ranking", method) - figure(correlation, "ranking", "popularity")


@pytest.mark.parametrize("method", ["kernel_map", "history_map"])
def test_a_learnt_map_gains_where_tastes_are_shared_and_only_there(method: str) -> None:
    shared, unrelated = gain(method, 0.9), gain(method, 0.0)
    assert shared > 0.03, f"{shared:+.4f} at 0.9, {unrelated:+.4f} at 0"
    assert unrelated < 0.01, f"{shared:+.4f} at 0.9, {unrelated:+.4f} at 0"


def dense(events: Any) -> Floats:
    table = np.zeros((events.n_users, events.n_items))
    table[np.asarray(events.users), np.asarray(events.items)] = 1
    return table


def test_kernel_map_by_hand() -> None:
    """The scores are those of a kernel ridge regression in NumPy, with the weights that were learnt."""
    result, world = learnt(0.9, "ranking", "kernel_map"), world_of(0.9, "ranking").world
    params, hp = result.parameters["kernel"], result.config.hp
    trained, target = ~cold("ranking"), dense(world.target.train)
    kernel, total = np.zeros((world.n_users, world.n_users)), 0.0
    for own, side in zip(params["sources"].values(), world.sources, strict=True):
        x = dense(side.train) * np.exp(own["items"])
        n = (x**2).sum(1) + 1e-3
        size = np.outer(n / n[trained].mean(), n / n[trained].mean()) ** (hp["power"] * np.exp(own["c"]))
        closeness = np.exp(hp["bandwidth"] * np.exp(own["γ"]) * (x @ x.T / np.sqrt(np.outer(n, n)) - 1))
        kernel += np.exp(own["weight"]) * size * closeness
        total += np.exp(own["weight"])
    kernel /= total
    popular = target[trained].mean(0)
    ridge = hp["ridge"] * np.exp(params["λ"]) * np.eye(trained.sum())
    dual = np.linalg.solve(kernel[np.ix_(trained, trained)] + ridge, target[trained] - popular)
    predicted = result.predictor.score(result.predictor.loaded.users)
    np.testing.assert_allclose(predicted, popular + kernel[:, trained] @ dual, rtol=1e-3, atol=1e-4)


def first_stage(world: Any) -> tuple[Any, Any, Any]:
    """The stage that learns the kernel, its initial parameters and hp."""
    config = check_settings(compose(planted(0.9, "ranking", "kernel_map")))
    stage: Any = build_program(config, world, build_task(config, world)).stages[0]
    hp = {name: jnp.float32(value) for name, value in config.hp.items()}
    return stage, jax.jit(stage.init)(world, {}, stream(jax.random.key(0), "init")), hp


def test_the_loss_of_kernel_map_is_that_of_regressions_without_the_reader() -> None:
    """The method's own loss against solving anew without each reader in turn, on a part of the planted readers.

    Places that no reader takes change nothing.
    """
    world = world_of(0.9, "ranking").world
    assert world.bridges is not None
    assert len(world.bridges) == np.sum(~cold("ranking")), "who is in one domain alone is no row of a matrix"
    some = jnp.concatenate([world.bridges[:40], jnp.full(40, world.n_users, jnp.int32)])
    world = replace(world, bridges=some)
    stage, params, hp = first_stage(world)
    data = jax.device_get(jax.jit(stage.batch)(world, {}, jax.random.key(0)))
    found = jax.jit(stage.loss)(params, {}, data, hp, jax.random.key(0), jnp.float32(0))
    sources, target, popular = (
        [np.float64(x) for x in data["source"]],
        np.float64(data["target"]),
        np.float64(data["popular"]),
    )
    kernel = np.zeros((80, 80))
    for x in sources:
        n = (x**2).sum(1) + 1e-3
        typical = n[:40].mean()
        size = np.outer(n / typical, n / typical) ** float(hp["power"])
        kernel += size * np.exp(float(hp["bandwidth"]) * (x @ x.T / np.sqrt(np.outer(n, n)) - 1)) / len(sources)
    trained = np.flatnonzero(data["trained"])
    assert trained.tolist() == list(range(40))
    likelihood = 0.0
    for reader in trained:
        rest = trained[trained != reader]
        matrix = kernel[np.ix_(rest, rest)] + float(hp["ridge"]) * np.eye(len(rest))
        score = popular + kernel[reader, rest] @ np.linalg.solve(matrix, target[rest] - popular)
        chance = np.log1p(np.exp(50 * score))
        likelihood += target[reader] @ np.log(chance / chance.sum())
    assert float(found) == pytest.approx(-likelihood / target.sum(), rel=1e-4)


def test_kernel_map_learns_which_source_speaks_of_the_target() -> None:
    """With a second source that is noise, the weight moves to the first."""
    loaded = world_of(0.9, "ranking")
    told, noise = loaded.world.sources[0], loaded.world.sources[1]
    shuffled = np.random.default_rng(0).permutation(np.asarray(noise.train.items))
    noise = replace(noise, train=replace(noise.train, items=jnp.asarray(shuffled)))
    world = replace(loaded.world, sources=(told, noise))
    stage, params, hp = first_stage(world)
    data = jax.jit(stage.batch)(world, {}, jax.random.key(0))
    slope = jax.jit(jax.grad(stage.loss))(params, {}, data, hp, jax.random.key(0), jnp.float32(0))["sources"]
    assert slope["source 0"]["weight"] < 0 < slope["source 1"]["weight"], "gradient descent raises the first weight"


def test_history_map_serves_warm_readers_from_their_target_history() -> None:
    """With method.target=true a reader's own books are one more input: without it, readers with equal films are equal."""
    result = learnt(0.9, "ranking", "history_map method.target=true")
    params = {**result.parameters["history"]}
    users, new = result.predictor.loaded.users, cold("ranking")
    before = result.predictor.score(users)
    params["encoder"] = [*params["encoder"][:2], np.zeros_like(params["encoder"][2])]
    result.predictor.parameters["history"] = params
    after = result.predictor.score(users)
    result.predictor.parameters["history"] = result.parameters["history"]
    assert len(params["encoder"]) == 3
    np.testing.assert_allclose(after[new], before[new], rtol=1e-5)
    assert np.abs(after - before)[~new].max(axis=1).min() > 1e-3


def test_ptupcdr_starts_at_the_common_map_and_then_makes_it_personal() -> None:
    """Without steps of the meta-network its scores are EMCDR's; the learnt one maps equal factors by what users liked."""
    common = learnt(0.9, "rating", "emcdr", "train.epochs=12", "train.evaluate_every=6")
    start = learnt(0.9, "rating", "ptupcdr", "hp.l2=5", "hp.map_rate=0")
    personal = learnt(0.9, "rating", "ptupcdr", "hp.l2=5")
    check_whole(personal, "rating")
    users = common.predictor.loaded.users
    np.testing.assert_allclose(start.predictor.score(users), common.predictor.score(users), rtol=1e-4)
    moved = np.abs(personal.predictor.score(users) - common.predictor.score(users)).max(axis=1)
    assert moved[cold("rating")].min() > 1e-4
    assert moved[~cold("rating")].max() < 1e-3, "readers with a history keep their own factors"


def test_ptupcdr_gains_where_tastes_are_shared_and_only_there() -> None:
    def gain(correlation: float) -> float:
        result = learnt(correlation, "rating", "ptupcdr", "hp.l2=5")
        return figure(correlation, "rating", "item_bias") - result.metrics["test"]["rmse"]

    assert gain(0.9) > 0.03
    assert gain(0.0) < 0.01


def test_a_denoiser_is_the_least_squares_map_from_many_corruptions() -> None:
    """Against the mean over sampled corruptions, and its stack against the formula in float64."""
    random = np.random.default_rng(0)
    x = (random.poisson(1.0, size=(80, 5)) + random.normal(size=(80, 1))).astype(np.float32)
    w = np.asarray(jax.jit(msda.denoiser)(jnp.asarray(x), jnp.float32(0.4)))
    copies = np.tile(x, (4000, 1))
    lost = np.hstack([copies * (random.random(copies.shape) > 0.4), np.ones((len(copies), 1))])
    np.testing.assert_allclose(w, np.linalg.lstsq(lost, copies, rcond=None)[0], atol=0.02)
    first, second = msda.stacked([x[:50], x[50:]], [np.arange(50), np.arange(30)], 2, 0.4)
    assert (first.shape, second.shape) == ((50, 15), (30, 15))
    hidden, wanted = x.astype(np.float64), [x]
    for _ in range(2):
        whole = np.hstack([hidden, np.ones((80, 1))])
        kept, scatter = np.r_[np.full(5, 0.6), 1.0], whole.T @ whole
        q = scatter * np.outer(kept, kept)
        np.fill_diagonal(q, kept * np.diag(scatter))
        hidden = np.tanh(whole @ np.linalg.solve(q, kept[:, None] * scatter[:, :5]))
        wanted.append(hidden)
    np.testing.assert_allclose(np.vstack([first, second]), np.hstack(wanted), atol=1e-3)
