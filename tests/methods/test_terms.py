"""The terms of losses by value, each with a control: what a term leaves out, weighs or holds fixed decides the figure."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from labelled import shifted_world
from planted import tiny
from scipy import special

from transfer.api import compose
from transfer.experiment.build import build_program, build_task, load_world
from transfer.experiment.checks import check_settings
from transfer.learning import discriminator
from transfer.learning.discriminator import between
from transfer.learning.game import Game, View
from transfer.methods.adversarial import cdan, dann, mdd, wdgrl
from transfer.program import stream

RNG = np.random.default_rng(0)
NUMBERS = {name: jnp.float32(value) for name, value in (("smoothing", 0), ("gradient_penalty", 0), ("margin", 1))}
ZERO, ONE, KEY = jnp.float32(0), jnp.float32(1), jax.random.key(3)


def game_of(module: ModuleType, monkeypatch: pytest.MonkeyPatch, *words: str) -> Game:
    """The game that a method plays, without the network around it."""
    name = module.__name__.rpartition(".")[2]
    config = check_settings(compose(["domain=digits_shift", "model=mlp", f"method={name}", *words]))
    monkeypatch.setattr(module, "adapted", lambda config, world, task, model, game: game)
    game: Game = module.build(config, shifted_world(), None, None)
    return game._replace(loss=jax.jit(game.loss))


def view(n: int, d: int = 4, classes: int = 3) -> View:
    x, z, logits = (jnp.asarray(RNG.normal(size=(n, size)), jnp.float32) for size in (2, d, classes))
    return View(x, z, logits, None)


def random_layers(inputs: int, width: int, depth: int, outputs: int = 1) -> Any:
    init = jax.jit(lambda key: discriminator.init(key, inputs, width, depth, outputs))
    return jax.tree.map(lambda leaf: np.asarray(leaf) + np.float32(0.1), init(jax.random.key(1)))


def test_class_probabilities_are_fixed_in_the_map_that_a_conditional_discriminator_sees(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    game, own, target = game_of(cdan, monkeypatch), random_layers(12, 5, 1), view(6)

    def loss(source: View) -> jax.Array:
        return game.loss(own, source, target, ONE, NUMBERS, KEY)

    slope = jax.jit(jax.grad(lambda z, logits: loss(View(z, z, logits, None)), argnums=(0, 1)))
    slopes = slope(view(6).z, view(6).logits)
    assert float(np.abs(slopes[0]).max()) > 1e-3, "the control: the representation learns"
    np.testing.assert_array_equal(slopes[1], 0.0)


def test_sure_examples_lead_in_the_conditional_game_with_entropy(monkeypatch: pytest.MonkeyPatch) -> None:
    """H = 0 of the first example and log 3 of the second: weights 2 and 4/3, over their mean 5/3."""
    game = game_of(cdan, monkeypatch, "method.entropy=true")
    logits = jnp.array([[60.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    source, target = (View(part.z, part.z, logits, None) for part in (view(2), view(2)))
    (layer,) = own = random_layers(12, 5, 0)
    p = special.softmax(np.asarray(logits), axis=1)
    said = [(np.asarray(part.z)[:, :, None] * p[:, None, :]).reshape(2, 12) @ layer["kernel"] for part in (source, target)]
    here, there = (np.asarray(part)[:, 0] + float(layer["bias"][0]) for part in said)
    weight = np.array([2, 4 / 3]) / (5 / 3)
    wanted = (np.mean(weight * np.log1p(np.exp(-here))) + np.mean(weight * np.log1p(np.exp(there)))) / 2
    assert float(game.loss(own, source, target, ONE, NUMBERS, KEY)) == pytest.approx(wanted, rel=1e-4)
    turned = np.array([2, 4]) / 3  # of 1 + exp(+H), the control
    other = (np.mean(turned * np.log1p(np.exp(-here))) + np.mean(turned * np.log1p(np.exp(there)))) / 2
    assert other != pytest.approx(wanted, rel=1e-2)


@pytest.mark.parametrize("margin", [1.0, 4.0])
def test_the_margin_weighs_the_agreement_on_the_source(monkeypatch: pytest.MonkeyPatch, margin: float) -> None:
    game, source, target = game_of(mdd, monkeypatch), view(6), view(6)
    own = random_layers(4, 5, 0, outputs=3)
    (layer,) = jax.tree.map(np.asarray, own)
    p, q = (special.softmax(part.z @ layer["kernel"] + layer["bias"], axis=1) for part in jax.device_get((source, target)))
    said = [np.asarray(part.logits).argmax(1) for part in (source, target)]
    agrees, differs = -np.log(p[np.arange(6), said[0]]), -np.log(1 - q[np.arange(6), said[1]])
    value = game.loss(own, source, target, ONE, {**NUMBERS, "margin": jnp.float32(margin)}, KEY)
    assert float(value) == pytest.approx(margin * agrees.mean() + differs.mean(), rel=1e-4)


def test_the_critic_has_slope_one_on_both_domains_and_on_the_lines_between_them(monkeypatch: pytest.MonkeyPatch) -> None:
    game, source, target, own = game_of(wdgrl, monkeypatch), view(6), view(6), random_layers(4, 5, 1)
    share = np.asarray(jax.random.uniform(KEY, (6, 1)))
    points = np.concatenate([source.z, target.z, share * np.asarray(source.z) + (1 - share) * np.asarray(target.z)])
    first, last = jax.tree.map(np.asarray, own)

    def critic(z: np.ndarray) -> np.ndarray:
        return (np.maximum(z @ first["kernel"] + first["bias"], 0) @ last["kernel"] + last["bias"])[:, 0]

    active = points @ first["kernel"] + first["bias"] > 0
    slope = np.linalg.norm((active * last["kernel"][:, 0]) @ first["kernel"].T, axis=1)
    distance = critic(np.asarray(source.z)).mean() - critic(np.asarray(target.z)).mean()
    for strength in (0.0, 10.0):
        value = game.loss(own, source, target, ZERO, {**NUMBERS, "gradient_penalty": jnp.float32(strength)}, KEY)
        assert float(value) == pytest.approx(strength * np.mean((slope - 1) ** 2) - distance, rel=1e-3)
    apart = np.mean((slope[:12] - 1) ** 2)
    assert apart != pytest.approx(np.mean((slope - 1) ** 2), rel=1e-2), "the control: the lines count"


def test_the_penalty_of_a_smooth_discriminator_moves_no_representation(monkeypatch: pytest.MonkeyPatch) -> None:
    game = game_of(dann, monkeypatch, "method.lipschitz=gradient")
    own, source, target = random_layers(4, 5, 1), view(6), view(6)

    @jax.jit
    @partial(jax.grad, argnums=(0, 1))
    def slopes(own: Any, z: jax.Array, strength: jax.Array) -> jax.Array:
        hp = {**NUMBERS, "gradient_penalty": strength}
        return game.loss(own, View(z, z, source.logits, None), target, ONE, hp, KEY)

    free, held = (slopes(own, source.z, jnp.float32(strength)) for strength in (0, 10))
    np.testing.assert_array_equal(free[1], held[1])
    paid = np.abs(np.asarray(free[0][0]["kernel"]) - np.asarray(held[0][0]["kernel"]))
    assert paid.max() > 1e-3, "the control: the discriminator pays"
    np.testing.assert_array_equal(jax.jit(jax.grad(lambda z: jnp.sum(between(z, target.z, KEY))))(source.z), 0.0)


def test_a_variational_history_pays_its_divergence_and_is_drawn() -> None:
    config = check_settings(tiny("task=ranking", "task.loss=full_softmax", "method=history_map", "method.variational=true"))
    assert config.hp["kl"] > 0, "by default it is one"
    world = load_world(config).world
    (fit,) = build_program(config, world, build_task(config, world)).stages
    init, draw, loss = (jax.jit(function) for function in (fit.init, fit.batch, fit.loss))
    params = init(world, {}, jax.random.key(0))
    spread, encoder = np.linspace(-1.0, 0.5, 8, dtype=np.float32), [5 * np.asarray(part) for part in params["encoder"]]
    params, batch = {**params, "spread": spread, "encoder": encoder}, draw(world, {}, jax.random.key(1))
    (x,) = batch["sources"]
    length = np.maximum(np.asarray(x).sum(1, keepdims=True), 1)
    z = np.tanh(np.asarray(x) / np.sqrt(length) @ np.asarray(params["encoder"][0]))
    g = np.asarray(params["spread"])
    divergence = np.mean(0.5 * np.sum(np.exp(g) + z**2 - 1 - g, axis=1))
    noise = np.asarray(jax.jit(lambda: jax.random.normal(stream(KEY, "z"), z.shape))())
    known = np.asarray(batch["target"])

    def likelihood(z: np.ndarray) -> float:
        logits = np.log(np.asarray(batch["counts"]) + 1) + np.asarray(params["bias"]) + z @ np.asarray(params["decoder"])
        each = (known * special.log_softmax(logits, axis=1)).sum(1) / np.maximum(known.sum(1), 1)
        return float(each.mean())

    for kl in (0.0, 0.7):
        hp = {"dropout": ZERO, "kl": jnp.float32(kl), "source_weight": ONE}
        value = float(loss(params, {}, batch, hp, KEY, ZERO))
        assert value == pytest.approx(kl * divergence - likelihood(z + np.exp(g / 2) * noise), rel=1e-4)
    assert likelihood(z) != pytest.approx(likelihood(z + np.exp(g / 2) * noise), rel=1e-5), "the control: noise counts"


def test_liked_is_what_was_rated_at_the_mean_or_above() -> None:
    config = check_settings(tiny("method=ptupcdr"))
    world = load_world(config).world
    events = world.sources[0].train
    ratings = np.full(events.ratings.shape[0], 3, np.float32)  # the mean is 3
    whole = len(ratings) // 3 * 3
    ratings[:whole] = np.resize([1.0, 3.0, 5.0], whole)
    events = replace(events, ratings=jnp.asarray(ratings))
    assert float(events.mean_rating) == pytest.approx(3, abs=1e-5)
    world = replace(world, sources=(replace(world.sources[0], train=events),))
    meta = build_program(config, world, build_task(config, world)).stages[-1]
    batch = jax.jit(meta.batch)(world, {"source": 0, "target": 0, "map": 0}, jax.random.key(0))
    users, liked = np.asarray(batch["events"].users), np.asarray(batch["liked"])
    wanted = np.zeros((world.n_users, events.n_items))
    wanted[np.asarray(events.users), np.asarray(events.items)] = np.asarray(ratings) >= 3
    np.testing.assert_array_equal(liked, wanted[users])
    assert 0 < liked.sum() < (wanted[users] >= 0).sum()
