"""Scores of a classifier that need no target label, all of them higher where the model should be better. NumPy.

They judge a model by what it says of target examples, and by its errors on labelled examples that the sources hold out.
With several labels per example every class is a yes or no, an error is the share of wrong ones, an entropy their mean.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
TEMPERATURE = 0.05  # of soft neighbourhoods (Saito et al. 2021)
MIXED = 0.55  # share of the first of two examples (Hu et al. 2023)


class Pairs(NamedTuple):
    """Target examples mixed with partners, x = MIXED x_i + (1 - MIXED) x_j: logits [n, classes], partner int [n]."""

    logits: Array
    partner: NDArray[np.int64]


def entropy(logits: Array, multi_label: bool) -> float:
    """-mean_i H(p_i): a model is trusted that is sure of the target's examples (Morerio et al. 2018)."""
    from scipy.special import expit, log_softmax  # late, as below: every run imports this file, and few have a use for it

    if multi_label:
        p = expit(logits)
        return float(np.mean(_plogp(p) + _plogp(1 - p)))
    log_p = log_softmax(logits, axis=1)
    return float(np.mean(np.sum(np.exp(log_p) * log_p, axis=1)))


def soft_neighbourhood_density(logits: Array, multi_label: bool) -> float:
    """mean_i H(q_i), q_ij = softmax_{j ≠ i}(p̂_i · p̂_j / TEMPERATURE), p̂ = p / |p| (Saito et al. 2021).

    High where examples have many neighbours that are predicted like them.
    """
    from scipy.special import expit, softmax

    p = expit(logits) if multi_label else softmax(logits, axis=1)
    p = p / np.maximum(np.linalg.norm(p, axis=1, keepdims=True), 1e-12)
    near = p @ p.T / TEMPERATURE
    np.fill_diagonal(near, -np.inf)
    q = softmax(near, axis=1)
    return float(-np.mean(np.sum(_plogp(q), axis=1)))


def mixval(logits: Array, within: Pairs, between: Pairs, multi_label: bool) -> float:
    """The share of mixed examples that are predicted like the larger part of them, mean of two (Hu et al. 2023).

    within: partners that are predicted alike; between: partners that are not. No pair of a kind counts as 0.
    """
    said = decided(logits, multi_label)
    shares = []
    for pairs, same in ((within, True), (between, False)):
        alike = np.all(said == said[pairs.partner], axis=1)
        kept = alike if same else ~alike
        right = np.all(decided(pairs.logits, multi_label) == said, axis=1)
        shares.append(float(right[kept].mean()) if kept.any() else 0.0)
    return float(np.mean(shares))


def density_ratio(source: Array, target: Array, held: Array) -> Array:
    """w(z) = p_target(z) / p_source(z) of held-out source examples: held [m, d] -> [m].

    From a logistic regression that tells source [s, d] and target [n, d] apart (Bickel et al. 2007):
    w = (s / n) P(target | z) / P(source | z). Columns are standardised and divided by √d; the penalty is |v|² / 2
    beside the sum of log losses. More columns than rows are rotated into the space of the rows, which changes nothing.
    """
    from sklearn.linear_model import LogisticRegression

    both = np.concatenate([source, target])
    mean, scale = both.mean(axis=0), (both.std(axis=0) + 1e-6) * np.sqrt(both.shape[1])
    z = (np.concatenate([both, held]) - mean) / scale
    if z.shape[1] > len(z):
        values, vectors = np.linalg.eigh(z @ z.T)
        z = vectors * np.sqrt(np.maximum(values, 0.0))
    domain = np.repeat([0, 1], [len(source), len(target)])
    told = LogisticRegression(C=1.0, max_iter=5000, tol=1e-8).fit(z[: len(both)], domain)
    odds = np.exp(np.clip(told.decision_function(z[len(both) :]), -30, 30))
    return odds * len(source) / len(target)


def importance_weighted(error: Array, weight: Array) -> float:
    """-mean_i w_i ℓ_i over held-out source examples: minus the target's risk (Sugiyama et al. 2007)."""
    return float(-np.mean(weight * error))


def deep_embedded(error: Array, weight: Array) -> float:
    """-(mean w ℓ + η mean w - η), η = -Cov(w ℓ, w) / Var(w): the same with less variance (DEV, You et al. 2019)."""
    weighted = weight * error
    if len(weight) < 2 or np.var(weight) == 0:
        return importance_weighted(error, weight)
    eta = -np.cov(weighted, weight)[0, 1] / np.var(weight, ddof=1)
    return float(-(weighted.mean() + eta * weight.mean() - eta))


def label_shift(held: Array, y: Array, target: Array) -> float:
    """½ Σ_c |q_c - p_c|, the estimated distance of the shares of classes in target and source (one class per example).

    q follows from what is predicted in the target and what is confused in the source (Lipton et al. 2018):
    q_c = p_c v_c with v ≥ 0 the least squares solution of C v = r, C_kc = P_source(predicted k, true c), r_k = P_target(k).
    """
    from scipy.optimize import nnls  # takes a quarter of a second, and every run imports this file

    joint = decided(held, False).T @ y / len(y)
    predicted = decided(target, False).mean(axis=0)
    p = y.mean(axis=0)
    q = p * nnls(joint, predicted)[0]
    return float(np.abs(q / max(q.sum(), 1e-12) - p).sum() / 2)


def errors(logits: Array, y: Array, multi_label: bool) -> Array:
    """1 where the class is wrong, or the share of classes that are: [m]."""
    wrong = decided(logits, multi_label) != y
    return wrong.mean(axis=1) if multi_label else wrong.any(axis=1).astype(np.float64)


def decided(logits: Array, multi_label: bool) -> Array:
    """1 for the classes that an example is said to have, else 0: [n, classes]."""
    return ((logits > 0) if multi_label else np.eye(logits.shape[1])[logits.argmax(axis=1)]).astype(np.float64)


def _plogp(p: Array) -> Array:
    return np.where(p > 0, p * np.log(np.maximum(p, 1e-300)), 0.0)
