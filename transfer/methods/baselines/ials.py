"""Implicit alternating least squares, the readers' factors shared by all domains: min Σ_d w_d L_d + Σ_u λ_u |p_u|².

L_d = Σ_(u,i) (1 - p_u·q_i)² + a Σ_u Σ_i (p_u·q_i)² + Σ_i λ_i |q_i|²: first over the events of the domain d, then over its
items and all readers who have events in it, a = hp.unobserved. Where a reader was never seen nothing is unobserved: else
the target's items would be pushed to 0 for whom it is to be recommended. λ_r = hp.ridge (n_r + a N_r)^hp.frequency, with
the n_r events of a row r and its N_r pairs. w is 1 for the target and hp.source_weight for a source, of several times
hp.source_weight_1, hp.source_weight_2, …; with 0, or with method.domains=target, this is the target's own factorisation.
A source's event with an item of the target counts in the target's column.

Rows are solved by conjugate gradients, method.steps of them in each of method.sweeps, from the sweep before. Scores are
p_u·q_i with p_u solved for q from all events of the reader, so that new ones have scores.

Paper: Hu, Koren, Volinsky (2008); Rendle, Krichene, Zhang, Koren (2022), iALS revisited; Takács, Pilászy, Tikk (2011), the
solver.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from pydantic import Field

from transfer.config.schema import Config, Method
from transfer.data.interactions.events import Interactions
from transfer.data.interactions.world import World
from transfer.program import Done, Hp, Model, Needs, Params, Program, Range, Scores, Solve, Task
from transfer.solvers import conjugate, histories
from transfer.solvers.joint import Edges, joint_edges, joint_edges_of, joint_width, source_weights

NEEDS = Needs(tasks=("ranking",))
HP = {
    "ridge": Range(0.03, low=0, above=True),
    "unobserved": Range(0.1, low=0, above=True),
    "frequency": Range(1.0, low=0),
    "source_weight": Range(1.0, low=0, by_source=True),
}


class Settings(Method):
    domains: Literal["both", "target"] = "both"
    sweeps: int = Field(default=16, ge=1)
    steps: int = Field(default=4, ge=1)  # of conjugate gradients in a sweep; readers are scored after model.dim of them


class Rows(NamedTuple):
    """One side of the factorisation, readers or items.

    own, other int32 [n]: an event's row, and that of the other side;  weights float32 [n]: of events;
    among float32 [rows, domains]: how strongly a row counts in a domain, 0 where it is in no pair of it;
    pairs [domains]: of a row with all of the other side that the domain has.
    """

    own: jax.Array
    other: jax.Array
    weights: jax.Array
    among: jax.Array
    pairs: jax.Array


def build(config: Config, world: World, task: Task, model: Model) -> Program:
    both, settings, dim = config.method.domains == "both", config.method, config.model.dim

    def domains(world: World, hp: Hp) -> tuple[list[Interactions], list[jax.Array | float], jax.Array]:
        """The events of each domain, its weight, and who was ever seen in it, float32 [users, domains]."""
        parts = [side.train for side in (world.target, *(world.sources if both else ()))]
        known = jnp.stack([histories.user_counts(events) > 0 for events in parts], axis=1).astype(jnp.float32)
        return parts, [1.0, *source_weights(world, hp)][: len(parts)], known

    def readers_of(world: World, hp: Hp, edges: Edges, users: jax.Array) -> Rows:
        """The rows of some readers, whose events the edges are."""
        parts, strengths, known = domains(world, hp)
        sizes = jnp.array([events.n_items for events in parts], jnp.float32)
        return Rows(*edges, known[users] * jnp.stack(strengths)[None, :], sizes)

    def items_of(world: World, hp: Hp, edges: Edges) -> Rows:
        """The rows of the items. The weight of a source stands before its whole L_d, so its items do not see it."""
        parts, _, known = domains(world, hp)
        sizes = jnp.array([events.n_items for events in parts])
        home = jnp.repeat(jnp.eye(len(parts)), sizes, axis=0, total_repeat_length=joint_width(world, both))
        there = (edges.users < world.n_users).astype(jnp.float32)
        weights = jnp.where(edges.columns < world.n_items, edges.weights, there)
        return Rows(edges.columns, edges.users, weights, home, jnp.sum(known, axis=0))

    def solve(world: World, done: Done, hp: Hp, key: jax.Array) -> Params:
        edges = joint_edges(world, both, domains(world, hp)[1][1:])
        readers, items = readers_of(world, hp, edges, jnp.arange(world.n_users)), items_of(world, hp, edges)

        def sweep(factors: tuple[jax.Array, jax.Array], _: None) -> tuple[tuple[jax.Array, jax.Array], None]:
            p, q = factors
            p = solved(readers, items, q, p, hp, settings.steps)
            return (p, solved(items, readers, p, q, hp, settings.steps)), None

        p, q = jnp.zeros((world.n_users, dim)), jax.random.normal(key, (items.among.shape[0], dim)) * dim**-0.5 * 0.1
        return {"items": jax.lax.scan(sweep, (p, q), None, length=settings.sweeps)[0][1]}

    def scores(world: World, done: Done, hp: Hp) -> Scores:
        weights, q = domains(world, hp)[1][1:], done["factors"]["items"]
        items = items_of(world, hp, joint_edges(world, both, weights))

        def score(users: jax.Array) -> jax.Array:
            readers = readers_of(world, hp, joint_edges_of(world, both, weights, users), users)
            return solved(readers, items, q, jnp.zeros((users.shape[0], dim)), hp, dim) @ q[: world.n_items].T

        return score

    return Program((Solve("factors", solve),), scores, folds_in=True)


def solved(rows: Rows, others: Rows, fixed: jax.Array, start: jax.Array, hp: Hp, steps: int) -> jax.Array:
    """The factors x of rows for those of the other side [others, dim], so many steps from `start` [rows, dim].

    (a Σ_d m_rd F_dᵀF_d + Σ_e w_e f_e f_eᵀ + λ_r I) x_r = Σ_e w_e f_e, over the events e of the row.
    """
    n, f = start.shape[0], fixed[rows.other]
    grams = jnp.einsum("od,ok,ol->dkl", (others.among > 0).astype(jnp.float32), fixed, fixed)
    events = jax.ops.segment_sum(rows.weights, rows.own, n)
    prior = hp["ridge"] * (events + hp["unobserved"] * rows.among @ rows.pairs) ** hp["frequency"]

    def summed(values: jax.Array) -> jax.Array:
        return jax.ops.segment_sum((rows.weights * values)[:, None] * f, rows.own, n)

    def times(x: jax.Array) -> jax.Array:
        unobserved = hp["unobserved"] * jnp.einsum("rd,rk,dkl->rl", rows.among, x, grams)
        return unobserved + summed(jnp.sum(f * x[rows.own], axis=1)) + prior[:, None] * x

    return conjugate.gradients(times, summed(jnp.ones_like(rows.weights)), start, steps)
