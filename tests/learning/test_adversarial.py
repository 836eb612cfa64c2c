"""The adversarial game: gradients are reversed, the discriminator plays, weight 0 is no game at all, and features meet."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from labelled import accuracy, shifted_world
from scipy import optimize

from transfer.api import compose
from transfer.config.schema import Config
from transfer.data.examples.sets import moons
from transfer.data.examples.world import Examples, ExamplesWorld, Inputs, Source
from transfer.errors import TransferError
from transfer.experiment.build import build_program, build_task, load_world, replicas_of
from transfer.experiment.checks import check_settings
from transfer.experiment.run import run_batch
from transfer.learning import discriminator
from transfer.learning.adaptation import in_order
from transfer.learning.discriminator import domain_accuracy, domain_loss, reverse, slopes
from transfer.learning.game import ramp
from transfer.methods.adversarial.cdan import products
from transfer.program import Done, Fit, Program
from transfer.solvers import kernels
from transfer.training.compiler import Compiler
from transfer.training.stages import Job, run_stages

RNG = np.random.default_rng(0)
mmd = jax.jit(kernels.mmd)
METHODS = ("dann", "cdan", "mdd", "mcd", "wdgrl", "adda", "mdan")
BUDGET = ("train.epochs=100", "train.evaluate_every=50", "train.batch_size=64", "train.progress=false", "model.dim=8")


def test_the_reversed_gradient_is_minus_the_weight_times_the_plain_one() -> None:
    x = jnp.asarray(RNG.normal(size=(3, 4)), jnp.float32)

    def plain(x: jax.Array) -> jax.Array:
        return jnp.sum(jnp.sin(x) * x)

    def reversed_(x: jax.Array, weight: jax.Array) -> jax.Array:
        return plain(reverse(x, weight))

    weights = np.array([0.0, 0.3, 1.0, -2.0], np.float32)
    value, slope = jax.jit(jax.value_and_grad(plain))(x)
    slope, turned = np.asarray(slope), jax.jit(jax.value_and_grad(reversed_, argnums=(0, 1)))
    for weight in weights:
        same, (back, of_weight) = turned(x, weight)
        assert same == value
        np.testing.assert_array_equal(back, -weight * slope)
        assert of_weight == 0, "nothing learns the weight"
    many = jax.jit(jax.vmap(jax.grad(reversed_), in_axes=(None, 0)))(x, weights)
    np.testing.assert_array_equal(many, -weights[:, None, None] * slope[None])
    _, scanned = jax.jit(
        lambda weights: jax.lax.scan(lambda carry, weight: (carry, jax.grad(reversed_)(x, weight)), None, weights)
    )(weights)
    np.testing.assert_array_equal(scanned, many)


def test_a_whole_schedule_of_weights_is_one_trace() -> None:
    traces = []

    @jax.jit
    def slope(x: jax.Array, progress: jax.Array, gamma: jax.Array) -> jax.Array:
        traces.append(1)
        return jax.grad(lambda x: jnp.sum(reverse(x, ramp(progress, gamma)) ** 2))(x)

    x = jnp.ones(3)
    for progress in np.linspace(0, 1, 5):
        wanted = -(2 / (1 + np.exp(-10 * progress)) - 1) * 2 * np.ones(3)
        np.testing.assert_allclose(slope(x, jnp.float32(progress), jnp.float32(10)), wanted, rtol=1e-5, atol=1e-7)
    assert len(traces) == 1


def test_the_domain_loss_is_cross_entropy_with_smoothed_labels_and_a_dead_discriminator_is_half_right() -> None:
    here, there = RNG.normal(size=8), RNG.normal(size=8)
    p, q = 1 / (1 + np.exp(-here)), 1 / (1 + np.exp(-there))
    for smooth in (0.0, 0.1):
        source = -(1 - smooth) * np.log(p) - smooth * np.log(1 - p)
        target = -(1 - smooth) * np.log(1 - q) - smooth * np.log(q)
        ours = domain_loss(jnp.asarray(here, jnp.float32), jnp.asarray(there, jnp.float32), jnp.float32(smooth))
        assert float(ours) == pytest.approx((source.mean() + target.mean()) / 2, rel=1e-5)
    assert float(domain_accuracy(jnp.zeros(5), jnp.zeros(9))) == 0.5
    assert float(domain_accuracy(jnp.ones(5), jnp.array([-1.0, 1.0]))) == 0.75


def test_spectral_kernels_have_norm_one_and_slopes_are_those_of_the_discriminator() -> None:
    layers = jax.jit(lambda: discriminator.init(jax.random.key(0), 6, 5, 2))()
    norms = jax.jit(lambda layers: [discriminator.largest_singular_value(layer["kernel"]) for layer in layers])(layers)
    for layer, norm in zip(layers, norms, strict=True):
        assert float(norm) == pytest.approx(np.linalg.norm(np.asarray(layer["kernel"]), 2), rel=0.02)
    z = RNG.normal(size=(7, 6)).astype(np.float32)
    for spectral in (False, True):
        of = jax.jit(partial(_first, layers, spectral))
        step = 1e-3 * np.eye(6, dtype=np.float32)
        numeric = [np.square((np.asarray(of(z + d[None])) - np.asarray(of(z - d[None]))) / 2e-3) for d in step]
        found = np.asarray(jax.jit(partial(slopes, of))(z))
        np.testing.assert_allclose(found, np.sum(numeric, axis=0), rtol=0.01, atol=1e-4)
    assert found.max() <= 1.1
    (linear,) = jax.jit(lambda: discriminator.init(jax.random.key(1), 6, 5, 0))()
    of = jax.jit(partial(slopes, partial(_first, [linear], False)))
    np.testing.assert_allclose(of(z), np.full(7, np.square(linear["kernel"]).sum()), rtol=1e-5)


def _first(layers: Any, spectral: bool, z: jax.Array) -> jax.Array:
    return discriminator.apply(layers, z, spectral)[:, 0]


@lru_cache(maxsize=4)
def world_of(method: str) -> ExamplesWorld:
    """The planted shift; for mdan a second source, moved in another direction."""
    world = shifted_world(shift=2.0, n=400)
    if method != "mdan":
        return world
    (first,) = world.sources
    moved = first.train.x + jnp.array([0, 0, 1, 0, 1], jnp.float32)[None, :]
    return replace(world, sources=(first, Source(replace(first.train, x=moved), first.stop)))


def played(method: str, world: ExamplesWorld, rows: list[tuple[str, ...]], *words: str) -> tuple[Program, list[Done], Any]:
    """A method with its own defaults on a world: the program, and parameters and records of replicas."""
    configs = [check_settings(compose(["domain=digits_shift", f"method={method}", *BUDGET, *words, *row])) for row in rows]
    task = build_task(configs[0], world)
    program = build_program(configs[0], world, task)
    ids = [str(i) for i in range(len(rows))]
    seeds = [config.seed for config in configs]
    job = Job(task, world, "", replicas_of(configs), ids, seeds, configs[0].train, Compiler("map", {}, {}))
    done, records = run_stages(program, job)
    done = jax.device_get(done)
    return program, [jax.tree.map(lambda leaf, i=i: leaf[i], done) for i in range(len(rows))], records


@partial(jax.jit, static_argnums=0)
def spaces(program: Program, world: ExamplesWorld, done: Done) -> list[jax.Array]:
    of = program.features(world, done, {})  # type: ignore[misc]
    pairs = ((world.sources[0].train.x, 1), (world.unlabelled, 0))
    return [of(Inputs(x, jnp.full(x.shape[0], domain, jnp.int32))) for x, domain in pairs]


@lru_cache(maxsize=1)
def alone() -> list[Done]:
    """What source_only learns with the budget of the game."""
    rows = [(f"seed={seed}",) for seed in (0, 1, 0, 1)]  # as many: a program of one is compiled otherwise
    return played("source_only", world_of("dann"), rows, "model=mlp", "train.keep=last")[1]


@pytest.mark.parametrize("method", METHODS)
def test_by_default_features_meet_and_with_weight_zero_nothing_differs_from_source_only(method: str) -> None:
    world = world_of(method)
    rows = [(f"seed={seed}", *weight) for weight in (("hp.weight=0",), ()) for seed in (0, 1)]
    program, done, records = played(method, world, rows)
    if method != "mdan":  # which has one classifier for its sources
        for part in ("body", "heads"):
            both = (jax.tree.leaves(of["network"][part]) for of in (done[0], alone()[0]))
            for ours, plain in zip(*both, strict=True):
                np.testing.assert_array_equal(ours, plain)
        if method == "adda":
            np.testing.assert_array_equal(done[0]["target"]["body"]["kernel"], done[0]["network"]["body"]["kernel"])
    free, held = (float(np.mean([mmd(*spaces(program, world, done[i])) for i in pair])) for pair in ((0, 1), (2, 3)))
    assert held < 0.6 * free, (free, held)
    right = [float(np.mean([accuracy(world, program, done[i]) for i in pair])) for pair in ((0, 1), (2, 3))]
    assert right[1] > right[0] + 0.03, right
    if method == "mcd":
        return  # no discriminator of domains
    told = [float(np.mean([records[i][-1]["domain_accuracy"] for i in pair])) for pair in ((0, 1), (2, 3))]
    assert told[0] > 0.65, "the discriminator is not blind"
    assert told[1] - 0.5 < 0.6 * (told[0] - 0.5), told


def test_a_discriminator_that_sees_the_classes_tells_what_a_blind_one_cannot() -> None:
    """One class moves up, the other down: the domains have equal means, but not within a class."""
    n = 300
    labels = [RNG.integers(0, 2, n) for _ in range(2)]
    xs = [
        RNG.normal(size=(n, 2)) * 0.5 + np.stack([6.0 * of, 1.5 * side * (2 * of - 1)], 1) for side, of in enumerate(labels)
    ]
    base = shifted_world(n=n)
    y = np.eye(2, dtype=np.float32)[labels[0]]
    source = Examples(jnp.asarray(xs[0], jnp.float32), jnp.asarray(y), False)
    hidden = replace(base.valid, inputs=Inputs(source.x[None], jnp.ones((1, n), jnp.int32)), y=source.y[None])
    hidden = replace(hidden, weight=jnp.ones((1, n)), n_events=n)
    world = replace(
        base, sources=(Source(source, hidden),), unlabelled=jnp.asarray(xs[1], jnp.float32), valid=hidden, test=hidden
    )
    said = {}
    for method in ("dann", "cdan"):
        _, _, records = played(method, world, [("hp.weight=0", "hp.learning_rate=0.01")], "method.depth=0")
        said[method] = records[0][-1]["domain_accuracy"]
    assert said["dann"] < 0.75, said
    assert said["cdan"] > said["dann"] + 0.05, said


def test_random_products_have_the_inner_products_of_all_products() -> None:
    z, p = (jnp.asarray(RNG.normal(size=(5, width)), jnp.float32) for width in (4, 3))
    every, few = map(np.asarray, jax.jit(lambda z, p: (products(z, p, 0), products(z, p, 20000)))(z, p))
    np.testing.assert_allclose(every, np.einsum("bi,bj->bij", z, p).reshape(5, 12), rtol=1e-6)
    scale = np.max(np.sum(every * every, axis=1))
    np.testing.assert_allclose(few @ few.T, every @ every.T, atol=0.06 * scale)


def network(method: str, world: ExamplesWorld, *words: str) -> tuple[Config, Fit, Any, Any, dict[str, jax.Array]]:
    """Configuration, stage, parameters, a batch and hp of a method on a world."""
    config = check_settings(compose(["domain=digits_shift", f"method={method}", *BUDGET, *words]))
    stage = build_program(config, world, build_task(config, world)).stages[0]
    assert isinstance(stage, Fit)

    @jax.jit
    def begun(key: jax.Array) -> Any:
        params = stage.init(world, {}, key)
        heads = jax.tree.map(lambda leaf: leaf + 0.3 * jax.random.normal(key, leaf.shape), params["heads"])
        return {**params, "heads": heads}, stage.batch(world, {}, key)

    return config, stage, *begun(jax.random.key(3)), {name: jnp.float32(v) for name, v in config.hp.items()}


def test_sources_count_by_their_bound_hard_or_soft() -> None:
    world, key, end = world_of("mdan"), jax.random.key(0), jnp.float32(1)
    values = {}
    for name, words in {
        "max": ("method.combine=max",),
        "even": ("hp.sharpness=0",),
        "soft": ("hp.sharpness=2",),
        "sharp": ("hp.sharpness=1e4",),
    }.items():
        _, stage, params, batch, hp = network("mdan", world, "hp.weight=0", *words)
        values[name] = float(jax.jit(stage.loss)(params, {}, batch, hp, key, end))
    sources, _, _ = batch
    losses = []
    for examples in sources:
        body = params["body"]
        z = np.maximum(np.asarray(examples.x) @ np.asarray(body["kernel"]) + np.asarray(body["bias"]), 0)
        logits = z @ np.asarray(params["heads"][0]["kernel"]) + np.asarray(params["heads"][0]["bias"])
        losses.append(
            -np.sum(np.asarray(examples.y) * (logits - np.log(np.exp(logits).sum(1, keepdims=True))), axis=1).mean()
        )
    assert values["max"] - values["even"] == pytest.approx(max(losses) - np.mean(losses), abs=1e-5)
    soft = np.exp(2 * np.array(losses)) / np.exp(2 * np.array(losses)).sum()
    assert values["soft"] - values["even"] == pytest.approx(soft @ losses - np.mean(losses), abs=1e-5)
    assert values["sharp"] == pytest.approx(values["max"], abs=1e-5)


def test_two_classifiers_part_on_the_target_and_the_representation_unites_them() -> None:
    world = shifted_world(shift=2.0, n=400)
    _, stage, params, batch, hp = network("mcd", world)
    params = jax.device_get(params)
    differ, agree = stage.turns
    assert (differ.moves, agree.moves, agree.times) == (("heads", "game"), ("body",), 4)
    assert float(differ.rate({**hp, "weight": jnp.float32(0)}, jnp.float32(1))) == 0  # type: ignore[misc]

    @jax.jit
    def discrepancy(params: Any) -> jax.Array:
        return agree.loss(params, {}, batch, hp, jax.random.key(0), jnp.float32(1))

    apart = [float(discrepancy(params))]
    for turn in (differ, agree):
        slope_of = jax.jit(jax.grad(turn.loss))
        for _ in range(10):
            slope = jax.device_get(slope_of(params, {}, batch, hp, jax.random.key(0), jnp.float32(1)))
            move = {key: np.float32(0.3 if key in turn.moves else 0.0) for key in params}
            params = {key: jax.tree.map(lambda w, g, by=move[key]: w - by * g, params[key], slope[key]) for key in params}
        apart.append(float(discrepancy(params)))
    assert apart[1] > apart[0]
    assert apart[2] < apart[1]


def test_the_critic_measures_the_wasserstein_distance() -> None:
    world = shifted_world(shift=2.0, n=400)
    program, (done,), records = played("wdgrl", world, [("hp.weight=0", "hp.gradient_penalty=100")], "train.epochs=200")
    z = [np.asarray(part)[:380] for part in spaces(program, world, done)]
    cost = np.linalg.norm(z[0][:, None] - z[1][None], axis=-1)
    wanted = cost[optimize.linear_sum_assignment(cost)].mean()
    assert wanted > 0.3
    assert -records[0][-1]["domain_loss"] == pytest.approx(wanted, rel=0.15)


def test_every_evaluation_says_how_the_game_stands_and_selection_does_not_look(tmp_path: Path) -> None:
    quick = ["train.epochs=4", "train.evaluate_every=1", "train.batch_size=256", "train.progress=false"]
    (result,) = run_batch(
        [compose(["domain=digits_shift", "method=dann", "method.steps=2", "method.lipschitz=gradient", *quick])],
        [tmp_path / "run"],
    )
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == 4
    assert all(0 <= row["domain_accuracy"] <= 1 and row["domain_loss"] > 0 and "accuracy" in row for row in rows)
    assert result.facts["selected"]["network"]["step"] == rows[-1]["step"], "train.keep=last"
    assert not {"domain_accuracy", "domain_loss"} & set(result.metrics["valid"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("method=dann model=softmax", "model=softmax has none; choose model=mlp"),
        ("method=adda train.keep=best", "write train.keep=last"),
        ("method=mcd method.steps=0", "method.steps: 0"),
        ("method=dann method.lipschitz=weights", "method.lipschitz"),
    ],
)
def test_what_cannot_play_is_refused_in_one_line(words: str, said: str) -> None:
    with pytest.raises(TransferError) as caught:
        run_batch([compose(["domain=digits_shift", *words.split()])])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [4, 7, 25])
def test_passes_have_every_example_once_and_a_new_order_each_time(size: int) -> None:
    examples = Examples(jnp.arange(10.0)[:, None], jnp.eye(10), False)
    draw = jax.jit(lambda step: in_order(examples, jax.random.key(1), step, size).x[:, 0])
    drawn = [draw(jnp.int32(step)) for step in range(20)]
    rows = np.concatenate(drawn)[: 20 * size // 10 * 10].reshape(-1, 10)
    np.testing.assert_array_equal(np.sort(rows, axis=1), np.tile(np.arange(10), (len(rows), 1)))
    assert len({tuple(row) for row in rows}) == len(rows)


def test_a_step_of_the_toy_is_that_of_the_authors_shallow_network() -> None:
    """Gradients by hand, with λ = 6: the domain loss is the sum over both domains and λ multiplies D's step too."""
    words = [
        "domain=moons",
        "domain.points=150",
        "method=dann",
        "model.dim=15",
        "model.activation=sigmoid",
        "method.depth=0",
    ]
    numbers = ["hp.weight=12", "hp.gamma=1e6", "hp.l2=0", "train.batch_size=1"]
    config = check_settings(compose([*words, *numbers]))
    world: Any = load_world(config).world
    stage: Any = build_program(config, world, build_task(config, world)).stages[0]
    key = jax.random.key(0)

    @jax.jit
    def begun(key: jax.Array) -> Any:
        init = stage.init(world, {}, key)
        return jax.tree.map(lambda leaf: leaf + 0.5 * jax.random.normal(key, leaf.shape), init), stage.batch(world, {}, key)

    params, batch = begun(key)
    hp = {name: jnp.float32(value) for name, value in config.hp.items()}
    ours = jax.device_get(jax.jit(jax.grad(stage.loss))(params, {}, batch, hp, key, jnp.float32(0.3)))
    body, (head,), ((judge,),) = (jax.device_get(params[part]) for part in ("body", "heads", "game"))

    def sigmoid(x: Any) -> Any:
        return 1 / (1 + np.exp(-x))

    w, weight = judge["kernel"][:, 0], 6.0
    x, there = np.asarray(batch[0][0].x[0]), np.asarray(batch[2][0])
    h, h_t = sigmoid(x @ body["kernel"] + body["bias"]), sigmoid(there @ body["kernel"] + body["bias"])
    said = np.exp(h @ head["kernel"] + head["bias"])
    off = said / said.sum() - np.asarray(batch[0][0].y[0])
    right, wrong = 1 - sigmoid(h @ w + judge["bias"][0]), sigmoid(h_t @ w + judge["bias"][0])
    into = (head["kernel"] @ off + weight * right * w) * h * (1 - h)
    into_t = -weight * wrong * w * h_t * (1 - h_t)
    np.testing.assert_allclose(ours["heads"][0]["kernel"], np.outer(h, off), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(ours["body"]["bias"], into + into_t, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours["body"]["kernel"], np.outer(x, into) + np.outer(there, into_t), rtol=1e-4, atol=1e-5)
    up = right * h - wrong * h_t  # they ascend the likelihood of the domains
    np.testing.assert_allclose(12 * ours["game"][0][0]["kernel"][:, 0], -weight * up, rtol=1e-4, atol=1e-5)


def test_moons_differ_by_their_rotation_alone() -> None:
    def settings(angle: float) -> Any:
        return compose(["domain=moons", "domain.points=40", f"domain.angle={angle}"]).domain

    plain, turned = (moons.read("rotated", settings(angle), Path()).arrays for angle in (0.0, 90.0))
    np.testing.assert_allclose(turned, np.stack([-plain[:, 1], plain[:, 0]], axis=1), atol=1e-6)
    source = moons.read("upright", settings(0.0), Path())
    np.testing.assert_allclose(source.arrays.mean(axis=0), 0, atol=1e-6)
    assert np.abs(plain.mean(axis=0)).max() < 0.1, "the centre is that of the source"
    assert source.y.sum(axis=0).tolist() == [20, 20]
