"""method.fusion: modalities that each know half, one that knows nothing, the weights, and each modality's own numbers."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax

from transfer.api import compose
from transfer.data.examples.modalities import joined
from transfer.data.examples.world import LoadedExamples, Rows, build_examples
from transfer.errors import TransferError
from transfer.experiment.build import build_program, build_task, replicas_of
from transfer.experiment.checks import check_settings
from transfer.experiment.measure import evaluate
from transfer.learning import fusion
from transfer.learning.permuted import permuted
from transfer.results.describe import describe_shares
from transfer.training.compiler import Compiler
from transfer.training.stages import Job, run_stages

WIDTHS = (("text", 6), ("cover", 4), ("noise", 8))
BOTH = "domain.modalities={text: pixels, cover: pixels}"  # what the configuration calls them; the worlds are planted
RIDGE = ("domain=digits_shift", "method=target_only", "method.classifier=ridge", "hp.l2=0.1", "train.progress=false")


@lru_cache(maxsize=4)
def planted(names: tuple[str, ...]) -> LoadedExamples:
    """Four classes of two bits: the text tells the first, the cover the second, each mostly; the noise neither."""
    rng, n = np.random.default_rng(1), 1200
    labels = rng.integers(0, 4, n)
    signals = {"text": 2.0 * (labels // 2) - 1, "cover": 2.0 * (labels % 2) - 1, "noise": np.zeros(n)}
    blocks = {}
    for name, width in WIDTHS:
        x = rng.normal(size=(n, width))
        x[:, 0] += 1.5 * signals[name]
        blocks[name] = [x]
    rows = np.arange(n)
    parts = Rows(rows[:120], rows[120:240], rows[:120], rows[240:])
    kept = {name: xs for name, xs in blocks.items() if name in names}
    xs, widths = joined(kept, [parts.train], "domain.modalities")
    return build_examples(["books"], xs, [np.eye(4, dtype=np.float32)[labels]], [parts], tuple("abcd"), False, widths)


def outcome(loaded: LoadedExamples, *words: str) -> tuple[float, dict[str, float], Any]:
    """Test accuracy of a run on a world, the shares of its modalities, and its parameters."""
    config = check_settings(compose([*RIDGE, *words]))
    task = build_task(config, loaded.world)
    program = build_program(config, loaded.world, task)
    run, replicas = Compiler("map", {}, {}), replicas_of([config])
    done, _ = run_stages(program, Job(task, loaded.world, "", replicas, ["0"], [0], config.train, run))
    metrics, _ = evaluate(program, task, loaded.world, done, replicas, run, run, True)
    one = jax.tree.map(lambda leaf: leaf[0], done)
    return metrics[0]["test"]["accuracy"], describe_shares(config, loaded, one).get("fusion", {}), one


@lru_cache(maxsize=8)
def of_two(how: str) -> tuple[float, dict[str, float], Any]:
    return outcome(planted(("text", "cover")), f"method.fusion={how}")


def test_late_fusion_knows_what_each_modality_knows_half_of() -> None:
    late, text, cover = (of_two(how)[0] for how in ("late", "text", "cover"))
    assert max(text, cover) < 0.55, "a half of the classes each"
    assert late > max(text, cover) + 0.25, (late, text, cover)
    assert all(0.3 < share < 0.7 for share in of_two("late")[1].values()), of_two("late")[1]


def test_a_modality_that_says_nothing_has_no_weight() -> None:
    accuracy, shares, _ = outcome(planted(("text", "cover", "noise")), "method.fusion=late")
    assert shares["noise"] < 0.1, shares
    assert accuracy > of_two("late")[0] - 0.03


def test_a_modality_whose_rows_are_swapped_is_not_used() -> None:
    accuracy, shares, _ = outcome(planted(("text", "cover")), "method.fusion=late", "method.permute=[cover]")
    assert shares["cover"] < 0.1, shares
    assert accuracy < of_two("text")[0] + 0.05


def test_early_fusion_sees_the_blocks_side_by_side_and_one_modality_its_own_alone() -> None:
    world = planted(("text", "cover")).world
    x, y = np.asarray(world.labelled.x, np.float64), np.asarray(world.labelled.y, np.float64)  # type: ignore[union-attr]

    def ridge(z: np.ndarray) -> np.ndarray:
        """(Σ z zᵀ / n + l2 I)⁻¹ Σ z yᵀ / n on centred columns and a constant of 10."""
        z = np.concatenate([z - z.mean(0), np.full((len(z), 1), 10.0)], axis=1)
        return np.linalg.solve(z.T @ z / len(z) + 0.1 * np.eye(z.shape[1]), z.T @ (2 * y - 1) / len(z))

    for how, columns in (("early", slice(0, 10)), ("text", slice(0, 6)), ("cover", slice(6, 10))):
        np.testing.assert_allclose(of_two(how)[2]["target"]["kernel"], ridge(x[:, columns]), atol=1e-4)


def test_late_fusion_has_the_program_of_each_modality_with_numbers_of_its_own() -> None:
    late = of_two("late")[2]
    assert set(late) == {"text_target", "cover_target", "fusion"}
    np.testing.assert_allclose(late["text_target"]["kernel"], of_two("text")[2]["target"]["kernel"], rtol=1e-5)
    _, _, own = outcome(planted(("text", "cover")), "method.fusion=late", BOTH, "hp.l2_cover=3")
    np.testing.assert_allclose(own["text_target"]["kernel"], late["text_target"]["kernel"], rtol=1e-5)
    held = np.linalg.norm(own["cover_target"]["kernel"]) / np.linalg.norm(late["cover_target"]["kernel"])
    assert held < 0.6, held


@pytest.mark.parametrize("multi_label", [False, True])
def test_weights_are_the_optimum_that_another_solver_finds(multi_label: bool) -> None:
    rng, n, classes = np.random.default_rng(0), 60, 5
    often = np.array([0.5, 0.2, 0.1, 0.1, 0.1])
    y = (rng.random((n, classes)) < often) if multi_label else np.eye(classes)[rng.choice(classes, n, p=often)]
    scales = np.array([[[0.01], [3.0], [50.0]]])
    z = scales * (np.stack([y, 0.5 * y, 0 * y], 1) * 2 + rng.normal(size=(n, 3, classes)))
    weight = (np.arange(n) < 50).astype(float)  # the last are padding
    f = (y[:50].sum(0) + 1) / (50 + (2 if multi_label else classes))
    base = np.log(f / (1 - f)) if multi_label else np.log(f)
    terms = np.concatenate([z, np.tile(base, (n, 1, 1))], axis=1)
    centred = terms if multi_label else terms - terms.mean(-1, keepdims=True)
    spread = np.sqrt(np.einsum("n,nmc->m", weight, centred**2) / (weight.sum() * classes))

    def objective(v: np.ndarray) -> float:
        sums = np.einsum("m,nmc->nc", v / spread, terms)
        losses = (np.logaddexp(0, sums) - y * sums).sum(1) if multi_label else -(y * log_softmax(sums, axis=1)).sum(1)
        return float(weight @ losses + fusion.PRIOR / 2 * v @ v)

    bounds = [(0, None)] * 3 + [(None, None)]
    best = minimize(objective, np.ones(4), bounds=bounds, options={"ftol": 1e-14, "gtol": 1e-9}).x
    found = fusion.weigh(*map(jnp.asarray, (z, y.astype(float), weight)), multi_label)
    np.testing.assert_allclose(found["weights"] * spread[:3], best[:3], atol=2e-3)
    np.testing.assert_allclose(found["of_classes"], best[3] / spread[3] * base, atol=4e-3)
    np.testing.assert_allclose(found["shares"], best[:3] / best[:3].sum(), atol=2e-3)
    assert best[0] > best[1] > best[2]


def test_the_frequency_of_the_classes_is_counted_once() -> None:
    """Independent given the class: Bayes' rule has the sum of log P(y | x_m) less (M - 1) log P(y); so has the optimum."""
    rng, n, f = np.random.default_rng(0), 3000, np.array([0.7, 0.2, 0.1])
    labels = rng.choice(3, n, p=f)
    x = rng.normal(size=(n, 2)) + 0.8 * np.array([-1, 0, 1])[labels][:, None]
    logits = log_softmax(np.log(f) - (x[..., None] - 0.8 * np.array([-1, 0, 1])) ** 2 / 2, axis=2)
    found = fusion.weigh(jnp.asarray(logits), jnp.eye(3)[labels], jnp.ones(n), False)
    np.testing.assert_allclose(found["weights"], [1, 1], atol=0.1)
    np.testing.assert_allclose(found["of_classes"], -np.log(f), atol=0.3)


def test_predictions_are_the_pooled_logits_with_the_term_of_the_classes() -> None:
    loaded = planted(("text", "cover"))
    config = check_settings(compose([*RIDGE, "method.fusion=late"]))
    program = build_program(config, loaded.world, build_task(config, loaded.world))
    done, hp = of_two("late")[2], {name: jnp.float32(value) for name, value in config.hp.items()}
    inputs = jax.tree.map(lambda leaf: leaf[0], loaded.world.test.inputs)
    plain = program.scores(loaded.world, done, hp)(inputs)
    moved = done | {fusion.STAGE: done[fusion.STAGE] | {"of_classes": done[fusion.STAGE]["of_classes"] + jnp.arange(4.0)}}
    found = program.scores(loaded.world, moved, hp)(inputs)
    np.testing.assert_allclose(found - plain, np.broadcast_to(np.arange(4.0), plain.shape), atol=1e-4)


def test_blocks_have_equal_variance_whatever_their_unit_and_width() -> None:
    rng = np.random.default_rng(0)
    blocks = {
        "text": [rng.normal(3, 9, (40, 5)), rng.normal(3, 9, (30, 5))],
        "cover": [rng.random((n, 2, 2, 3)) for n in (40, 30)],
    }
    fit = [np.arange(20), np.arange(30)]
    xs, widths = joined(blocks, fit, "domain.modalities")
    assert widths == (("text", 5), ("cover", 12))
    known = np.concatenate([x[rows] for x, rows in zip(xs, fit, strict=True)])
    for columns in (slice(0, 5), slice(5, 17)):
        assert known[:, columns].var(0).sum() == pytest.approx(1, abs=1e-5)
    flat = blocks["cover"][0].reshape(40, 12)
    np.testing.assert_allclose(xs[0][:, 5:] / flat, np.full((40, 12), xs[0][0, 5] / flat[0, 0]), rtol=1e-5)


def test_a_permuted_world_is_the_same_but_for_that_block() -> None:
    world = planted(("text", "cover")).world
    view = permuted(("cover",), 0)(world)
    for one, other in ((view.labelled.x, world.labelled.x), (view.test.inputs.x, world.test.inputs.x)):  # type: ignore[union-attr]
        np.testing.assert_array_equal(one[..., :6], other[..., :6])
        moved, before = (np.asarray(x[..., 6:]).reshape(-1, 4) for x in (one, other))
        assert not np.array_equal(moved, before)
        np.testing.assert_array_equal(np.sort(moved, axis=0), np.sort(before, axis=0))


@pytest.mark.parametrize(
    ("names", "words", "said"),
    [
        (("text", "cover"), ["method.fusion=tekst"], "write early, late, or one of the modalities: text, cover"),
        (("text",), ["method.fusion=late"], "weighs several modalities, and there is one"),
        (
            ("text", "cover"),
            ["method.permute=[plot]"],
            "method.permute=plot: the examples have no such modality; they have",
        ),
        (("text", "cover"), [BOTH, "hp.l2_text=1"], "hp.l2_text: method=target_only has no such number"),
        (
            ("text", "cover"),
            [BOTH, "method.fusion=late", "hp.l2_plot=1"],
            "hp.l2_plot: .* it has .*, hp.l2_text, hp.l2_cover",
        ),
        (("text", "cover"), ["domain.modalities={text: {featurs: pixels}}"], "domain.modalities.text.featurs: no such key"),
        (("text", "cover"), ["domain.modalities={text: {target: noisy}}"], "domain.modalities.text.target: no such key"),
        (("text", "cover"), ["domain.modalities={text: {words: many}}"], "domain.modalities.text.words: 'many'"),
        (("text", "cover"), ["domain.modalities={text: encoded}"], r"domain.modalities.text.?: .*write domain.encoder"),
    ],
)
def test_what_does_not_fit_is_refused(names: tuple[str, ...], words: list[str], said: str) -> None:
    with pytest.raises(TransferError, match=said) as caught:
        outcome(planted(names), *words)
    assert "\n" not in str(caught.value)


def test_modalities_are_asked_for_by_name() -> None:
    with pytest.raises(TransferError, match=r"method\.fusion=late: the examples have one view; name several"):
        outcome(one_view(), "method.fusion=late")


def one_view() -> LoadedExamples:
    xs, y = [np.zeros((20, 3), np.float32)], [np.eye(2, dtype=np.float32)[np.arange(20) % 2]]
    rows = Rows(np.arange(8), np.arange(8, 12), np.arange(8), np.arange(12, 20))
    return build_examples(["books"], xs, y, [rows], ("a", "b"), False)


def test_tokens_are_no_modality() -> None:
    with pytest.raises(TransferError, match=r"domain\.modalities\.text: tokens are no measurements"):
        joined({"text": [np.zeros((3, 4), np.int32)]}, [np.arange(3)], "domain.modalities")
