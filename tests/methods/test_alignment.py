"""Alignment does what its equations say, nothing where there is nothing to do; classifiers reach scikit-learn's optima."""

from __future__ import annotations

from functools import partial
from itertools import combinations
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from labelled import accuracy, fitted, shifted_world, solved
from scipy import linalg, optimize
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multiclass import OneVsOneClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import LinearSVC

from transfer.data.examples.world import Inputs, Rows, build_examples
from transfer.errors import TransferError
from transfer.evaluate import distance
from transfer.learning.source_mixture import mixture_shares, resemblance
from transfer.methods.feature_based import gfk
from transfer.models import cnn
from transfer.solvers import classifiers, ratios
from transfer.solvers.spectra import leading, power, spectrum
from transfer.solvers.transport import sinkhorn

RNG = np.random.default_rng(0)


fit, logits_of = jax.jit(classifiers.fit, static_argnums=(0, 5)), jax.jit(classifiers.logits)
mmd, coral_distance = jax.jit(distance.mmd), jax.jit(distance.coral_distance)
proxy_a_distance = distance.proxy_a_distance
flow_root, resembling, shares = jax.jit(gfk.flow_root), jax.jit(resemblance), jax.jit(mixture_shares)
moments_of, powered = jax.jit(spectrum), jax.jit(power, static_argnums=2)


@partial(jax.jit, static_argnums=(0, 4))
def features(program: Any, world: Any, done: Any, x: Any, domain: int) -> Any:
    """What a program makes of examples of a domain."""
    return program.features(world, done, {})(Inputs(x, jnp.full(x.shape[0], domain, jnp.int32)))


def data(n: int, d: int, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    labels = RNG.integers(0, classes, n)
    x = RNG.normal(size=(n, d)) + 1.2 * np.eye(classes, d)[labels] + 3
    return x.astype(np.float32), labels


@pytest.mark.parametrize(("n", "d"), [(90, 6), (30, 60)], ids=["primal", "dual"])
def test_convex_classifiers_reach_the_optima_of_scikit_learn(n: int, d: int) -> None:
    x, labels = data(n, d)
    y = np.eye(3, dtype=np.float32)[labels]
    l2, mean = 0.05, x.mean(0)
    design = np.hstack([x - mean, np.full((n, 1), classifiers.CONSTANT)])
    logistic = LogisticRegression(C=1 / (l2 * n), fit_intercept=False, tol=1e-8, max_iter=5000)
    peers = {
        "ridge": Ridge(alpha=l2 * n, fit_intercept=False).fit(design, 2 * y - 1).coef_,
        "softmax": logistic.fit(design, labels).coef_,
        "svm": LinearSVC(C=1 / (l2 * n), fit_intercept=False, tol=1e-8, max_iter=100000).fit(design, labels).coef_,
    }
    for kind, weights in peers.items():
        fitted = fit(kind, jnp.asarray(x), jnp.asarray(y), jnp.ones(n), jnp.float32(l2), False)
        logits = np.asarray(logits_of(fitted, jnp.asarray(x)))
        np.testing.assert_allclose(logits, design @ weights.T, atol=4e-3, err_msg=kind)
    near = fit("nn", jnp.asarray(x), jnp.asarray(y), jnp.ones(n), jnp.float32(l2), False)
    new, _ = data(50, d)
    said = np.asarray(logits_of(near, jnp.asarray(new))).argmax(1)
    np.testing.assert_array_equal(said, KNeighborsClassifier(1).fit(x, labels).predict(new))


def test_one_against_one_votes_as_scikit_learn_does() -> None:
    x, labels = data(90, 6, classes=4)
    l2, mean = 0.05, x.mean(0)
    design = np.hstack([x - mean, np.full((90, 1), classifiers.CONSTANT)])
    svm = LinearSVC(C=1 / (l2 * 90), fit_intercept=False, tol=1e-8, max_iter=100000)
    peer = OneVsOneClassifier(svm).fit(design, labels)
    ours = fit("svm_ovo", jnp.asarray(x), jnp.eye(4)[labels], jnp.ones(90), jnp.float32(l2), False)
    logits = np.asarray(logits_of(ours, jnp.asarray(x)))
    assert (logits.argmax(1) == peer.predict(design)).mean() > 0.98  # ties of votes are broken in another way
    margins = np.stack([one.decision_function(design) for one in peer.estimators_], axis=1)
    pairs = list(combinations(range(4), 2))
    won = np.stack([sum(np.sign(m) * ((c == b) * 1 - (c == a)) for m, (a, b) in zip(margins.T, pairs)) for c in range(4)])  # noqa: B905
    np.testing.assert_allclose(np.round(logits), won.T, atol=1)
    with pytest.raises(TransferError, match="one class per example"):
        classifiers.fit("svm_ovo", jnp.asarray(x), jnp.eye(4)[labels], jnp.ones(90), jnp.float32(l2), True)


def test_weights_of_examples_count_as_repetitions() -> None:
    x, labels = data(40, 4)
    y = np.eye(3, dtype=np.float32)[labels]
    twice = np.r_[np.arange(40), np.arange(10)]
    weight = np.where(np.arange(40) < 10, 2.0, 1.0).astype(np.float32)
    for kind in ("ridge", "softmax", "svm"):
        a = fit(kind, jnp.asarray(x), jnp.asarray(y), jnp.asarray(weight), jnp.float32(0.1), False)
        b = fit(kind, jnp.asarray(x[twice]), jnp.asarray(y[twice]), jnp.ones(50), jnp.float32(0.1), False)
        np.testing.assert_allclose(logits_of(a, jnp.asarray(x)), logits_of(b, jnp.asarray(x)), atol=2e-3, err_msg=kind)


@pytest.mark.parametrize("n", [40, 8])
def test_powers_of_a_covariance_equal_the_dense_ones(n: int) -> None:
    x = RNG.normal(size=(n, 12)) * np.linspace(0.5, 2, 12)
    dense = np.cov(x.T) + 0.7 * np.eye(12)
    values, vectors = np.linalg.eigh(dense)
    for exponent in (-0.5, 0.5):
        wanted = RNG.normal(size=(5, 12))
        moments = moments_of(jnp.asarray(x, jnp.float32))
        ours = powered(moments, jnp.asarray(wanted, jnp.float32), exponent, jnp.float32(0.7))
        np.testing.assert_allclose(ours, wanted @ (vectors * values**exponent) @ vectors.T, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("n", [40, 8], ids=["primal", "dual"])
def test_without_shrinkage_a_negative_power_is_that_of_the_pseudo_inverse(n: int) -> None:
    """The last three columns repeat others: the covariance is singular, and white data vary in its directions alone."""
    x = RNG.normal(size=(n, 9)) * np.linspace(0.5, 2, 9)
    x = np.hstack([x, x[:, :3]])
    centred = x - x.mean(0)
    values, vectors = np.linalg.eigh(np.cov(x.T))
    real = values > 1e-9 * values[-1]
    roots = (vectors[:, real] * values[real] ** -0.5) @ vectors[:, real].T
    moments = moments_of(jnp.asarray(x, jnp.float32))
    white = powered(moments, jnp.asarray(centred, jnp.float32), -0.5, jnp.float32(0.0))
    np.testing.assert_allclose(white, centred @ roots, rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(np.cov(np.asarray(white).T), vectors[:, real] @ vectors[:, real].T, atol=5e-3)
    back = powered(moments, white, 0.5, jnp.float32(0.0))
    np.testing.assert_allclose(back, centred, rtol=2e-3, atol=2e-3)


def test_leading_directions_are_those_of_the_whole_spectrum() -> None:
    x = jnp.asarray(RNG.normal(size=(60, 80)) * np.geomspace(30, 0.5, 80), jnp.float32)
    few, whole = jax.jit(leading, static_argnums=1)(x, 4, jax.random.key(0)), moments_of(x)
    np.testing.assert_allclose(few["values"], np.asarray(whole["values"])[-4:], rtol=1e-3)
    overlap = np.abs(np.asarray(few["vectors"]).T @ np.asarray(whole["vectors"])[:, -4:])
    np.testing.assert_allclose(overlap, np.eye(4), atol=0.02)


def test_convolutions_as_products_are_convolutions() -> None:
    x = jnp.asarray(RNG.normal(size=(3, 7, 6, 2)), jnp.float32)
    kernel = jnp.asarray(RNG.normal(size=(3, 3, 2, 4)), jnp.float32)

    @jax.jit
    def both(x: jax.Array, kernel: jax.Array) -> Any:
        wanted = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return (cnn.patches(x) @ kernel.reshape(18, 4), wanted), (cnn.halved(x), nnx.max_pool(x, (2, 2), (2, 2)))

    products, halves = both(x, kernel)
    np.testing.assert_allclose(*products, atol=1e-4)
    np.testing.assert_array_equal(*halves)


def test_coral_gives_the_source_the_moments_of_the_target_and_leaves_equal_domains_alone() -> None:
    world = shifted_world(scale=3.0)
    program, done = solved("coral", world, "hp.shrinkage=0.001")
    z = np.asarray(features(program, world, done, world.sources[0].train.x, 1))
    target = np.asarray(world.unlabelled)
    np.testing.assert_allclose(z.mean(0), target.mean(0), atol=0.02)
    np.testing.assert_allclose(np.cov(z.T), np.cov(target.T), atol=0.05)
    same = shifted_world(scale=1.0, shift=0.0, same=True)
    program, done = solved("coral", same, "hp.shrinkage=0.001")
    z = features(program, same, done, same.sources[0].train.x, 1)
    np.testing.assert_allclose(z, same.sources[0].train.x, atol=0.02)
    exactly, done = solved("coral", world, "hp.shrinkage=0")  # the covariance itself
    z = np.asarray(features(exactly, world, done, world.sources[0].train.x, 1))
    np.testing.assert_allclose(np.cov(z.T), np.cov(target.T), atol=1e-3)
    with_much, done = solved("coral", world, "hp.shrinkage=1e6")  # nothing but the mean moves
    z = features(with_much, world, done, world.sources[0].train.x, 1)
    centred = np.asarray(world.sources[0].train.x) - np.asarray(world.sources[0].train.x).mean(0)
    np.testing.assert_allclose(np.asarray(z) - np.asarray(z).mean(0), centred, atol=0.02)


def test_whitening_makes_both_domains_white() -> None:
    world = shifted_world(scale=3.0)
    program, done = solved("whitening", world, "hp.shrinkage=0.0001")
    for x, domain in ((world.sources[0].train.x, 1), (world.unlabelled, 0)):
        z = np.asarray(features(program, world, done, x, domain))
        np.testing.assert_allclose(np.cov(z.T), np.eye(z.shape[1]), atol=0.02)


def test_geodesic_flow_kernel_is_the_integral_over_the_path() -> None:
    d, k = 12, 4
    p_s, p_t = (np.linalg.qr(RNG.normal(size=(d, k)))[0] for _ in range(2))
    root = np.asarray(flow_root(jnp.asarray(p_s, jnp.float32), jnp.asarray(p_t, jnp.float32)))
    u, cosine, vt = np.linalg.svd(p_s.T @ p_t)
    theta = np.arccos(np.clip(cosine, -1, 1))
    start, end = p_s @ u, p_t @ vt.T
    away = (end - start * np.cos(theta)) / np.sin(theta)
    times = (np.arange(2000) + 0.5) / 2000
    path = [start * np.cos(t * theta) + away * np.sin(t * theta) for t in times]
    np.testing.assert_allclose(path[-1] @ path[-1].T, p_t @ p_t.T, atol=2e-3)
    np.testing.assert_allclose(root @ root.T, np.mean([phi @ phi.T for phi in path], axis=0), atol=1e-4)
    same = np.asarray(flow_root(jnp.asarray(p_s, jnp.float32), jnp.asarray(p_s, jnp.float32)))
    np.testing.assert_allclose(same @ same.T, p_s @ p_s.T, atol=2e-3)


def test_transfer_components_solve_the_generalised_eigenproblem() -> None:
    world = shifted_world(scale=2.0)
    _, done = solved("tca", world, "hp.mu=0.5", "method.dim=3")
    x = np.vstack([world.sources[0].train.x, world.unlabelled]).astype(np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    n, n_s = len(x), len(world.sources[0].train.x)
    kernel, e = x @ x.T, np.where(np.arange(n) < n_s, 1 / n_s, -1 / (n - n_s))
    centre = np.eye(n) - 1 / n
    values, _ = linalg.eigh(
        kernel @ centre @ kernel, kernel @ np.outer(e, e) @ kernel + 0.5 * np.eye(n), subset_by_index=[n - 3, n - 1]
    )
    w = np.asarray(done["map"][0]["w"], np.float64)
    np.testing.assert_allclose(w.T @ (kernel @ np.outer(e, e) @ kernel + 0.5 * np.eye(n)) @ w, np.eye(3), atol=1e-3)
    np.testing.assert_allclose(np.diag(w.T @ kernel @ centre @ kernel @ w), values[::-1], rtol=1e-3)


def test_subspaces_are_aligned_by_the_least_squares_map() -> None:
    world = shifted_world(scale=2.0)
    _, done = solved("subspace_alignment", world, "method.dim=3")
    map_ = {name: np.asarray(value) for name, value in done["map"][0].items()}
    best = np.linalg.lstsq(map_["p_s"], map_["p_t"], rcond=None)[0]
    np.testing.assert_allclose(map_["m"], best, atol=1e-4)


def test_sinkhorn_has_the_marginals_and_nears_the_exact_plan() -> None:
    cost = RNG.random((5, 7))
    plan = np.asarray(sinkhorn(jnp.asarray(cost, jnp.float32), jnp.float32(0.01), rounds=2000))
    np.testing.assert_allclose(plan.sum(0), np.full(7, 1 / 7), atol=1e-5)
    np.testing.assert_allclose(plan.sum(1), np.full(5, 1 / 5), atol=1e-4)
    equal = np.vstack([np.kron(np.eye(5), np.ones(7)), np.kron(np.ones(5), np.eye(7))])
    exact = optimize.linprog(cost.ravel(), A_eq=equal, b_eq=np.r_[np.full(5, 0.2), np.full(7, 1 / 7)])
    assert (plan * cost).sum() == pytest.approx(exact.fun, abs=0.01)


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("coral", ("hp.shrinkage=0.01",)),
        ("whitening", ("hp.shrinkage=0.01",)),
        ("ot_map", ()),
        ("subspace_alignment", ("method.dim=4", "method.classifier=svm")),
        ("linear_map", ("hp.ridge=0.1", "split.target_labels=3")),
    ],
)
def test_a_planted_shift_is_undone_where_there_is_one(method: str, settings: tuple[str, ...]) -> None:
    """Against source_only: better by far with the shift, no worse by much without."""
    for shift, gain in ((4.0, 0.15), (0.0, -0.08)):
        world = shifted_world(scale=1.0, shift=shift, few="split.target_labels=3" in settings)
        alone = accuracy(world, *solved("source_only", world, "method.classifier=svm"))
        mapped = accuracy(world, *solved(method, world, *(s for s in settings if not s.startswith("split"))))
        assert mapped > alone + gain, (method, shift, alone, mapped)


def test_importance_ratios_follow_the_density_and_are_one_for_equal_domains() -> None:
    x = RNG.normal(size=(600, 1)).astype(np.float32)
    target = (RNG.normal(size=(600, 1)) + 1).astype(np.float32)
    hp: dict[str, Any] = {"ratio_l2": jnp.float32(1e-4)}
    true = np.exp(x[:, 0] - 0.5)
    for estimate in (ratios.discriminator, ratios.kliep):
        ratio = np.asarray(jax.jit(estimate)(jnp.asarray(x), jnp.asarray(target), hp))
        assert np.corrcoef(np.log(ratio), np.log(true))[0, 1] > 0.9, estimate.__name__
        flat = np.asarray(jax.jit(estimate)(jnp.asarray(x), jnp.asarray(x[::-1].copy()), hp))
        assert np.abs(flat - 1).mean() < 0.15, estimate.__name__


def test_kernel_mean_matching_solves_its_quadratic_programme_and_matches_the_mean() -> None:
    rng = np.random.default_rng(1)
    x, target = rng.normal(size=(40, 2)), rng.normal([1.0, 0.0], size=(60, 2))
    hp: dict[str, Any] = {"clip": jnp.float32(4.0)}
    ours = jax.jit(ratios.kmm)
    w = np.asarray(ours(jnp.asarray(x, jnp.float32), jnp.asarray(target, jnp.float32), hp), np.float64)
    assert w.min() >= 0
    assert w.max() <= 4 + 1e-5
    assert w.mean() == pytest.approx(1, abs=1e-4)
    here, there = (np.square(x[:, None] - other[None]).sum(-1) for other in (x, target))
    width = np.median(there)
    kernel, wanted = np.exp(-here / width), 40 / 60 * np.exp(-there / width).sum(1)
    exact = optimize.minimize(
        lambda w: w @ kernel @ w / 2 - wanted @ w,
        np.ones(40),
        jac=lambda w: kernel @ w - wanted,
        bounds=[(0, 4)] * 40,
        constraints={"type": "eq", "fun": lambda w: w.mean() - 1},
        method="SLSQP",
    )
    assert w @ kernel @ w / 2 - wanted @ w == pytest.approx(exact.fun, rel=1e-3)
    gap = np.abs(target.mean(0) - x.mean(0))[0]
    assert np.abs(target.mean(0) - w @ x / 40)[0] < 0.5 * gap
    flat = np.asarray(ours(jnp.asarray(x, jnp.float32), jnp.asarray(x[::-1].copy(), jnp.float32), hp))
    assert np.abs(flat - 1).mean() < 0.05


def test_distances_are_zero_for_equal_samples_and_grow_with_the_shift() -> None:
    x = jnp.asarray(RNG.normal(size=(200, 5)), jnp.float32)
    other = jnp.asarray(RNG.normal(size=(200, 5)), jnp.float32)
    assert float(mmd(x, x)) == pytest.approx(0, abs=1e-5)
    assert float(coral_distance(x, x)) == pytest.approx(0, abs=1e-6)
    assert float(mmd(x, other)) < 0.02 < 0.1 < float(mmd(x, other + 2))
    assert proxy_a_distance(np.asarray(x), np.asarray(other)) < 0.4
    assert proxy_a_distance(np.asarray(x), np.asarray(other + 2)) > 1.5
    wide = jnp.asarray(RNG.normal(size=(20, 30)), jnp.float32)
    dense = np.square(np.cov(np.asarray(wide).T) - np.cov(np.asarray(wide[:15] * 2).T)).sum() / (4 * 30**2)
    assert float(coral_distance(wide, wide[:15] * 2)) == pytest.approx(dense, rel=1e-4)


def test_mixture_weights_find_the_source_that_explains() -> None:
    likelihood = np.stack([np.full(50, 0.9, np.float32), np.full(50, 0.1, np.float32)])
    assert float(shares(likelihood, jnp.ones(50))[0]) > 0.99
    np.testing.assert_allclose(shares(jnp.ones((2, 50)), jnp.ones(50)), [0.5, 0.5], atol=1e-6)
    np.testing.assert_array_equal(shares(likelihood, jnp.zeros(50)), [0.5, 0.5])  # nothing is held out


def test_sources_that_resemble_the_target_alike_count_by_their_examples() -> None:
    """Half of the target is as either source, and one of them has three times as many examples."""
    rng = np.random.default_rng(5)
    here, there = (rng.normal(side, 1, (200, 3)).astype(np.float32) for side in (-2, 2))
    y, none = np.eye(2, dtype=np.float32)[rng.integers(0, 2, 200)], np.zeros(0, np.int64)
    rows = [Rows(none, none, np.arange(200), none), *(Rows(np.arange(n), none, none, none) for n in (180, 60))]
    mixed = np.concatenate([here[100:], there[100:]])
    world = build_examples(["t", "many", "few"], [mixed, here, there], [y] * 3, rows, ("a", "b"), False).world
    np.testing.assert_allclose(resembling(world), [0.75, 0.25], atol=0.06)


def test_a_source_that_is_useless_on_the_target_gets_a_small_share() -> None:
    """Both are good at home; one is the target's kin and the other has another space and the labels turned round."""
    rng = np.random.default_rng(3)
    labels = [rng.integers(0, 2, n) for n in (80, 100, 100)]
    xs = [(rng.normal(size=(len(of), 2)) + 4 * of[:, None]).astype(np.float32) for of in labels]
    xs[2] = xs[2] * np.array([1, -1], np.float32) + np.array([0, 3], np.float32)
    ys = [np.eye(2, dtype=np.float32)[of] for of in labels[:2]] + [np.eye(2, dtype=np.float32)[1 - labels[2]]]
    none = np.zeros(0, np.int64)
    rows = [Rows(none, none, np.arange(80), np.arange(80)), *[Rows(np.arange(20, 100), np.arange(20), none, none)] * 2]
    world = build_examples(["t", "kin", "other"], xs, ys, rows, ("a", "b"), False).world
    program, done = solved("source_only", world, "method.classifier=ridge")
    assert float(done["mix"]["shares"][0]) > 0.9
    assert accuracy(world, program, done) > 0.95
    few = [Rows(np.arange(10), np.arange(10, 20), np.arange(20, 80), np.arange(20, 80)), *rows[1:]]
    world = build_examples(["t", "kin", "other"], xs, ys, few, ("a", "b"), False).world
    _, done = solved("source_only", world, "method.classifier=ridge")
    assert float(done["mix"]["shares"][0]) > 0.6, "labelled target examples say the same"


def trained(method: str, *overrides: str, shift: float = 3.0) -> tuple[Any, Any, list[Any]]:
    """A network on the shifted world, with hp.weight=0 and with what is given: world, program, parameters of both."""
    world = shifted_world(shift=shift)
    return world, *fitted(method, world, [("hp.weight=0",), overrides])


@pytest.mark.parametrize(
    ("method", "weight", "measure"),
    [("deep_coral", "30", "coral"), ("mmd", "5", "mmd"), ("jmmd", "5", "mmd"), ("jdot", "3", "mmd")],
)
def test_a_penalty_brings_the_representations_together_and_weight_zero_does_not(
    method: str, weight: str, measure: str
) -> None:
    world, program, (free, held) = trained(method, f"hp.weight={weight}")
    apart = []
    for done in (free, held):
        pairs = ((world.sources[0].train.x, 1), (world.unlabelled, 0))
        z = [features(program, world, done, x, domain) for x, domain in pairs]
        spread = np.std(np.concatenate(z), axis=0).mean() + 1e-6  # not by shrinking everything
        apart.append(distance.distances(*(np.asarray(part) / spread for part in z))[measure])
    assert apart[1] < 0.6 * apart[0], (method, apart)
    assert accuracy(world, program, held) > accuracy(world, program, free) - 0.05


def test_adaptive_normalisation_gives_each_domain_its_own_moments() -> None:
    world = shifted_world(shift=3.0)
    program, (done,) = fitted("adabn", world, [()])
    for x, domain in ((world.sources[0].train.x, 1), (world.unlabelled, 0)):
        z = np.asarray(features(program, world, done, x, domain))
        alive = z.std(0) > 0.1
        assert alive.any()
        np.testing.assert_allclose(z.mean(0), 0, atol=1e-3)
        np.testing.assert_allclose(z[:, alive].std(0), 1, atol=1e-2)
    plain, (alone,) = fitted("source_only", world, [()])
    assert accuracy(world, program, done) > accuracy(world, plain, alone) + 0.1
