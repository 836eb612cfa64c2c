"""Metrics of classes equal scikit-learn's, with padding that must not count."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from sklearn import metrics as sk

from transfer.data.examples.world import Examples, hidden
from transfer.evaluate import label_metrics as module
from transfer.tasks import classification

label_metrics, auc = jax.jit(module.label_metrics, static_argnums=3), jax.jit(module.auc)


def case(multi: bool, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits with ties, labels where the last class never occurs, and padding full of nonsense."""
    rng = np.random.default_rng(seed)
    n, classes = 203, 5
    logits = np.round(rng.normal(size=(n, classes)), 1).astype(np.float32)
    if multi:
        y = (rng.random((n, classes)) < 0.3).astype(np.float32)
        y[:, -1] = 0
    else:
        y = np.eye(classes, dtype=np.float32)[rng.integers(0, classes - 1, n)]
    logits[np.arange(n), y.argmax(1)] += 1
    weight = np.ones(n + 40, np.float32)
    weight[n:] = 0
    return (
        np.vstack([logits, 9 * np.ones((40, classes), np.float32)]),
        np.vstack([y, np.ones((40, classes), np.float32)]),
        weight,
    )


@pytest.mark.parametrize("multi", [False, True])
def test_metrics_equal_scikit_learn(multi: bool) -> None:
    logits, y, weight = case(multi)
    ours = label_metrics(logits, y, weight, multi)
    n = int(weight.sum())
    logits, y = logits[:n], y[:n]
    occurs = [0, 1, 2, 3]
    if multi:
        p = 1 / (1 + np.exp(-logits.astype(np.float64)))
        said = (logits > 0).astype(int)
        wanted = {
            "accuracy": sk.accuracy_score(y, said),
            "balanced_accuracy": sk.recall_score(y, said, average=None, zero_division=0)[occurs].mean(),
            "log_loss": np.mean([sk.log_loss(y[:, c], p[:, c], labels=[0, 1]) for c in range(5)]),
            "auc": np.mean([sk.roc_auc_score(y[:, c], logits[:, c]) for c in occurs]),
        }
    else:
        p = np.exp(logits.astype(np.float64))
        p /= p.sum(1, keepdims=True)
        truth, said = y.argmax(1), p.argmax(1)
        wanted = {
            "accuracy": sk.accuracy_score(truth, said),
            "balanced_accuracy": sk.recall_score(truth, said, labels=occurs, average="macro"),
            "log_loss": sk.log_loss(truth, p, labels=range(5)),
            "auc": np.mean([sk.roc_auc_score(truth == c, p[:, c].astype(np.float32)) for c in occurs]),
        }
        y, said = truth, said
    wanted["macro_f1"] = sk.f1_score(y, said, labels=occurs, average="macro")
    wanted["micro_f1"] = sk.f1_score(y, said, average="micro")
    for name, value in wanted.items():
        assert float(ours[name]) == pytest.approx(value, abs=2e-5), name
    confidence, right = (p.ravel(), y.ravel()) if multi else (p.max(1), (said == y).astype(float))
    bins = np.ceil(confidence * 15)
    error = sum(abs((confidence - right)[bins == b].sum()) for b in np.unique(bins)) / len(confidence)
    assert float(ours["calibration_error"]) == pytest.approx(error, abs=2e-5)


def test_auc_counts_ties_half_and_ignores_padding() -> None:
    score, y = jnp.array([1.0, 1.0, 2.0, 0.0, 5.0]), jnp.array([1.0, 0.0, 1.0, 0.0, 1.0])
    assert float(auc(score, y, jnp.array([1.0, 1.0, 1.0, 1.0, 0.0]))) == pytest.approx(3.5 / 4)
    assert float(auc(jnp.zeros(4), jnp.array([1.0, 0.0, 1.0, 0.0]), jnp.ones(4))) == 0.5


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("scale", [1.0, 400.0])
def test_auc_ranks_by_logits_where_probabilities_are_0_or_1_in_float32(classes: int, scale: float) -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, classes, 300)
    logits = (scale * (rng.normal(size=(300, classes)) + 0.7 * np.eye(classes)[truth])).astype(np.float32)
    exact = logits.astype(np.float64)
    others = [special.logsumexp(np.delete(exact, c, axis=1), axis=1) for c in range(classes)]
    wanted = np.mean([sk.roc_auc_score(truth == c, exact[:, c] - others[c]) for c in range(classes)])
    y = jnp.eye(classes)[truth]
    assert float(label_metrics(logits, y, jnp.ones(300), False)["auc"]) == pytest.approx(wanted, abs=1e-5)
    p = special.softmax(logits, axis=1)
    saturated = np.mean([sk.roc_auc_score(truth == c, p[:, c]) for c in range(classes)])
    assert (abs(saturated - wanted) > 0.01) == (scale > 1), "the control: probabilities would not do"


def test_a_sure_and_wrong_classifier_is_told_from_a_modest_one() -> None:
    y = np.eye(2, dtype=np.float32)[[0, 1, 0, 1]]
    wrong = label_metrics(8 * (1 - y), y, jnp.ones(4), False)
    assert float(wrong["accuracy"]) == 0.0
    assert float(wrong["calibration_error"]) == pytest.approx(1.0, abs=1e-3)
    modest = label_metrics(jnp.zeros((4, 2)), y, jnp.ones(4), False)
    assert float(modest["calibration_error"]) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("multi", [False, True])
def test_values_by_example_are_those_behind_the_metrics(multi: bool) -> None:
    """1,501 examples lie in two chunks with a padded row, which has no value of its own and moves no mean."""
    rng = np.random.default_rng(1)
    n, classes = 1501, 3
    logits = rng.normal(size=(n, classes)).astype(np.float32)
    y = (rng.random((n, classes)) < 0.4).astype(np.float32) if multi else np.eye(3, dtype=np.float32)[np.arange(n) % 3]
    part = hidden([(0, Examples(logits, y, multi))], multi)  # type: ignore[arg-type]
    assert part.weight.size == n + 1
    said = partial(classification.predict, lambda inputs: inputs.x)
    means, rows = jax.jit(lambda part: classification.measure(said(part), part))(part)
    whole = jax.jit(lambda part: classification.evaluate(lambda inputs: inputs.x, part, every=True))(part)
    assert means == whole
    rows = {name: values[:n] for name, values in rows.items()}  # padding is last
    said = logits > 0 if multi else np.eye(3)[logits.argmax(1)]
    np.testing.assert_array_equal(rows["accuracy"], (said == y).all(1))
    p = 1 / (1 + np.exp(-logits)) if multi else np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    right = np.where(y == 1, p, 1 - p) if multi else p[y == 1][:, None]
    np.testing.assert_allclose(rows["log_loss"], -np.log(right).mean(1), rtol=1e-4)
