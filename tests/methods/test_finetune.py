"""Strategies of fine-tuning: what stays is bit-identical, what trains does so in the stated order and ratio."""

from __future__ import annotations

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from transfer.api import compose
from transfer.errors import TransferError
from transfer.experiment.build import build_program, build_task, load_world, replicas_of
from transfer.experiment.checks import check_model, check_settings
from transfer.experiment.run import Result, run_batch
from transfer.learning import strategies
from transfer.program import Rate
from transfer.training.compiler import over_replicas
from transfer.training.loop import start

WORDS = ("domain=digits_shift", "split=few_labels", "model=cnn", "model.dim=8", "method=finetune", "train.epochs=2")
LONG = ("train.epochs=10", "train.evaluate_every=10")
LAYERS = ("first", "second", "dense")


@cache
def tuned(*words: str) -> Result:
    return run_batch([compose([*WORDS, *words, "train.progress=false"])])[0]


def moved(result: Result, layer: str, part: str = "kernel", since: str = "source") -> float:
    """The largest change of a layer of the body between two stages."""
    before, after = (result.parameters[stage]["body"][layer][part] for stage in (since, "target"))
    return float(np.max(np.abs(after - before)))


def test_full_tuning_moves_every_layer() -> None:
    """The control of all that follows."""
    assert all(moved(tuned("method.strategy=full"), layer) > 1e-4 for layer in LAYERS)


def test_a_probe_leaves_the_body_bit_identical_and_learns_a_head() -> None:
    result = tuned("method.strategy=probe")
    assert all(moved(result, layer, part) == 0 for layer in LAYERS for part in ("kernel", "bias"))
    assert np.abs(result.parameters["target"]["head"]["kernel"]).max() > 0
    assert result.facts["trainable_parameters"] < tuned("method.strategy=full").facts["trainable_parameters"]


def test_nothing_is_kept_for_what_does_not_train() -> None:
    """The optimizer of a probe has moments for the two leaves of the head alone."""
    config = check_settings(compose([*WORDS, "method.strategy=probe"]))
    world = load_world(config).world
    stage: Any = build_program(config, world, build_task(config, world)).stages[1]
    rows = replicas_of([config])
    done = jax.tree.map(lambda leaf: leaf[None], {"source": tuned("method.strategy=probe").parameters["source"]})
    state = jax.eval_shape(
        lambda w, d, r: start(
            stage, config.train, w, d, r, lambda _, one, shared, each, **__: over_replicas(one, "map")(shared, each)
        ),
        world,
        done,
        rows,
    )
    shapes = sorted(leaf.shape[1:] for leaf in jax.tree.leaves(state.optimizer) if leaf.ndim > 1)
    assert shapes == sorted(2 * [(10,), (8, 10)])


def test_lp_ft_tunes_from_its_probe() -> None:
    result = tuned("method.strategy=lp_ft")
    assert jax.tree.all(
        jax.tree.map(np.array_equal, result.parameters["probe"]["body"], result.parameters["source"]["body"])
    )
    assert np.abs(result.parameters["probe"]["head"]["kernel"]).max() > 0
    assert moved(result, "first", since="probe") > 1e-4


@pytest.mark.parametrize(("weight", "low", "high"), [(0.0, 4e-3, np.inf), (1e6, 0.0, 2e-3)])
def test_a_strong_pull_returns_the_pretrained_body(weight: float, low: float, high: float) -> None:
    """Adam's steps are as long as its rate, 0.001, so that far it may be away."""
    result = tuned("method.strategy=full", f"hp.l2_sp={weight}", "hp.learning_rate=0.001", *LONG)
    assert low <= moved(result, "dense") <= high


def test_layers_unfreeze_from_the_top_down() -> None:
    """With until=1 the lowest layer starts at the end of the budget, so never; the two above it have had their time."""
    result = tuned("method.strategy=gradual", "method.until=1.0", "train.epochs=6")
    assert moved(result, "first") == 0
    assert moved(result, "dense") > moved(result, "second") > 0
    model: Any = check_model(compose(WORDS)).build(compose(WORDS).model)
    rates = strategies.rates(model, {"body": dict.fromkeys(LAYERS, 0.0), "head": 0.0}, until=0.6)
    assert rates["head"] == Rate()
    assert [rates["body"][layer].since for layer in LAYERS] == pytest.approx([0.6, 0.4, 0.2])


def test_lower_layers_move_at_the_stated_ratio() -> None:
    """The first step of Adam is the rate itself, whatever the gradient."""
    rate, decay = 0.001, 0.25
    words = ("train.batch_size=1000", "train.evaluate_every=1", "train.epochs=1", f"hp.learning_rate={rate}", "hp.l2=0.1")
    result = tuned("method.strategy=full", f"method.decay={decay}", "method.head=carried", *words)
    for depth, layer in enumerate(reversed(LAYERS), start=1):
        assert moved(result, layer) == pytest.approx(rate * decay**depth, rel=1e-2)


def test_lora_starts_at_the_pretrained_output_and_adds_little_rank() -> None:
    config = compose(WORDS)
    model: Any = check_model(config).build(config.model)
    x = jax.random.normal(jax.random.key(0), (5, 8, 8, 1))
    for addition in (strategies.lora(2), strategies.adapter(2)):
        changed = strategies.with_addition(model, addition)
        body = changed.body(jax.random.key(1), x.shape[1:], None)
        np.testing.assert_array_equal(changed.features(body, x), model.features(body["carried"], x))
    result = tuned("method.strategy=lora", "method.rank=2")
    carried, added = (result.parameters["target"]["body"][name] for name in ("carried", "added"))
    assert jax.tree.all(jax.tree.map(np.array_equal, carried, result.parameters["source"]["body"]))
    change = np.asarray(strategies.lora(2).body(carried, added)["dense"]["kernel"]) - carried["dense"]["kernel"]
    assert np.abs(change).max() > 1e-4
    assert np.linalg.matrix_rank(change, tol=1e-5) == 2


def test_an_adapter_learns_around_a_body_that_stays() -> None:
    result = tuned("method.strategy=adapter")
    carried, added = (result.parameters["target"]["body"][name] for name in ("carried", "added"))
    assert jax.tree.all(jax.tree.map(np.array_equal, carried, result.parameters["source"]["body"]))
    assert np.abs(added["up"]).max() > 1e-4


def test_a_carried_head_starts_where_the_source_ended_and_needs_its_classes() -> None:
    tiny = ("hp.learning_rate=1e-12", "hp.l2=0")
    carried, fresh = (tuned("method.strategy=full", f"method.head={head}", *tiny) for head in ("carried", "fresh"))
    heads = [result.parameters["source"]["head"]["kernel"] for result in (carried, fresh)]
    np.testing.assert_allclose(carried.parameters["target"]["head"]["kernel"], heads[0], atol=1e-8)
    assert np.abs(fresh.parameters["target"]["head"]["kernel"]).max() < 1e-8
    with pytest.raises(TransferError, match=r"method\.head=fresh"):
        strategies.carried_head({"kernel": jnp.zeros((8, 3))}, {"kernel": jnp.zeros((8, 4))})
