"""Choosing without target labels: every score equals a naive reimplementation, twice, and sweeps choose by it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import optimize
from sklearn.linear_model import Ridge
from sweeps import write_run

from transfer.api import compose
from transfer.config import selection
from transfer.data.examples.world import evenly_spaced
from transfer.errors import TransferError
from transfer.evaluate import selectors
from transfer.evaluate.selectors import Pairs
from transfer.experiment import Result, run_batch
from transfer.report.comparison.compare import compare
from transfer.report.comparison.runs import read_runs
from transfer.report.page.words import lead
from transfer.solvers.classifiers import CONSTANT
from transfer.sweep.hydra_jobs import objective

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(40, 3)) * 2
WORDS = ("domain=digits_shift", "method=source_only", "method.classifier=ridge", "hp.l2=0.1", "split.per_class=20")


def softmax(row: Any) -> Any:
    return np.exp(row - max(row)) / np.exp(row - max(row)).sum()


def naive_entropy(logits: Any) -> float:
    total = 0.0
    for row in logits:
        for p in softmax(row):
            total += p * np.log(p)
    return total / len(logits)


def naive_density(logits: Any) -> float:
    rows = [softmax(row) / np.linalg.norm(softmax(row)) for row in logits]
    total = 0.0
    for i, one in enumerate(rows):
        q = softmax(np.array([one @ other / 0.05 for j, other in enumerate(rows) if j != i]))
        total -= sum(p * np.log(p) for p in q if p > 0)
    return total / len(rows)


def naive_mixval(logits: Any, pairs: tuple[Pairs, Pairs]) -> float:
    said, shares = [int(np.argmax(row)) for row in logits], []
    for of, same in zip(pairs, (True, False), strict=True):
        kept = [i for i, j in enumerate(of.partner) if (said[i] == said[j]) == same]
        shares.append(np.mean([np.argmax(of.logits[i]) == said[i] for i in kept]) if kept else 0.0)
    return float(np.mean(shares))


def test_entropy_and_density_by_hand() -> None:
    assert selectors.entropy(LOGITS, False) == pytest.approx(naive_entropy(LOGITS), rel=1e-9)
    assert selectors.soft_neighbourhood_density(LOGITS, False) == pytest.approx(naive_density(LOGITS), rel=1e-9)
    p = 1 / (1 + np.exp(-LOGITS))
    binary = np.mean([[q * np.log(q) + (1 - q) * np.log(1 - q) for q in row] for row in p])
    assert selectors.entropy(LOGITS, True) == pytest.approx(binary, rel=1e-9)
    sure = 50 * np.eye(3)[LOGITS.argmax(1)]
    assert selectors.entropy(sure, False) > selectors.entropy(LOGITS, False)
    assert selectors.entropy(sure, False) == pytest.approx(0, abs=1e-9)


def test_mixed_examples_by_hand() -> None:
    mixed = [Pairs(LOGITS + RNG.normal(size=LOGITS.shape), RNG.permutation(len(LOGITS))) for _ in range(2)]
    got = selectors.mixval(LOGITS, mixed[0], mixed[1], False)
    assert got == pytest.approx(naive_mixval(LOGITS, (mixed[0], mixed[1])))
    assert 0 < got < 1
    collapsed = LOGITS + np.array([100.0, 0, 0])
    assert selectors.mixval(collapsed, *(Pairs(collapsed, of.partner) for of in mixed), False) == 0.5, "one class for all"


@pytest.mark.parametrize("d", [4, 200], ids=["few columns", "more columns than rows"])
def test_the_density_ratio_is_that_of_a_logistic_regression(d: int) -> None:
    source, target, held = RNG.normal(size=(50, d)), RNG.normal(size=(30, d)) + 0.5, RNG.normal(size=(20, d))
    both = np.vstack([source, target])
    mean, scale = both.mean(0), (both.std(0) + 1e-6) * np.sqrt(d)
    x, sign = (both - mean) / scale, np.repeat([-1.0, 1.0], [50, 30])

    def loss(v: Any) -> Any:
        margin = sign * (x @ v[:-1] + v[-1])
        slope = -sign / (1 + np.exp(margin))
        return np.logaddexp(0, -margin).sum() + v[:-1] @ v[:-1] / 2, np.append(x.T @ slope + v[:-1], slope.sum())

    v = optimize.minimize(loss, np.zeros(d + 1), jac=True, tol=1e-12).x
    odds = np.exp((held - mean) / scale @ v[:-1] + v[-1])
    np.testing.assert_allclose(selectors.density_ratio(source, target, held), odds * 50 / 30, rtol=1e-3)


def test_weighted_risks_by_hand() -> None:
    weight, error = RNG.gamma(2.0, size=200), RNG.integers(0, 2, 200).astype(float)
    risk = sum(w * e for w, e in zip(weight, error, strict=True)) / 200
    assert selectors.importance_weighted(error, weight) == pytest.approx(-risk)
    wl = [w * e for w, e in zip(weight, error, strict=True)]
    mean_w, mean_l = sum(weight) / 200, sum(wl) / 200
    cov = sum((a - mean_l) * (w - mean_w) for a, w in zip(wl, weight, strict=True)) / 199
    eta = -cov / (sum((w - mean_w) ** 2 for w in weight) / 199)
    assert selectors.deep_embedded(error, weight) == pytest.approx(-(mean_l + eta * mean_w - eta))
    assert selectors.deep_embedded(error, np.ones(200)) == pytest.approx(-error.mean()), "nothing to correct"


def test_a_planted_label_shift_is_found_and_none_where_there_is_none() -> None:
    def sample(shares: list[float], n: int) -> tuple[Any, Any]:
        labels = RNG.choice(3, n, p=shares)
        said = np.where(RNG.random(n) < 0.2, RNG.integers(0, 3, n), labels)  # a fifth is guessed
        return np.eye(3)[said], np.eye(3)[labels]

    held, y = sample([1 / 3, 1 / 3, 1 / 3], 4000)
    moved, same = sample([0.7, 0.2, 0.1], 4000)[0], sample([1 / 3, 1 / 3, 1 / 3], 4000)[0]
    assert selectors.label_shift(held, y, moved) == pytest.approx(0.7 - 1 / 3, abs=0.04)
    assert selectors.label_shift(held, y, same) < 0.04


@cache
def outcome(*words: str) -> Result:
    return run_batch([compose([*WORDS, *words])])[0]


def naive_ridge(x: Any, y: Any) -> Any:
    """The classifier `ridge` by scikit-learn: a function from inputs to logits."""
    mean = x.mean(0)
    design = lambda z: np.hstack([z - mean, np.full((len(z), 1), CONSTANT)])  # noqa: E731
    fitted = Ridge(alpha=0.1 * len(x), fit_intercept=False).fit(design(x), 2 * y - 1)
    return lambda z: fitted.predict(design(z))


def test_a_run_says_what_the_naive_selectors_say_and_says_it_twice() -> None:
    result = outcome()
    found, world = result.facts["selectors"], result.predictor.loaded.world
    assert set(found) == {"source_valid", "importance_weighted", "dev", "entropy", "snd", "mixval"}
    assert run_batch([compose(list(WORDS))])[0].facts["selectors"] == found
    side, x = world.sources[0], np.asarray(evenly_spaced(world.unlabelled)).reshape(-1, 64).astype(np.float64)
    train = np.asarray(side.train.x).reshape(-1, 64)
    model = naive_ridge(train, np.asarray(side.train.y))
    logits = model(x)
    assert found["entropy"] == pytest.approx(naive_entropy(logits), rel=1e-3)
    assert found["snd"] == pytest.approx(naive_density(logits), rel=1e-3)
    order, pairs = np.argsort(logits.argmax(1), kind="stable"), []
    for shift in (1, len(x) // 2):
        partner = np.empty(len(x), int)
        partner[order] = np.roll(order, -shift)
        pairs.append(Pairs(model(0.55 * x + 0.45 * x[partner]), partner))
    assert found["mixval"] == pytest.approx(naive_mixval(logits, (pairs[0], pairs[1])), abs=0.005)
    held = np.asarray(side.stop.inputs.x).reshape(-1, 64)[: side.stop.n_events]
    truth = np.asarray(side.stop.y).reshape(-1, 10)[: side.stop.n_events].argmax(1)
    wrong = (model(held).argmax(1) != truth).astype(float)
    assert found["source_valid"] == pytest.approx(1 - wrong.mean(), abs=1e-6)
    # this method has a map, so a space of its own: the inputs as they are
    ratio = selectors.density_ratio(np.asarray(evenly_spaced(side.train.x)).reshape(-1, 64), x, held)
    assert found["importance_weighted"] == pytest.approx(-np.mean(ratio * wrong), rel=1e-3, abs=1e-6)
    assert found["dev"] == pytest.approx(selectors.deep_embedded(wrong, ratio), rel=1e-3, abs=1e-6)


def test_reverse_validation_by_hand_and_the_same_twice() -> None:
    result = outcome("select=reverse", "test=false")
    world = result.predictor.loaded.world
    side, x = world.sources[0], np.asarray(world.unlabelled).reshape(-1, 64)
    forward = naive_ridge(np.asarray(side.train.x).reshape(-1, 64), np.asarray(side.train.y))
    pseudo = np.eye(10)[forward(x).argmax(1)]
    kept = np.arange(len(x)) % 10 != 0
    back = naive_ridge(x[kept], pseudo[kept])
    held = np.asarray(side.stop.inputs.x).reshape(-1, 64)[: side.stop.n_events]
    truth = np.asarray(side.stop.y).reshape(-1, 10)[: side.stop.n_events].argmax(1)
    value = result.facts["selectors"]["reverse"]
    assert value == pytest.approx(float((back(held).argmax(1) == truth).mean()), abs=0.026)  # one of 40 may be a tie
    assert result.objective == value
    assert run_batch([compose([*WORDS, "select=reverse", "test=false"])])[0].facts["selectors"]["reverse"] == value


def test_the_oracle_reads_test_labels_even_while_tuning_and_says_so() -> None:
    result = outcome("select=oracle", "test=false")
    assert "test" not in result.metrics
    assert result.objective == pytest.approx(outcome().metrics["test"]["accuracy"])
    assert "not honest" in selection.spoken(result.facts)


def test_a_diverged_run_has_no_scores_and_leaves_the_others_alone() -> None:
    words = [*WORDS[:2], "split.per_class=20", "model=mlp", "train.epochs=2", "train.progress=false"]
    lost, fine = run_batch([compose([*words, f"hp.learning_rate={rate}"]) for rate in ("1e38", "0.01")])
    assert (lost.status, fine.status) == ("diverged", "done")
    assert "selectors" not in lost.facts
    assert np.isnan(lost.objective)
    assert np.isfinite(list(fine.facts["selectors"].values())).all()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("domain.users=100", "select=dev"), "write select=oracle"),
        (("domain=digits_shift", "split=few_labels", "method=coral", "select=entropy"), "select=entropy is for classes"),
        (("domain=digits_shift", "method=coral", "split.stop=0", "select=dev"), "raise split.stop"),
        (("domain=digits_shift", "method=coral", "select=luck"), "select: 'luck'"),
    ],
)
def test_a_selector_that_cannot_judge_is_refused_in_a_line(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(TransferError, match=said) as caught:
        run_batch([compose(list(words))])
    assert "\n" not in str(caught.value)


def sweep(folder: Path, by: str) -> list[Any]:
    """Three strengths of coral: validation prefers the first, snd the second, the test the third."""
    for number, (test, snd) in enumerate([(0.3, 1.0), (0.5, 3.0), (0.8, 2.0)]):
        facts = {"metrics": {"valid": {"accuracy": 0.9 - number / 10}, "test": {"accuracy": test}}}
        scores = {"snd": snd, "entropy": -1.0, "oracle": test}
        write_run(
            folder / str(number), f"hp.l2={number + 1}.0", f"select={by}", values=[test] * 120, task="classification",
            select={"metric": "accuracy", "sign": 1, "by": by}, selectors=scores, **facts,
        )  # fmt: skip
    return read_runs(folder)


@pytest.mark.parametrize(("by", "best"), [("valid", "1.0"), ("snd", "2.0"), ("oracle", "3.0")])
def test_sweepers_and_tables_choose_by_the_same_score(by: str, best: str, tmp_path: Path) -> None:
    runs = sweep(tmp_path, by)
    (found,) = compare(runs)
    assert [one.values["hp.l2"] for one in found.best] == [float(best)]
    scores = [objective(tmp_path / str(number)) for number in range(3)]
    assert int(np.argmax(scores)) == int(float(best)) - 1
    assert any("not honest" in sentence for sentence in lead(found)) == (by == "oracle")
