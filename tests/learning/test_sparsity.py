"""Inputs that are mostly zeros: what a network learns from their entries is what it learns from all of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transfer.api import compose
from transfer.data.examples.sparse_rows import SparseBatch, SparseRows, sparse_rows
from transfer.data.examples.world import ExamplesWorld, LoadedExamples, Rows, build_examples
from transfer.experiment.build import build_program, build_task, replicas_of, with_batches
from transfer.experiment.checks import check_settings
from transfer.experiment.unlabelled_selection import _turned
from transfer.learning import sparsity

WORDS, SIZE = 600, 16


def sentences(n: int, share: float, seed: int) -> np.ndarray:
    """Rows [n, WORDS] of which each has `share` of the words on average, the first ones often; the first row has none."""
    random = np.random.default_rng(seed)
    chance = np.minimum(1, share * WORDS * (1 / np.arange(1, WORDS + 1)) / np.sum(1 / np.arange(1, WORDS + 1)))
    x = (random.random((n, WORDS)) < chance) * random.random((n, WORDS))
    x[0] = 0
    return x.astype(np.float32)


def loaded(share: float) -> LoadedExamples:
    """Three domains of words with two classes; of the target a few examples are labelled."""
    xs = [sentences(90, share, i) for i in range(3)]
    ys = [np.eye(2, dtype=np.float32)[np.arange(90) % 2] for _ in xs]
    none = np.arange(0)
    target = Rows(train=np.arange(6), stop=np.arange(6, 12), unlabelled=np.arange(12, 60), test=np.arange(60, 90))
    source = Rows(train=np.arange(70), stop=np.arange(70, 90), unlabelled=none, test=none)
    return build_examples(["t", "a", "b"], xs, ys, [target, source, source], ("no", "yes"), False)


def config_of(*words: str) -> Any:
    usual = ("domain=amazon_reviews", "domain.source=[dvd,kitchen]", "split.target_labels=all", f"train.batch_size={SIZE}")
    return check_settings(compose([*usual, *words]))


@given(st.sampled_from([1, 30]), st.sampled_from([1, 16]), st.sampled_from([0, 0.2, 1.0]), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_a_batch_of_entries_times_a_kernel_is_the_dense_product(n: int, size: int, share: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    x = ((random.random((n, 12)) < share) * random.normal(size=(n, 12))).astype(np.float32)
    kernel, rows = random.normal(size=(12, 3)).astype(np.float32), random.integers(0, n, size)
    slope = random.normal(size=(size, 3)).astype(np.float32)
    found, gradient = _product(sparse_rows(x, size, 12 * size), jnp.asarray(rows), jnp.asarray(kernel), slope)
    np.testing.assert_allclose(found, x[rows] @ kernel, atol=1e-5)
    np.testing.assert_allclose(gradient, x[rows].T @ slope, atol=1e-5)


@jax.jit
def _product(known: SparseRows, rows: jax.Array, kernel: jax.Array, slope: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The rows times a kernel, and the gradient of its sum weighted by `slope`."""
    found, back = jax.vjp(lambda kernel: known[rows] @ kernel, kernel)
    return found, back(slope)[0]


def test_entries_that_find_no_place_are_left_out_and_no_others() -> None:
    x = np.ones((4, 5), np.float32)
    batch = sparse_rows(x, 4, 12)[jnp.arange(4)]
    np.testing.assert_array_equal(batch @ jnp.eye(5), [[1] * 5, [1] * 5, [1, 1, 0, 0, 0], [0] * 5])
    with pytest.raises(AssertionError):
        sparse_rows(x, 3, 12)[jnp.arange(4)]


def test_room_is_for_every_batch_and_not_for_much_more() -> None:
    world = sparsity.with_sparse_rows(loaded(0.02).world, SIZE)
    room, counts = world.sparse_unlabelled.room, np.count_nonzero(world.sources[0].train.x, axis=1)
    drawn = np.random.default_rng(0).choice(counts, (200_000, SIZE)).sum(axis=1)
    assert drawn.max() <= room < 2.5 * drawn.mean()


@pytest.mark.parametrize("method", ["dann", "adabn", "adda", "finetune method.strategy=lora"])
def test_a_method_learns_the_same_from_entries(method: str) -> None:
    """The loss of a step and its gradient, of every stage: the same rows, the same numbers to rounding."""
    config = config_of("model=mlp", "model.dim=5", "hp.l2=0.1", *f"method={method}".split())
    dense, (keys, hp) = loaded(0.02), replicas_of([config])
    told, hp = with_batches(config, dense), jax.tree.map(lambda leaf: leaf[0], hp)
    program = build_program(config, dense.world, build_task(config, dense.world))
    done: dict[str, Any] = {}
    seen = []
    for stage in program.stages:
        if not hasattr(stage, "batch"):
            continue
        params = stage.init(dense.world, done, keys[0])

        def found(world: ExamplesWorld, stage: Any = stage, params: Any = params) -> Any:
            batch = stage.batch(world, done, keys[0])
            seen.extend(leaf for leaf in jax.tree.leaves(batch, is_leaf=is_sparse) if is_sparse(leaf))
            return jax.value_and_grad(lambda p: stage.loss(p, done, batch, hp, keys[0], jnp.float32(0.5)))(params)

        for mine, right in zip(*(jax.tree.leaves(found(each.world)) for each in (told, dense)), strict=True):
            np.testing.assert_allclose(mine, right, rtol=1e-4, atol=1e-6)
        done[stage.name] = params
    assert len(seen) >= 1 + (method in ("dann", "mdan", "adabn", "jdot")) * 3, (
        "two sources, few labelled examples, the target"
    )


def is_sparse(leaf: Any) -> bool:
    return isinstance(leaf, SparseBatch)


def test_only_inputs_with_few_entries_are_read_by_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def sparse(share: float, *words: str) -> bool:
        return with_batches(config_of(*words), loaded(share)).world.sparse_unlabelled is not None

    assert sparse(0.02, "model=mlp")
    assert not sparse(0.05, "model=mlp")
    assert not sparse(0.02, "model=softmax")
    monkeypatch.setattr(sparsity, "multiplies_on_a_cpu", lambda: False)
    assert not sparse(0.02, "model=mlp")


def test_the_world_the_other_way_round_has_no_entries_of_the_old_target() -> None:
    world = sparsity.with_sparse_rows(replace(loaded(0.02).world, labelled=None), SIZE)
    turned = _turned(world, np.eye(2, dtype=np.float32)[np.zeros(48, int)])
    assert turned.sparse_unlabelled is None
    np.testing.assert_array_equal(turned.batch(jnp.arange(3)), world.sources[0].train.x[:3])
