"""New items borrow from what is like them: by hand, in a planted world, with swapped texts as the control."""

from __future__ import annotations

from functools import cache

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import interactions
from numpy.typing import NDArray
from planted import RANKING

from transfer.api import compose
from transfer.data.interactions.world import Side
from transfer.errors import TransferError
from transfer.experiment import run_batch
from transfer.learning.borrowing import lent

SMALL = ("domain.users=240", "domain.source_items=40", "domain.target_items=60", "domain.source_events=12")
NEW = (*RANKING, *SMALL, "domain.target_events=12", "domain.popularity_skew=0.3", "train.progress=false", "model.dim=8")
LEARN = (
    "split=cold_items",
    "split.beta=0.3",
    "train.epochs=30",
    "hp.learning_rate=0.03",
    "hp.l2=0.01",
    "train.patience=20",
)
BLOCKS = "domain.features={useful: 0.95}"


def side(readers_of: list[int], rows: NDArray[np.float64]) -> Side:
    """Items that so many readers have, with these rows of a block."""
    users = [{i for i, count in enumerate(readers_of) if count > user} for user in range(max(readers_of))]
    events = interactions(users, len(readers_of))
    return Side(train=events, fit=events, stop=None, features={"text": jnp.asarray(rows, jnp.float32)})  # type: ignore[arg-type]


def test_it_is_the_equation() -> None:
    """Two nearest known items of both domains; who is like nobody, and who has no text, keeps what it has."""
    random = np.random.default_rng(0)
    counts, texts = ([6, 0, 2, 9, 0], [7, 1, 8]), (random.normal(size=(5, 3)), random.normal(size=(3, 3)))
    texts[0][4] = 0
    heads = [
        {
            "mean": jnp.float32(i),
            "bias": jnp.asarray(random.normal(size=n)),
            "factors": jnp.asarray(random.normal(size=(n, 2))),
        }
        for i, n in enumerate((5, 3))
    ]
    found = lent(heads, [side(c, t) for c, t in zip(counts, texts, strict=True)], 2, 5)  # type: ignore[arg-type]
    every, n = np.vstack(texts), np.hstack(counts)
    unit = every / np.maximum(np.linalg.norm(every, axis=1, keepdims=True), 1e-9)
    for name in ("bias", "factors"):
        q = np.concatenate([np.asarray(head[name]) for head in heads])
        for i in range(5):
            cosines = {j: unit[i] @ unit[j] for j in range(8) if j != i and n[j] >= 5 and unit[i] @ unit[j] > 0}
            best = sorted(cosines, key=lambda j: -cosines[j])[:2]
            expected = q[i]
            if best:
                mean = sum(cosines[j] * q[j] for j in best) / sum(cosines[j] for j in best)
                expected = (n[i] * q[i] + 5 * mean) / (n[i] + 5)
            np.testing.assert_allclose(found[name][i], expected, rtol=1e-5)
    assert found["mean"] == 0
    np.testing.assert_array_equal(found["factors"][4], heads[0]["factors"][4])


@cache
def reached(method: str, *words: str) -> float:
    (result,) = run_batch([compose([*NEW, *LEARN, BLOCKS, f"method={method}", *words])])
    return result.metrics["test"]["ndcg@10"]


@pytest.mark.parametrize("method", ["target_only", pytest.param("cmf", marks=pytest.mark.slow)])
def test_new_items_borrow_by_what_is_said_of_them(method: str) -> None:
    borrow = ("method.borrow=5",)
    found = {
        "alone": reached(method),
        "borrowed": reached(method, *borrow),
        "swapped": reached(method, *borrow, "method.permute=[useful]"),
    }
    assert found["borrowed"] > max(found["alone"], found["swapped"]) + 0.08, found


def test_without_features_nothing_can_be_compared() -> None:
    with pytest.raises(TransferError, match=r"^method\.borrow=5 compares items by their features.*domain\.text_dim=128"):
        run_batch([compose([*NEW, "method=target_only", "method.borrow=5"])])
