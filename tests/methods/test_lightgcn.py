"""lightgcn against dense matrices, and what a source's weight of 0 leaves of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import interactions, world_of
from planted import RANKING, WORLD

from transfer.api import compose
from transfer.experiment import run_batch
from transfer.experiment.build import build_task
from transfer.experiment.checks import check_settings
from transfer.methods.model_based import lightgcn

READERS, FILMS, BOOKS = 20, 12, 8
COLD, NOBODY = 0, 1  # a reader of films alone, one of nothing


@pytest.mark.parametrize(("layers", "weight"), [(1, 0.5), (2, 0.5), (4, 0.5), (3, 0.0)])
def test_factors_spread_over_the_normalised_graph(layers: int, weight: float) -> None:
    """Books 0 and 1 are also the films 3 and 4. Both the z that a step learns with and the scores are the paper's mean."""
    random = np.random.default_rng(0)
    books, films = ((random.random((READERS, n)) < 0.3).astype(float) for n in (BOOKS, FILMS))
    books[COLD], books[NOBODY], films[NOBODY] = 0, 0, 0
    here = world_of(*(interactions([np.flatnonzero(row) for row in x], x.shape[1]) for x in (books, films)))
    same = jnp.full(FILMS, -1).at[jnp.array([3, 4])].set(jnp.array([0, 1]))
    here = replace(here, sources=(replace(here.sources[0], target_items=same),))
    x = np.hstack([books, weight * films])
    x[:, :2] += weight * films[:, 3:5]
    x[:, BOOKS + 3 : BOOKS + 5] = 0
    factors = random.normal(size=(x.shape[1], 3))
    adjacency = np.block([[np.zeros((READERS, READERS)), x], [x.T, np.zeros((x.shape[1], x.shape[1]))]])
    sums = adjacency.sum(1)
    root = np.where(sums > 0, np.where(sums > 0, sums, 1) ** -0.5, 0)
    layer = np.vstack([np.zeros((READERS, 3)), factors]) * (sums > 0)[:, None]
    mean = layer / (layers + 1)
    for _ in range(layers):
        layer = root[:, None] * adjacency @ (root[:, None] * layer)
        mean += layer / (layers + 1)
    users, items = mean[:READERS], mean[READERS:]

    config = check_settings(compose(["task=ranking", "method=lightgcn", f"method.layers={layers}"]))
    program: Any = lightgcn.build(config, here, build_task(config, here), None)  # type: ignore[arg-type]
    hp: Any = {"source_weight": jnp.float32(weight)}
    done: Any = {"factors": {"items": jnp.asarray(factors, jnp.float32)}}
    drawn = program.stages[0].batch(here, done, jax.random.key(0))
    weights = np.where(np.arange(len(drawn.edges.users)) < books.sum(), 1, weight) * drawn.edges.weights
    z = lightgcn.spread(done["factors"]["items"], drawn.edges._replace(weights=weights), READERS, layers)
    np.testing.assert_allclose(z.users, users, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(z.items, items, rtol=1e-4, atol=1e-5)
    losses = []
    for batch, of_domain in zip(drawn.batches, drawn.columns, strict=True):  # of BPR
        chosen = items[np.asarray(of_domain)[np.asarray(batch.items)]]
        s = np.einsum("bd,bkd->bk", users[np.asarray(batch.users)], chosen)
        squares = np.square(factors[np.asarray(of_domain)[np.asarray(batch.items)]]).sum(2).mean(1)
        losses.append(np.mean(np.log1p(np.exp(s[:, 1] - s[:, 0])) + 0.1 * squares))
    learns = hp | {"l2": jnp.float32(0.1)}
    loss = program.stages[0].loss(done["factors"], {}, drawn, learns, jax.random.key(0), jnp.float32(0))
    assert float(loss) == pytest.approx(losses[0] + weight * losses[1], rel=1e-4)

    in_training = program.stages[0].scores(here, done, hp)(jnp.arange(READERS))
    done["graph"] = program.stages[1].solve(here, done, hp, jax.random.key(0))
    for scores in (in_training, program.scores(here, done, hp)(jnp.arange(READERS))):
        np.testing.assert_allclose(scores, users @ items[:BOOKS].T, rtol=1e-3, atol=1e-4)
        assert bool(np.any(scores[COLD])) == (weight > 0)
        assert not np.any(scores[NOBODY])


def test_without_weight_it_learns_what_the_target_alone_teaches() -> None:
    words = [
        *RANKING,
        *WORLD,
        "method=lightgcn",
        "model.dim=4",
        "train.steps=12",
        "train.keep=last",
        "train.progress=false",
    ]
    (alone,) = run_batch([compose([*words, "method.domains=target"])])
    none, some = run_batch([compose([*words, f"hp.source_weight={weight}"]) for weight in (0, 1)])
    of_alone, of_none, of_some = (r.predictor.score(r.predictor.loaded.users) for r in (alone, none, some))
    np.testing.assert_allclose(of_none, of_alone, rtol=1e-3, atol=1e-6)
    assert np.abs(of_some - of_alone).max() > 1e-3
