"""method.guard: a harmful source leaves target_only, a helpful one keeps its gain; shares are chosen as by hand."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from transfer.api import compose
from transfer.data.examples.world import LoadedExamples, Rows, build_examples
from transfer.errors import TransferError
from transfer.experiment.build import build_program, build_task, replicas_of
from transfer.experiment.checks import check_settings
from transfer.experiment.measure import evaluate
from transfer.experiment.run import load_run, run_batch
from transfer.learning import guard
from transfer.methods.baselines import target_only
from transfer.results.describe import describe_guard
from transfer.training.compiler import Compiler
from transfer.training.stages import Job, run_stages

RIDGE = ("domain=digits_shift", "method.classifier=ridge", "hp.l2=0.1", "train.progress=false")


@lru_cache(maxsize=8)
def labelled_world(*wrong: bool, seed: int = 0, few: int = 60) -> LoadedExamples:
    """Three overlapping classes; a source for every flag, like the target but with wrong labels where it says so."""
    rng, n = np.random.default_rng(seed), 900
    labels = [rng.integers(0, 3, n) for _ in range(1 + len(wrong))]
    xs = [(rng.normal(size=(n, 20)) + 1.5 * np.eye(3, 20)[of]).astype(np.float32) for of in labels]
    said = [labels[0], *((of + 1) % 3 if flipped else of for of, flipped in zip(labels[1:], wrong, strict=True))]
    rows, none = np.arange(n), np.zeros(0, np.int64)
    target = Rows(rows[:few], rows[few : 2 * few], rows, rows[2 * few :])
    source = Rows(rows[:-40], rows[-40:], none, none)
    names = ["target", *(f"source {i}" for i in range(len(wrong)))]
    ys = [np.eye(3, dtype=np.float32)[of] for of in said]
    return build_examples(names, xs, ys, [target, *[source] * len(wrong)], ("a", "b", "c"), False)


def outcome(loaded: LoadedExamples, *words: str) -> tuple[float, dict[str, float]]:
    """Test accuracy of a run on a world, and the shares that its guard chose."""
    config = check_settings(compose([*RIDGE, *words]))
    task = build_task(config, loaded.world)
    program = build_program(config, loaded.world, task)
    run, replicas = Compiler("map", {}, {}), replicas_of([config])
    done, _ = run_stages(program, Job(task, loaded.world, "", replicas, ["0"], [0], config.train, run))
    metrics, _ = evaluate(program, task, loaded.world, done, replicas, run, run, True)
    one = jax.tree.map(lambda leaf: leaf[0], done)
    return metrics[0]["test"]["accuracy"], describe_guard(config, loaded, one).get("guard", {}).get("weights", {})


def test_a_source_with_wrong_labels_is_shut_out_and_a_good_one_keeps_its_gain() -> None:
    noise, gain = 0.03, 0.05
    for wrong in (True, False):
        loaded = labelled_world(wrong)
        alone, _ = outcome(loaded, "method=target_only")
        none, _ = outcome(loaded, "method=source_only")
        gate, shares = outcome(loaded, "method=source_only", "method.guard=gate", "+hp.alone_l2=0.1")
        assert sum(shares.values()) == pytest.approx(1)
        if wrong:
            assert none < alone - gain, "without a guard the source hurts"
            assert gate > alone - noise
            assert shares["target_only"] >= 0.8
        else:
            assert none > alone + gain, "the source has something to give"
            assert gate > none - noise
            assert shares["source_only"] >= 0.5


def test_weights_tell_the_good_source_from_the_bad_one() -> None:
    loaded = labelled_world(True, False)
    alone, _ = outcome(loaded, "method=target_only")
    guarded, shares = outcome(loaded, "method=coral", "method.guard=weights", "+hp.alone_l2=0.1")
    assert shares["source 1"] > 0.5
    assert shares["source 0"] <= 0.1
    assert guarded > alone + 0.05
    both, shares = outcome(labelled_world(True, True), "method=coral", "method.guard=weights", "+hp.alone_l2=0.1")
    assert shares["target_only"] >= 0.8
    assert both > alone - 0.03


READERS = (
    *(
        "task=ranking",
        "task.k=[10]",
        "split=ratio",
        "domain.users=600",  # of fewer two trainings of the reference differ by more than the bounds below
        "domain.source_items=100",
        "domain.target_items=100",
    ),
    *("model.dim=16", "train.epochs=20", "train.batch_size=512", "train.progress=false", "domain.correlation=0"),
)


def test_readers_with_an_unrelated_taste_in_the_source_do_not_hurt(tmp_path: Path) -> None:
    """Neighbours that are films for the most part: a loss where tastes are unrelated."""
    films, gate = ("method=item_knn", "hp.source_weight=3"), ("method.guard=gate", "hp.alone_learning_rate=0.01")
    runs = {"alone": ("method=target_only", "hp.learning_rate=0.01"), "none": films, "gate": (*films, *gate)}
    results = {name: run_batch([compose([*READERS, *words])], [tmp_path / name])[0] for name, words in runs.items()}
    test = {name: result.metrics["test"]["ndcg@10"] for name, result in results.items()}
    assert test["none"] < test["alone"] - 0.02
    assert test["gate"] > test["alone"] - 0.005
    kept = load_run(tmp_path / "gate")
    assert kept.facts["guard"]["kind"] == "gate"
    assert set(kept.facts["guard"]["weights"]) == {"target_only", "item_knn"}
    users = kept.predictor.loaded.users[:5]  # type: ignore[union-attr]
    again = kept.predictor.score(users)  # type: ignore[union-attr, arg-type]
    np.testing.assert_allclose(again, results["gate"].predictor.score(users), rtol=1e-4)  # type: ignore[union-attr, arg-type]


def test_a_share_of_one_gives_the_program_itself_and_ratings_mix_in_proportion() -> None:
    scores = [jnp.array([[1.0, 5.0, 3.0]]), jnp.array([[40.0, 20.0, 10.0]])]
    programs: list[Any] = [lambda _, s=s: s for s in scores]
    for task in ("rating", "ranking", "classification"):
        for i in range(2):
            got = guard.mixture_scores(programs, jnp.eye(2)[i], task, labelled_world(True).world)(None)
            np.testing.assert_array_equal(got, scores[i])
    half = guard.mixture_scores(programs, jnp.array([0.25, 0.75]), "rating", None)(None)
    np.testing.assert_allclose(half, 0.25 * scores[0] + 0.75 * scores[1], rtol=1e-6)
    ranked = np.asarray(guard.mixture_scores(programs, jnp.array([0.25, 0.75]), "ranking", None)(None))
    by_hand = sum(w * (s - s.mean()) / s.std() for w, s in zip((0.25, 0.75), map(np.asarray, scores), strict=True))
    np.testing.assert_allclose(ranked, by_hand, rtol=1e-5)


def test_shares_are_the_best_of_the_grid_and_ties_stay_with_the_target() -> None:
    best = np.array([0.3, 0.7])
    found = guard.choose_shares(lambda w: -jnp.sum(jnp.square(w - best)), 2, 1)
    np.testing.assert_allclose(found, best, atol=1e-6)
    np.testing.assert_array_equal(guard.choose_shares(lambda w: jnp.float32(1), 3, 4), [1, 0, 0])
    np.testing.assert_array_equal(guard.choose_shares(lambda w: jnp.where(w[0] < 1, jnp.nan, 0.0), 2, 1), [1, 0])
    np.testing.assert_array_equal(guard.choose_shares(lambda w: w[2], 3, 4), [0, 0, 1])


def test_the_numbers_of_target_only_are_its_own() -> None:
    config = compose(["task=ranking", "method=cmf", "method.guard=gate", "hp.learning_rate=0.5", "+hp.alone_l2=7"])
    seen = guard._reference_numbers(config, target_only.HP)({**config.hp, "dropout": 0.2})
    assert seen["learning_rate"] == pytest.approx(target_only.HP["learning_rate"].default)
    assert (seen["l2"], seen["dropout"]) == (7, 0.2)


def test_a_method_that_sees_no_source_has_nothing_to_be_guarded_against() -> None:
    words = ("domain.users=100", "method=popularity", "task=ranking")
    plain, same = (run_batch([compose([*words, *more])])[0] for more in ((), ("method.guard=gate",)))
    assert "guard" not in same.facts
    assert same.metrics == plain.metrics


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("domain=digits_shift", "method=coral", "method.guard=gate"), "set split.target_labels=5"),
        (("task=ranking", "method=cmf", "method.guard=weights"), "there is one; write method.guard=gate"),
        (("method=cmf", "method.guard=fence"), "method.guard"),
    ],
)
def test_a_guard_that_cannot_fit_is_refused_in_a_line(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(TransferError, match=said) as caught:
        run_batch([compose(["domain.users=100" if "domain=digits_shift" not in words else "seed=0", *words])])
    assert "\n" not in str(caught.value)
