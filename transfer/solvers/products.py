"""Products of sparse rows, X Xᵀ: what users have in common, item by item."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from transfer.data.interactions.events import Interactions
from transfer.solvers import histories

OFTEN = 256  # so many times as many events are there as items that have a dense column, those that most have
VISITED = 4096  # events at once, each of which meets those who have its item one after another


def products(
    events: Interactions, values: jax.Array, to: jax.Array, widths: Sequence[int] | None = None
) -> Callable[[jax.Array], jax.Array]:
    """Users [B] -> X_d X_dᵀ of them and users `to` [m], each of these once: float32 [d, B, m]; n_users is padding.

    values [n] are the entries of X, one for every event; X_d has the next widths[d] items (None: all are of one domain).
    """
    n, m, i = events.users.shape[0], to.shape[0], events.n_items
    widths = [i] if widths is None else widths
    domain = jnp.asarray(histories.domains_of([*widths, 1]))
    place = jnp.full(events.n_users + 1, m).at[to].set(jnp.arange(m)).at[events.n_users].set(m)
    row = place[events.users]
    items = jnp.where(row < m, events.items, i)  # nobody of `to` has the item i
    counts = jnp.zeros(i + 1, jnp.int32).at[items].add(1)
    often = jax.lax.top_k(counts[:i], min(i, n // OFTEN + 1))[1]
    column = jnp.full(i + 1, len(often)).at[often].set(jnp.arange(len(often)))
    dense_to = jnp.zeros((m, len(often))).at[row, column[items]].add(values, mode="drop")
    of_domain = (domain[often][None, :] == jnp.arange(len(widths))[:, None]).astype(jnp.float32)
    order, first = jnp.argsort(items, stable=True), jnp.cumsum(counts) - counts
    rows_of, values_of = row[order], values[order]
    few = jnp.where(column == len(often), counts, 0).at[i].set(0)  # who are visited

    def of(users: jax.Array) -> jax.Array:
        total = jnp.sum(events.starts[users + 1] - events.starts[users])

        def some(block: jax.Array, state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            dense, found = state
            own, event = histories.events_of(events, users, block * VISITED + jnp.arange(VISITED))
            event = jnp.minimum(event, n - 1)
            item, value = jnp.where(own < users.shape[0], events.items[event], i), values[event]

            def visit(nth: jax.Array, found: jax.Array) -> jax.Array:
                other = jnp.minimum(first[item] + nth, n - 1)
                at = domain[item], own, jnp.where(nth < few[item], rows_of[other], m)
                return found.at[at].add(value * values_of[other], mode="drop")

            dense = dense.at[own, column[item]].add(value, mode="drop")
            return dense, jax.lax.fori_loop(0, jnp.max(few[item]), visit, found)

        dense, found = jnp.zeros((users.shape[0], len(often))), jnp.zeros((len(widths), users.shape[0], m))
        dense, found = jax.lax.fori_loop(0, -(-total // VISITED), some, (dense, found))
        return found + jax.lax.map(lambda own: (dense * own[None, :]) @ dense_to.T, of_domain)

    return of
