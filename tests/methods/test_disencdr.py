"""A shared code and one of each domain: codes, scores and divergences against NumPy, and what the shared one carries."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pairs import files
from two_domains import DIM, ITEMS, READERS, Case, Floats, domains

from transfer.api import compose
from transfer.experiment import run_batch
from transfer.methods.model_based.disencdr import Code, divergence


def product(experts: list[tuple[Floats, Floats]]) -> Floats:
    """The mean of N(0, I) times Gaussians (mean, precision), one after another."""
    mean, precision = np.zeros(DIM), np.ones(DIM)
    for m, p in experts:
        mean, precision = (precision * mean + p * m) / (precision + p), precision + p
    return mean


@pytest.mark.parametrize("codes", ["both", "shared", "own"])
def test_a_reader_is_scored_by_the_experts_of_her_events(codes: str) -> None:
    case = Case(f"disencdr method.codes={codes}", drawn=1)
    p = jax.tree.map(np.float64, case.done["codes"])
    here, n = domains(), domains()[0].sum(0)
    expected = np.zeros((READERS, ITEMS[0]))
    for user in range(READERS):

        def of(name: str, d: int, user: int = user) -> list[tuple[Floats, Floats]]:
            part = p[name][d]
            return [(part["mean"][j], np.exp(part["strength"])) for j in np.flatnonzero(here[d][user])]

        parts = {"shared": product(of("shared", 0) + of("shared", 1)), "own": product(of("own", 0))}
        z = np.concatenate([part for name, part in parts.items() if codes in (name, "both")])
        expected[user] = np.log(n + 1) + p["items"][0]["bias"] + p["items"][0]["factors"] @ z
    np.testing.assert_allclose(case.scores(), expected, rtol=1e-3, atol=1e-4)


def test_the_divergence_is_the_integral() -> None:
    x = np.linspace(-12, 12, 20001)

    def density(mean: float, precision: float) -> Floats:
        return np.sqrt(precision / (2 * np.pi)) * np.exp(-precision * (x - mean) ** 2 / 2)

    numbers = [((0.3, 2.0), (-0.5, 0.7)), ((1.0, 0.5), (0.0, 1.0))]
    wanted = sum(np.trapezoid(density(*p) * np.log(density(*p) / density(*q)), x) for p, q in numbers)
    p, q = (Code(*(jnp.array([[pair[side][i] for pair in numbers]]) for i in (0, 1))) for side in (0, 1))
    assert float(divergence(p, q)) == pytest.approx(wanted, rel=1e-4)


def test_the_loss_has_the_divergences_and_a_weight_for_the_source() -> None:
    def loss(**hp: float) -> float:
        given = {**case.hp, "kl": 0.0, "share": 0.0, **hp}
        return float(fit.loss(case.done["codes"], {}, batches, given, jax.random.key(0), jnp.float32(0)))

    case = Case("disencdr", "train.batch_size=320", drawn=1)
    fit = case.program.stages[0]
    batches = fit.batch(case.world, {}, jax.random.key(0))
    assert loss(kl=0.5) - loss() == pytest.approx((loss(kl=1.0) - loss()) / 2, rel=1e-3)
    known = loss()
    for name in ("kl", "share"):
        assert loss(**{name: 1.0}) > loss() + 0.1
    target = loss(source_weight=0.0)
    assert loss(source_weight=2.0) - target == pytest.approx(2 * (loss() - target), rel=1e-3)
    for d, batch in enumerate(batches):
        batch["x"][1 - d] = jnp.zeros_like(batch["x"][1 - d])
    assert loss() != pytest.approx(known, rel=0.01), "a reader's other domain tells"


@pytest.mark.slow
def test_the_shared_code_carries_to_readers_of_no_book() -> None:
    words = [*files(), "method=disencdr", "model.dim=8", "train.keep=last", "hp.learning_rate=0.03", "hp.decay=0.3"]
    carried, apart = (
        result.metrics["test"]["ndcg@10"]
        for codes in ("both", "own")
        for result in run_batch([compose([*words, f"method.codes={codes}"])])
    )
    assert carried > 0.8, (carried, apart)
    assert carried - apart > 0.05, (carried, apart)
