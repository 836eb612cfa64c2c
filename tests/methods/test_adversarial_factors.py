"""Adversarial recommendation: users, items or rating patterns meet, weight 0 is no game, cold users speak by the source."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from planted import planted, world_of

from transfer.api import compose
from transfer.errors import TransferError
from transfer.experiment import run_batch
from transfer.experiment.build import build_program, build_task
from transfer.experiment.checks import check_model, check_settings
from transfer.learning import autorec
from transfer.learning.discriminator import apply
from transfer.methods.model_based import cmf

FACTORS = [f"dann_factors method.of={of}" for of in ("users", "items")]


@cache
def run(method: str, *weights: str) -> tuple[list[Any], list[dict[str, Any]]]:
    """A run for each weight, with all of the budget: results and the last records."""
    numbers = () if method == "darec" else ("hp.learning_rate=0.02", "hp.l2=0.1")
    words = (*numbers, "train.keep=last", "train.epochs=48", "train.evaluate_every=12")
    rows = [(*words, *weight.split()) for weight in weights]
    with TemporaryDirectory() as folder:
        folders = [Path(folder) / str(i) for i in range(len(rows))]
        results = run_batch([compose(planted(0.9, "ranking", method, *row)) for row in rows], folders)
        lines = [(one / "metrics.jsonl").read_text().splitlines()[-1] for one in folders]
    return results, [json.loads(line) for line in lines]


@pytest.mark.parametrize("method", ["darec", *FACTORS])
def test_by_default_the_discriminator_loses_and_with_weight_zero_it_wins(method: str) -> None:
    (free, held), records = run(method, "hp.weight=0", "")
    told = [float(record["domain_accuracy"]) for record in records]
    assert told[0] > 0.62, told
    assert told[1] - 0.5 < 0.6 * (told[0] - 0.5), told
    last, part = ("patterns", "extractor") if method == "darec" else ("joint", "body")
    for stage in set(free.parameters) - {last}:
        assert apart(free.parameters[stage], held.parameters[stage]) == 0, "the game is in the last stage"
    assert apart(free.parameters[last][part], held.parameters[last][part]) > 0.1


def apart(a: Any, b: Any) -> float:
    """The largest difference of two pytrees."""
    return max(float(np.abs(x - y).max()) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


@pytest.mark.parametrize("of", ["users", "items"])
def test_the_gradient_is_that_of_cmf_less_the_weight_times_that_of_the_domain_loss(of: str) -> None:
    config = check_settings(compose(planted(0.9, "ranking", "dann_factors", f"method.of={of}")))
    world: Any = world_of(0.9, "ranking").world
    task = build_task(config, world)
    stage: Any = build_program(config, world, task).stages[0]
    key, end = jax.random.key(0), jnp.float32(1)

    @jax.jit
    def begun(world: Any) -> Any:
        init = stage.init(world, {}, key)
        return jax.tree.map(lambda leaf: leaf + 0.3 * jax.random.normal(key, leaf.shape), init), stage.batch(world, {}, key)

    params, batch = begun(world)
    hp = {name: jnp.float32(value) for name, value in config.hp.items()} | {"weight": jnp.float32(0.7)}
    factors = {name: part for name, part in params.items() if name != "game"}

    def domain(factors: Any) -> Any:
        def rows(table: Any, which: Any) -> Any:
            return jnp.concatenate([table["bias"][which][:, None], table["factors"][which]], axis=1)

        total = jnp.float32(0)
        for head, there, judge in zip(factors["sources"], batch[1:], params["game"], strict=True):
            if of == "users":
                here, other = rows(factors["body"], there.users), rows(factors["body"], batch[0].users)
            else:
                here, other = rows(head, there.items[:, 0]), rows(factors["head"], batch[0].items[:, 0])
            said = [apply(judge, z)[:, 0] for z in (here, other)]
            total += jnp.mean(jnp.log1p(jnp.exp(-said[0]))) / 2 + jnp.mean(jnp.log1p(jnp.exp(said[1]))) / 2
        return total / 2  # two sources

    plain = cmf.joint(config, task, check_model(config).build(config.model))[0].loss
    slope = jax.jit(jax.grad(stage.loss))
    of_loss = slope(params, {}, batch, hp, key, end)
    of_cmf, of_domain = jax.jit(jax.grad(plain))(factors, {}, batch, hp, key, end), jax.jit(jax.grad(domain))(factors)
    strength = 0.7 * (2 / (1 + np.exp(-10)) - 1)
    of_loss, of_cmf, of_domain = jax.device_get((of_loss, of_cmf, of_domain))
    wanted = jax.tree.map(lambda a, b: a - np.float32(strength) * b, of_cmf, of_domain)
    assert apart(of_cmf, wanted) > 1e-3
    for part in factors:
        for a, b in zip(jax.tree.leaves(of_loss[part]), jax.tree.leaves(wanted[part]), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6)
    none = slope(params, {}, batch, hp | {"weight": jnp.float32(0)}, key, end)
    assert apart({part: none[part] for part in factors}, of_cmf) < 1e-6
    assert apart(none["game"], of_loss["game"]) == 0, "the discriminator learns at its full rate"


def test_the_misfit_of_a_row_is_a_mean_over_what_is_known() -> None:
    rng = np.random.default_rng(0)
    outputs, values = rng.normal(size=(3, 5)), rng.normal(size=(3, 5))
    there = np.array([[1, 0, 1, 1, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0]], float)
    known = autorec.KnownRows(jnp.asarray(values, jnp.float32), jnp.asarray(there, jnp.float32))
    chance = np.log(np.exp(outputs) / np.exp(outputs).sum(1, keepdims=True))
    for rating, error in ((True, (values - outputs) ** 2), (False, -chance)):
        wanted = [error[0, [0, 2, 3]].mean(), error[1, 1], 0.0]
        found = jax.jit(autorec.misfit, static_argnums=2)(jnp.asarray(outputs, jnp.float32), known, rating)
        np.testing.assert_allclose(found, wanted, rtol=1e-5)


@pytest.mark.parametrize(
    "words", ["method=darec method.rows=0", "method=darec method.hidden=0", "method=dann_factors method.of=both"]
)
def test_settings_that_cannot_be_are_refused(words: str) -> None:
    with pytest.raises(TransferError) as caught:
        check_settings(compose(words.split()))
    assert words.split()[1].split("=")[0] in str(caught.value)
