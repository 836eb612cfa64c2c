"""Learning rates by parameter: which leaves an update moves, η_leaf = η · factor · hp[by], and from when on."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from transfer.program import Fit, Hp, Params, Rate


def rates_of(stage: Fit, params: Params) -> list[Rate]:
    """How each leaf of the parameters trains, in the order of `jax.tree.leaves`."""
    leaves = len(jax.tree.leaves(params))
    return jax.tree.leaves(stage.rates(params)) if stage.rates else [Rate()] * leaves


class Moving(NamedTuple):
    """Which leaves of the parameters train; nothing is computed for the others."""

    rates: list[Rate]
    structure: Any

    def leaves(self, params: Params) -> list[jax.Array]:
        """The leaves that train."""
        return [leaf for leaf, rate in zip(jax.tree.leaves(params), self.rates, strict=True) if rate.factor]

    def replaced(self, params: Params, moved: list[jax.Array]) -> Params:
        """The parameters with these leaves in place of those that train."""
        new, leaves = iter(moved), zip(jax.tree.leaves(params), self.rates, strict=True)
        return jax.tree.unflatten(self.structure, [next(new) if rate.factor else leaf for leaf, rate in leaves])

    def factors(self, hp: Hp) -> list[jax.Array | float]:
        """The factors on updates of the leaves that train, once they do."""
        return [rate.factor * (hp[rate.by] if rate.by else 1.0) for rate in self.rates if rate.factor]

    def scale(self, updates: list[jax.Array], hp: Hp, progress: jax.Array) -> list[jax.Array]:
        """Updates times their factors; zero before their time has come."""
        scaled = [u * factor for u, factor in zip(updates, self.factors(hp), strict=True)]
        started = zip(scaled, [rate for rate in self.rates if rate.factor], strict=True)
        return [jnp.where(progress >= rate.since, u, 0.0) if rate.since > 0 else u for u, rate in started]


def movers(stage: Fit, params: Params) -> list[Moving]:
    """What moves in the updates of a step: in that of the loss all that trains, then in each turn what it names."""
    rates, structure = rates_of(stage, params), jax.tree.structure(params)

    def rates_in(keys: tuple[str, ...]) -> list[Rate]:
        moves = jax.tree.leaves({key: jax.tree.map(lambda _, key=key: key in keys, part) for key, part in params.items()})
        return [rate if moved else Rate(0.0) for rate, moved in zip(rates, moves, strict=True)]

    return [Moving(rates, structure), *(Moving(rates_in(turn.moves), structure) for turn in stage.turns)]
