"""Tables that are updated late: what moves, when, and that it is what dense updates would have made of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from planted import tiny

import transfer.training.rows
import transfer.training.stages
from transfer.config.schema import Train
from transfer.console import Interrupted
from transfer.errors import TransferError
from transfer.experiment.run import run_batch
from transfer.training.rows import late_step, moments_before, reads_of, row_adagrad, up_to_date

ROWS, WIDTH, READ = 300, 4, 20
Leaves = list[Any]


def train(tables: str = "late") -> Train:
    return Train.model_validate(
        {"epochs": 1, "batch_size": 1, "evaluate_every": 1, "patience": 1, "replicas": "auto"}
        | {"checkpoint_seconds": 1, "progress": False, "tables": tables}
    )


def leaves() -> Leaves:
    """A table, a bias for each of its rows, and weights that every example moves."""
    return [jax.random.normal(jax.random.key(0), (ROWS, WIDTH)), jnp.zeros(ROWS), jnp.ones(WIDTH)]


def batch(step: Any, read: int = READ) -> tuple[jax.Array, jax.Array]:
    ids = jax.random.randint(jax.random.fold_in(jax.random.key(1), step), (read,), 0, ROWS)
    return ids, jnp.sin(ids.astype(jnp.float32))


def loss(params: Leaves, drawn: tuple[jax.Array, jax.Array]) -> jax.Array:
    (table, bias, weights), (ids, wanted) = params, drawn
    return jnp.mean(jnp.square(table[ids] @ weights + bias[ids] - wanted)) + 0.1 * jnp.mean(jnp.square(table[ids]))


def densely(optimizer: Any, steps: int, draw: Callable[[Any], Any] = batch) -> Leaves:
    def step(carry: Any, number: jax.Array) -> tuple[Any, None]:
        params, moments = carry
        updates, moments = optimizer.update(jax.grad(loss)(params, draw(number)), moments, params)
        return (optax.apply_updates(params, updates), moments), None

    return jax.jit(lambda: jax.lax.scan(step, (leaves(), optimizer.init(leaves())), jnp.arange(steps))[0][0])()


def late(optimizer: Any, steps: int, draw: Callable[[Any], Any] = batch, finished: bool = True) -> Leaves:
    reads, factors = reads_of(train(), loss, leaves(), draw(0)), [1.0, 1.0, 1.0]
    assert reads.tables == (0, 1)

    def step(carry: Any, number: jax.Array) -> tuple[Any, None]:
        params, moments = carry
        return late_step(reads, optimizer, optimizer, factors, params, moments, (draw(number),), number)[1:], None

    @jax.jit
    def end() -> Leaves:
        start = leaves(), moments_before(reads, optimizer, optimizer, leaves())
        params, moments = jax.lax.scan(step, start, jnp.arange(steps))[0]
        return up_to_date(reads, optimizer, factors, params, moments, jnp.int32(steps))[0] if finished else params

    return end()


def error(found: Leaves, wanted: Leaves) -> float:
    """The root mean square of the difference, relative to the way from the start."""
    found, wanted, begun = jax.device_get((found, wanted, leaves()))
    off, way = (np.concatenate([np.ravel(a - b) for a, b in zip(x, wanted, strict=True)]) for x in (found, begun))
    return float(np.linalg.norm(off) / np.linalg.norm(way))


def test_a_step_copies_no_table() -> None:
    """What it costs would grow with the tables: a row is read before it is written, and the compiler has to see that."""
    optimizer = optax.adam(0.01)
    reads = reads_of(train(), loss, leaves(), batch(0))

    def step(carry: Any, number: jax.Array) -> tuple[Any, None]:
        return late_step(reads, optimizer, optimizer, [1.0] * 3, *carry, (batch(number),), number)[1:], None

    def block(params: Leaves, moments: Any) -> Any:
        return jax.lax.scan(step, (params, moments), jnp.arange(4))[0]

    start = leaves(), jax.jit(lambda: moments_before(reads, optimizer, optimizer, leaves()))()
    text = jax.jit(block, donate_argnums=(0, 1)).lower(*start).compile().as_text()
    assert f"s32[{ROWS}]" in text
    assert not [line for line in text.splitlines() if f"[{ROWS}" in line.partition("copy(")[0] and " copy(" in line]


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_under_momentum_late_rows_are_where_dense_updates_put_them(momentum: float) -> None:
    optimizer = optax.sgd(0.05, momentum=momentum)
    wanted = densely(optimizer, 200)
    assert error(late(optimizer, 200), wanted) < 1e-5
    unfinished = error(late(optimizer, 200, finished=False), wanted)
    assert unfinished > 1e-3 if momentum else unfinished < 1e-5


def test_under_adam_late_rows_are_where_dense_updates_put_them_but_for_the_bias_correction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    optimizer = optax.adam(0.01)
    wanted = densely(optimizer, 400)
    assert error(late(optimizer, 400), wanted) < 0.03
    monkeypatch.setattr(transfer.training.rows, "idle", lambda optimizer, factor, rows, moments, step: (rows, moments[0]))
    assert error(late(optimizer, 400), wanted) > 0.3, "the control: idle steps are not made up for"


@pytest.mark.parametrize("optimizer", [optax.adam(0.01), optax.sgd(0.05, momentum=0.9)])
def test_rows_that_are_read_in_every_step_move_as_under_dense_updates(optimizer: Any) -> None:
    """The same hundred in every step, in another order, some of them twice; the others never move."""

    def draw(step: Any) -> tuple[jax.Array, jax.Array]:
        ids = jax.random.permutation(jax.random.key(step), jnp.append(jnp.arange(100), jnp.arange(20)))
        return ids, jnp.cos((ids + step).astype(jnp.float32))

    for found, wanted in zip(late(optimizer, 30, draw), densely(optimizer, 30, draw), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


def test_a_row_is_moved_by_the_sum_of_its_gradients_over_the_root_of_its_squares() -> None:
    """Row-wise Adagrad by hand, with a row that is read twice in a step."""
    rate, ids = 0.1, np.array([[5, 5, 7], [5, 2, 2], [7, 1, 0]])
    table, sums = np.ones((9, 2)), np.zeros(9)

    def plain(params: Leaves, drawn: jax.Array) -> jax.Array:
        return jnp.sum(params[0][drawn] ** 3 * jnp.array([[1.0, 2.0]]))

    reads = reads_of(train(), plain, [jnp.ones((9, 2))], jnp.zeros(3, jnp.int32))
    params: Leaves = [jnp.ones((9, 2))]
    adam, adagrad = optax.adam(0.1), row_adagrad(jnp.float32(rate))
    moments = moments_before(reads, adam, adagrad, params)
    move = jax.jit(lambda *of: late_step(reads, adam, adagrad, [1.0], *of)[1:])
    for step, read in enumerate(ids):
        gradient = np.zeros((9, 2))
        np.add.at(gradient, read, 3 * table[read] ** 2 * np.array([1.0, 2.0]))
        touched = np.unique(read)
        sums[touched] += np.mean(gradient[touched] ** 2, axis=1)
        table[touched] -= rate * gradient[touched] / np.sqrt(sums[touched])[:, None]
        params, moments = move(params, moments, (jnp.array(read),), jnp.int32(step))
    np.testing.assert_allclose(params[0], table, rtol=1e-5)
    np.testing.assert_allclose(moments.tables[0].moments, sums, rtol=1e-5)


def also(use: Callable[[jax.Array, jax.Array], jax.Array]) -> tuple[int, ...]:
    """The tables of a loss that reads some rows and makes another use of the table, too."""
    table, ids = jnp.ones((ROWS, WIDTH)), jnp.zeros(READ, jnp.int32)
    other = lambda params, ids: jnp.sum(params[0][ids]) + jnp.sum(use(params[0], ids))  # noqa: E731
    return reads_of(train(), other, [table], ids).tables


def test_only_what_is_read_by_rows_alone_is_a_table() -> None:
    assert also(lambda table, ids: table[ids] ** 2) == (0,)
    assert also(lambda table, ids: table[ids[None]]) == (0,)
    for use in (lambda table, ids: table**2, lambda table, ids: table[:, 0], lambda table, ids: table[ids, 0]):
        assert also(use) == ()
    assert also(lambda table, ids: jax.lax.map(lambda i: table[i], ids)) == ()
    assert reads_of(train(), loss, leaves(), batch(0, read=ROWS)).tables == (), "nothing is gained"


def test_by_itself_only_a_long_table_is_updated_late() -> None:
    def tables(rows: int, how: str) -> tuple[int, ...]:
        table = jax.ShapeDtypeStruct((rows, WIDTH), jnp.float32)
        ids = jax.ShapeDtypeStruct((READ,), jnp.int32)
        return reads_of(train(how), lambda params, ids: jnp.sum(params[0][ids]), [table], ids).tables

    assert tables(2**16, "auto") == tables(2**16, "late") == tables(2**16 - 1, "late") == (0,)
    assert tables(2**16 - 1, "auto") == tables(2**16, "dense") == ()


# Few events a step: the world is small.
WORDS = ("method=cmf", "task=ranking", "task.loss=bpr", "train.batch_size=8", "train.epochs=4")


def parameters(*words: str) -> dict[str, Any]:
    result = run_batch([tiny(*WORDS, *words)])[0]
    return jax.tree.map(np.asarray, result.parameters)


def test_a_run_with_late_tables_learns_what_a_dense_one_learns() -> None:
    dense, late, by_row = (parameters(f"train.tables={how}") for how in ("dense", "late", "adagrad"))
    untrained = parameters("train.tables=dense", "hp.learning_rate=1e-12")
    flat = partial(jax.tree.reduce, lambda so_far, leaf: np.append(so_far, leaf.ravel()), initializer=np.zeros(0))
    way = np.linalg.norm(flat(dense) - flat(untrained))
    assert np.linalg.norm(flat(late) - flat(dense)) < 0.1 * way
    assert np.linalg.norm(flat(by_row) - flat(dense)) > 0.1 * way
    assert np.isfinite(flat(by_row)).all()


def test_late_tables_go_on_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny(*WORDS, "train.tables=late", "train.checkpoint_seconds=0")
    whole = run_batch([config], [tmp_path / "whole"])[0]
    blocks: list[int] = []
    monkeypatch.setattr(transfer.training.stages.Progress, "update", lambda *_: blocks.append(1))
    monkeypatch.setattr(transfer.training.stages, "interrupted", lambda: len(blocks) == 1)
    with pytest.raises(Interrupted):
        run_batch([config], [tmp_path / "cut"])[0]
    resumed = run_batch([config], [tmp_path / "cut"])[0]
    assert len(blocks) > 2
    jax.tree.map(np.testing.assert_array_equal, whole.parameters, resumed.parameters)


@pytest.mark.parametrize("mode", ["vmap", "map"])
def test_replicas_that_share_a_program_have_late_tables_of_their_own(mode: str) -> None:
    """As many tables, step counts and moments as replicas, whatever runs them."""
    configs = [tiny(*WORDS, "train.tables=late", f"train.replicas={mode}", f"seed={seed}") for seed in (0, 1)]
    for result, alone in zip(
        run_batch(configs), (parameters("train.tables=late", f"seed={s}") for s in (0, 1)), strict=True
    ):
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5), result.parameters, alone)


def test_late_tables_that_nothing_has_are_an_error() -> None:
    with pytest.raises(TransferError, match=r"train\.tables=late has no effect.*full_softmax"):
        run_batch([tiny("method=target_only", "model=caser", "task=ranking", "split=global_time", "train.tables=late")])
