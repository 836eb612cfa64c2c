"""Tables whose rows move late: a step touches the rows that its batch reads, and first makes up for their idle steps.

What is read of a table θ is found in the traced loss: where all of it is gathers of rows, the loss is differentiated with
respect to what they return, and the gradients of a row are summed. A row that was not read for w steps has, under Adam or
momentum, moved on by itself: by u (1 - r^w) / (1 - r), u the first of these movements and r = β₁ / √β₂ or the momentum.
All rows are brought up to date at the end of a block, so that parameters are those of dense updates but for the bias
correction, that of the first idle step. Row-wise Adagrad has no such movements: θ_r ← θ_r - η g_r / √(Σ |g_r|² / d).

Papers: Duchi, Hazan, Singer (2011), Adagrad; Kingma & Ba (2015), Adam; Mudigere et al. (2022), one sum for a row.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.extend import core

from transfer.config.schema import Train
from transfer.program import Hp

LONG = 2**16  # rows from which `train.tables=auto` updates late
OFTEN = 10**6  # steps after which no bias is left to correct


class Reads(NamedTuple):
    """How a loss reads tables, by their numbers among the leaves, which are all of its inputs' first.

    ids(*inputs) -> of every gather of each table in turn, the ids int32 [...];  loss(*inputs, *what the gathers return).
    """

    tables: tuple[int, ...]
    gathers: tuple[int, ...]  # of each table
    ids: Callable[..., list[jax.Array]]
    loss: Callable[..., list[jax.Array]]

    def of_tables(self, values: list[Any]) -> dict[int, list[Any]]:
        """Of one value for each gather, those of each table."""
        each = iter(values)
        return {i: [next(each) for _ in range(n)] for i, n in zip(self.tables, self.gathers, strict=True)}


class Late(NamedTuple):
    """The moments of a table's rows, and the number of steps that each row has made: int32 [n]."""

    moments: Any
    made: jax.Array


class Moments(NamedTuple):
    """The optimizer's state: of the leaves that are updated densely, together, and of each table."""

    dense: Any
    tables: dict[int, Late]


def long_tables(train: Train, leaves: list[Any]) -> bool:
    """Whether some leaf may be updated late."""
    shortest = {"dense": None, "auto": LONG}.get(train.tables, 1)
    return shortest is not None and any(leaf.ndim and leaf.shape[0] >= shortest for leaf in leaves)


def reads_of(train: Train, loss: Callable[..., jax.Array], leaves: list[Any], *rest: Any) -> Reads:
    """Which of the leaves are tables that loss(leaves, *rest) reads by rows alone, fewer than they have."""
    traced = jax.make_jaxpr(loss)(leaves, *rest)
    used: dict[Any, list[Any]] = defaultdict(list)  # by variable: the equations that gather its rows, None for other uses
    for equation in traced.jaxpr.eqns:
        for place, variable in enumerate(equation.invars):
            if not isinstance(variable, core.Literal):
                used[variable].append(equation if place == 0 and _gathers_rows(equation) else None)
    gathers = {}
    for i, (leaf, variable) in enumerate(zip(leaves, traced.jaxpr.invars, strict=False)):
        uses = used[variable]
        by_rows = bool(uses) and all(uses) and long_tables(train, [leaf])
        if by_rows and sum(equation.invars[1].aval.size for equation in uses) < leaf.shape[0]:
            gathers[i] = uses
    cut = [equation for equations in gathers.values() for equation in equations]
    left = [equation for equation in traced.jaxpr.eqns if not any(equation is one for one in cut)]
    values, ids = [equation.outvars[0] for equation in cut], [equation.invars[1] for equation in cut]
    counts = tuple(map(len, gathers.values()))
    return Reads(tuple(gathers), counts, _function(traced, outvars=ids), _function(traced, given=values, equations=left))


def _function(
    traced: Any, *, given: Sequence[Any] = (), equations: Sequence[Any] | None = None, outvars: Sequence[Any] | None = None
) -> Callable[..., list[jax.Array]]:
    """A traced function with further inputs, the equations that are left, and other results."""
    jaxpr = traced.jaxpr
    changed = core.Jaxpr(
        jaxpr.constvars,
        [*jaxpr.invars, *given],
        jaxpr.outvars if outvars is None else outvars,
        jaxpr.eqns if equations is None else equations,
        jaxpr.effects,
        jaxpr.debug_info,
    )
    return core.jaxpr_as_fun(core.ClosedJaxpr(changed, traced.consts))


def _gathers_rows(equation: Any) -> bool:
    """Whether an equation is x[ids], whole rows of its first operand x."""
    if equation.primitive.name != "gather":
        return False
    (operand, ids), of = (variable.aval.shape for variable in equation.invars), equation.params["dimension_numbers"]
    places = tuple(range(len(ids) - 1, len(ids) + len(operand) - 2))
    one_row = equation.params["slice_sizes"] == (1, *operand[1:]) and of.offset_dims == places
    return one_row and of.start_index_map == of.collapsed_slice_dims == (0,) and not of.operand_batching_dims


def optimizer_of_tables(train: Train, hp: Hp) -> optax.GradientTransformation | None:
    """The optimizer of tables where it is not that of the stage."""
    return row_adagrad(hp["learning_rate"]) if train.tables == "adagrad" else None


def row_adagrad(rate: jax.Array) -> optax.GradientTransformation:
    """Adagrad with one sum for a row [n, ...]: A ← A + mean(g²), u = - rate g / (√A + 10⁻¹⁰)."""

    def update(gradient: jax.Array, sums: jax.Array, _: Any = None) -> tuple[jax.Array, jax.Array]:
        sums = sums + jnp.mean(jnp.square(gradient), axis=tuple(range(sums.ndim, gradient.ndim)))
        scale = rate / (jnp.sqrt(sums) + 1e-10)
        return -scale.reshape(*sums.shape, *[1] * (gradient.ndim - sums.ndim)) * gradient, sums

    return optax.GradientTransformation(lambda table: jnp.zeros(table.shape[0]), update)


def moments_before(reads: Reads, of_all: Any, of_tables: Any, leaves: list[jax.Array]) -> Moments:
    """Moments before the first step. of_all, of_tables: the optimizer of the dense leaves, and that of tables."""
    tables = {i: Late(of_tables.init(leaves[i]), jnp.zeros(leaves[i].shape[0], jnp.int32)) for i in reads.tables}
    return Moments(of_all.init([leaf for i, leaf in enumerate(leaves) if i not in tables]), tables)


def late_step(
    reads: Reads,
    of_all: optax.GradientTransformation,
    of_tables: optax.GradientTransformation,
    factors: Sequence[jax.Array | float],
    leaves: list[jax.Array],
    moments: Moments,
    rest: Any,
    step: jax.Array,
) -> tuple[jax.Array, list[jax.Array], Moments]:
    """A step number `step` (from 0): the loss, the leaves and their moments after it. factors: on each leaf's update."""
    others = jax.tree.leaves(rest)
    ids = reads.of_tables([one[..., 0] for one in reads.ids(*leaves, *others)])
    touched = {i: _touched(leaves[i], moments.tables[i], of_tables, factors[i], ids[i], step) for i in ids}

    def loss(values: dict[int, list[jax.Array]], dense: dict[int, jax.Array]) -> jax.Array:
        inputs = [dense.get(i, leaf) for i, leaf in enumerate(leaves)]
        return reads.loss(*inputs, *others, *(value for i in ids for value in values[i]))[0]

    values = {i: of.values() for i, of in touched.items()}
    dense = {i: leaf for i, leaf in enumerate(leaves) if i not in touched}
    value, (by_value, by_dense) = jax.value_and_grad(loss, argnums=(0, 1))(values, dense)
    updates, after = of_all.update(list(by_dense.values()), moments.dense, list(dense.values()))
    new, tables = list(leaves), {}
    for i, update in zip(dense, updates, strict=True):
        new[i] = leaves[i] + factors[i] * update
    for i, of in touched.items():
        update, late = of_tables.update(of.summed(by_value[i]), of.moments, of.rows)
        new[i] = _written(leaves[i], of.ids, of.rows + factors[i] * update)
        tables[i] = Late(_of_rows(_written, leaves[i], moments.tables[i].moments, of.ids, late), of.made)
    return value, new, Moments(after, tables)


def up_to_date(
    reads: Reads, of_tables: Any, factors: list[Any], leaves: list[jax.Array], moments: Moments, step: jax.Array
) -> tuple[list[jax.Array], Moments]:
    """All rows after `step` steps."""
    new, tables = list(leaves), {}
    for i in reads.tables:
        late = moments.tables[i]
        new[i], moved = idle(of_tables, factors[i], leaves[i], late, step)
        tables[i] = Late(moved, jnp.full_like(late.made, step))
    return new, Moments(moments.dense, tables)


def idle(
    optimizer: optax.GradientTransformation, factor: Any, rows: jax.Array, late: Late, step: jax.Array
) -> tuple[jax.Array, Any]:
    """Rows [n, ...] and their moments after `step` steps, those of late.made with a gradient.

    θ + u (1 - r^w) / (1 - r) and m β^w, w = step - made.
    """
    ratio, decays = _decays(optimizer)
    moments, steps = late.moments, step - late.made
    column = steps.astype(jnp.float32).reshape(-1, *[1] * (rows.ndim - 1))
    # each row's bias is corrected for the steps that it has made
    counted = jax.tree.map(lambda m: m if _by_row(m, rows) else late.made.astype(m.dtype), moments)
    first, _ = jax.vmap(optimizer.update)(jnp.zeros_like(rows), counted, rows)
    moved = rows + factor * first * (1 - ratio**column) / (1 - ratio)

    def decayed(moment: jax.Array, decay: jax.Array) -> jax.Array:
        return moment * decay ** column.reshape(-1, *[1] * (moment.ndim - 1)) if _by_row(moment, rows) else moment

    return moved, jax.tree.map(decayed, moments, decays)


def _decays(optimizer: optax.GradientTransformation) -> tuple[jax.Array, Any]:
    """What one step without a gradient makes of a movement, and of each moment: factors, scalars."""
    one = jnp.ones(1)
    moments = jax.tree.map(lambda leaf: jnp.full_like(leaf, OFTEN if leaf.dtype == jnp.int32 else 1), optimizer.init(one))
    first, after = optimizer.update(jnp.zeros(1), moments, one)
    second, _ = optimizer.update(jnp.zeros(1), after, one)
    ratio = jnp.where(first == 0, 0.0, second / jnp.where(first == 0, 1.0, first))[0]
    return ratio, jax.tree.map(lambda leaf: leaf.reshape(-1)[0].astype(jnp.float32), after)


class Touched(NamedTuple):
    """The rows of a table that a batch reads, up to date.

    ids int32 [K]: that of each read, beyond the table where an other one reads the same;  rows [K, ...];
    place int32 [K]: the read that stands for the row;  made int32 [n]: steps by row;  shapes: those of each gather's ids.
    """

    ids: jax.Array
    rows: jax.Array
    moments: Any
    place: jax.Array
    made: jax.Array
    shapes: list[tuple[int, ...]]

    def values(self) -> list[jax.Array]:
        """What the gathers return."""
        read = jnp.split(self.rows, np.cumsum([math.prod(shape) for shape in self.shapes])[:-1])
        return [v.reshape(*shape, *self.rows.shape[1:]) for v, shape in zip(read, self.shapes, strict=True)]

    def summed(self, gradients: list[jax.Array]) -> jax.Array:
        """The gradient of every row [K, ...], from those of what the gathers returned; at the reads that stand for rows."""
        every = jnp.concatenate([g.reshape(-1, *self.rows.shape[1:]) for g in gradients])
        return jax.ops.segment_sum(every, self.place, len(self.place))


def _touched(table: jax.Array, late: Late, optimizer: Any, factor: Any, ids: list[jax.Array], step: jax.Array) -> Touched:
    every = jnp.concatenate([one.reshape(-1) for one in ids])
    moments = _of_rows(lambda leaf, at, _: leaf[at], table, late.moments, every, late.moments)
    before = late.made[every]
    rows, moments = idle(optimizer, factor, table[every], Late(moments, before), step)
    number = jnp.arange(len(every), dtype=jnp.int32)
    # every value that is written depends on what was read there before: else all rows are copied, to be read and written
    marked = late.made.at[every].set(
        jnp.minimum(before, -1 - number)
    )  # one of the reads of a row stands for it: -1 - number
    place = -1 - marked[every]
    standing = jnp.where(place == number, every, table.shape[0] + number)
    made = marked.at[every].set(jnp.maximum(-1 - place, step + 1))  # step + 1
    return Touched(standing, rows, moments, place, made, [one.shape for one in ids])


def _of_rows(change: Callable[..., jax.Array], table: jax.Array, moments: Any, ids: jax.Array, new: Any) -> Any:
    """change(leaf, ids, that of `new`) of the moments that belong to rows; that of `new` of the others."""
    return jax.tree.map(lambda old, other: change(old, ids, other) if _by_row(old, table) else other, moments, new)


def _by_row(moment: jax.Array, table: jax.Array) -> bool:
    """Whether it has something for each row of the table, unlike the count of steps."""
    return moment.shape[:1] == table.shape[:1]


def _written(leaf: jax.Array, ids: jax.Array, rows: jax.Array) -> jax.Array:
    return leaf.at[ids].set(rows, mode="drop", unique_indices=True)
