"""The training loop: replicas in all three modes, early stopping, divergence, frozen leaves, random streams."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import Any, NamedTuple
from zlib import crc32

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from planted import tiny

from transfer.api import compose
from transfer.config.schema import Config, Train
from transfer.errors import TransferError
from transfer.experiment import Result, run_batch
from transfer.experiment.build import load_world
from transfer.experiment.checks import check_settings
from transfer.program import Fit, Program, Rate, Replicas, Solve, Task, Turn, stream
from transfer.training.compiler import Compiler
from transfer.training.stages import Job, run_stages, selected

# XLA's quickest programs round otherwise for another number of replicas, and here bits are compared.
pytestmark = pytest.mark.usefixtures("full_compile")
MODES = ("map", "vmap", "loop")
GOAL, PER_EPOCH = 10.0, 3  # of the toy: where its loss leads, and how many steps make an epoch


class Toy(NamedTuple):
    """Gradient descent on (w - GOAL)² while validation likes w = hp.turn best: all of it can be done by hand."""

    turn: float
    learning_rate: float = 0.02
    noise: float = 0.0
    seed: int = 0


def toy_stage(name: str = "toy", count: Callable[[], None] = lambda: None, frozen: bool = False) -> Fit:
    def loss(params: Any, done: Any, batch: Any, hp: Any, key: jax.Array, progress: jax.Array) -> jax.Array:
        count()
        shaken = params["w"] + hp["noise"] * jax.random.normal(key)
        return jnp.square(shaken - GOAL) + jnp.square(params["kept"] - batch)

    return Fit(
        name,
        init=lambda world, done, key: {"w": jnp.float32(0), "kept": jnp.float32(3)},
        batch=lambda world, done, key: world,
        loss=loss,
        size=lambda world: PER_EPOCH,
        scores=lambda world, done, hp: -jnp.square(done[name]["w"] - hp["turn"]),
        heldout=lambda world: None,
        optimizer=lambda hp: optax.sgd(hp["learning_rate"]),
        rates=(lambda params: {"w": Rate(), "kept": Rate(0.0)}) if frozen else None,
    )


TOY_TASK = Task(
    select="score",
    sign=1,
    batch=None,  # type: ignore[arg-type]
    loss=None,  # type: ignore[arg-type]
    evaluate=lambda scores, heldout: {"score": scores},
    predict=None,  # type: ignore[arg-type]
    measure=None,  # type: ignore[arg-type]
    rows=None,  # type: ignore[arg-type]
)


def fit_toys(
    *toys: Toy,
    stages: tuple[Fit | Solve, ...] = (),
    mode: str = "map",
    epochs: int = 40,
    patience: int = 3,
    keep: str = "best",
) -> tuple[Any, Any]:
    train = Train(
        epochs=epochs,
        batch_size=1,
        evaluate_every=1,
        patience=patience,
        keep=keep,  # type: ignore[arg-type]
        replicas=mode,
        checkpoint_seconds=0.0,
        progress=False,
    )
    keys = jax.vmap(jax.random.key)(jnp.array([toy.seed for toy in toys], jnp.uint32))
    hp = {name: jnp.array([getattr(toy, name) for toy in toys], jnp.float32) for name in ("turn", "learning_rate", "noise")}
    program = Program(stages or (toy_stage(),), scores=lambda world, done, hp: None)  # type: ignore[arg-type,return-value]
    run = Compiler(mode, {}, {})
    ids = [str(i) for i in range(len(toys))]
    seeds = [toy.seed for toy in toys]
    job = Job(TOY_TASK, jnp.float32(1), "", Replicas(keys, hp), ids, seeds, train, run)
    done, records = run_stages(program, job)
    return jax.device_get(done), records


def by_hand(toy: Toy, epochs: int = 40, patience: int = 3) -> tuple[list[float], float]:
    """The validation scores of every epoch until the early stop, and the best w, in NumPy."""
    w, best, waited, scores = np.float32(0), (-np.inf, np.float32(0)), 0, []
    for _ in range(epochs):
        for _ in range(PER_EPOCH):
            w = np.float32(w - np.float32(toy.learning_rate) * 2 * (w - np.float32(GOAL)))
        scores.append(-float((w - toy.turn) ** 2))
        waited = 0 if scores[-1] > best[0] else waited + 1
        best = max(best, (scores[-1], w))
        if waited == patience:
            break
    return scores, float(best[1])


@pytest.mark.parametrize("mode", MODES)
def test_fit_does_what_is_done_by_hand(mode: str) -> None:
    toys = [Toy(turn=3.0), Toy(turn=8.0), Toy(turn=50.0), Toy(turn=3.0, learning_rate=0.05), Toy(turn=-1.0)]
    done, records = fit_toys(*toys, mode=mode)
    lengths = []
    for i, toy in enumerate(toys):
        scores, best = by_hand(toy)
        np.testing.assert_allclose([record["score"] for record in records[i]], scores, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(done["toy"]["w"][i], best, rtol=1e-5)
        assert [record["step"] for record in records[i]] == [PER_EPOCH * (n + 1) for n in range(len(scores))]
        lengths.append(len(scores))
    assert lengths[2] == 40, "this one gets better to the end of its budget"
    assert lengths[4] == 4, "this one is best at its first evaluation and then waits three times"
    assert len(set(lengths)) >= 4, "replicas stop on their own"


@pytest.mark.parametrize("mode", MODES)
def test_a_replica_that_has_stopped_stays_stopped(mode: str) -> None:
    """Its w swings around the goal: better, worse, and then better than ever, but by then it has stopped."""
    swinging, steady = Toy(turn=9.0, learning_rate=0.9), Toy(turn=50.0)
    assert by_hand(swinging, patience=9)[1] != by_hand(swinging, patience=1)[1]
    done, records = fit_toys(swinging, steady, mode=mode, patience=1)
    assert [len(of_replica) for of_replica in records] == [3, 40]
    np.testing.assert_allclose(done["toy"]["w"], [by_hand(toy, patience=1)[1] for toy in (swinging, steady)], rtol=1e-5)


def test_the_three_modes_give_the_same_bits_for_a_toy_with_noise() -> None:
    toys = [Toy(turn=3.0, noise=1.0, seed=seed) for seed in range(3)]
    runs = {mode: fit_toys(*toys, mode=mode) for mode in MODES}
    for mode in ("map", "loop"):
        assert_same(runs[mode], runs["map"])
    np.testing.assert_allclose(runs["vmap"][0]["toy"]["w"], runs["map"][0]["toy"]["w"], rtol=1e-5)
    assert len(set(runs["map"][0]["toy"]["w"].tolist())) == 3, "seeds differ"


@pytest.mark.parametrize("mode", MODES)
def test_a_program_is_traced_alike_for_any_number_of_steps_blocks_and_replicas(mode: str) -> None:
    counts = []
    for replicas, epochs in ((1, 1), (6, 30)):
        traced: list[int] = []
        stage = toy_stage(count=lambda traced=traced: traced.append(1))
        fit_toys(*[Toy(turn=50.0, seed=seed) for seed in range(replicas)], stages=(stage,), mode=mode, epochs=epochs)
        counts.append(len(traced))
    assert len(set(counts)) == 1, counts
    assert 1 <= counts[0] <= 2, "once for the shapes of a block, once for the block"


def test_frozen_leaves_keep_their_bits_and_others_move() -> None:
    free, _ = fit_toys(Toy(turn=50.0))
    frozen, _ = fit_toys(Toy(turn=50.0), stages=(toy_stage(frozen=True),))
    assert free["toy"]["kept"][0] != 3
    assert frozen["toy"]["kept"][0] == 3
    assert frozen["toy"]["w"][0] == free["toy"]["w"][0]


def test_streams_are_named_so_another_stage_changes_no_draw() -> None:
    key = jax.random.key(7)
    by_definition = jax.random.fold_in(jax.random.fold_in(key, crc32(b"toy/noise")), 5)
    assert (jax.random.key_data(stream(key, "toy/noise", 5)) == jax.random.key_data(by_definition)).all()
    toy = Toy(turn=3.0, noise=1.0, seed=4)
    alone, of_alone = fit_toys(toy)
    before = (toy_stage("another"), Solve("solved", lambda world, done, hp, key: jax.random.normal(key)), toy_stage())
    among, of_among = fit_toys(toy, stages=before)
    assert_same(among["toy"], alone["toy"])
    assert [r for r in of_among[0] if r["stage"] == "toy"] == of_alone[0]
    assert among["another"]["w"] != among["toy"]["w"], "streams of different names differ"


# Real runs: one method, one tiny world, three replicas that differ in seed and hp.

ROWS = (("seed=0",), ("seed=1", "hp.learning_rate=0.03"), ("seed=2", "hp.l2=2"))
SETTINGS = ("method=target_only", "train.epochs=8", "train.patience=3", "hp.learning_rate=0.02", "hp.l2=10")


def configs(*more: str) -> list[Config]:
    return [tiny(*SETTINGS, *more, *row) for row in ROWS]


def assert_same(left: Any, right: Any) -> None:
    """Equal structure and equal bits."""
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def losses(result: Result) -> dict[str, Any]:
    return result.facts["selected"]["target"]


@pytest.fixture(scope="module")
def batch() -> list[Result]:
    return run_batch(configs("train.replicas=map"))


def test_replicas_differ_and_equal_ones_are_equal(batch: list[Result]) -> None:
    again = run_batch([configs("train.replicas=map")[i] for i in (1, 1, 0)])
    assert_same(again[0].parameters, again[1].parameters)
    assert_same(again[0].parameters, batch[1].parameters)
    assert again[0].metrics == batch[1].metrics
    factors = [result.parameters["target"]["body"]["factors"] for result in batch]
    assert np.abs(factors[0] - factors[1]).max() > 1e-2
    assert np.abs(factors[0] - factors[2]).max() > 1e-2
    with_other_hp = run_batch([tiny(*SETTINGS, "train.replicas=map", "hp.l2=2"), *configs("train.replicas=map")[:2]])
    assert_same(with_other_hp[1].parameters, batch[0].parameters)
    assert np.abs(with_other_hp[0].parameters["target"]["body"]["factors"] - factors[0]).max() > 1e-3, "hp is used"


def test_loop_and_map_agree_to_rounding_and_a_run_of_a_loop_is_a_single_one_to_the_bit(batch: list[Result]) -> None:
    looped = run_batch(configs("train.replicas=loop"))
    single = run_batch(configs("train.replicas=loop")[1:2])[0]
    for i, result in enumerate(looped):
        for a, b in zip(jax.tree.leaves(result.parameters), jax.tree.leaves(batch[i].parameters), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8)  # equal bits until jaxlib 0.12
        assert losses(result)["step"] == losses(batch[i])["step"]
        for part in ("valid", "test"):  # sums over users may be ordered otherwise when a program has one replica
            assert result.metrics[part] == pytest.approx(batch[i].metrics[part], rel=1e-6)
    assert_same(single.parameters, looped[1].parameters)
    assert single.metrics == looped[1].metrics


def test_vmap_agrees_within_rounding(batch: list[Result]) -> None:
    for result, expected in zip(run_batch(configs("train.replicas=vmap")), batch, strict=True):
        assert losses(result)["step"] == losses(expected)["step"]
        np.testing.assert_allclose(losses(result)["loss"], losses(expected)["loss"], rtol=1e-5)
        for a, b in zip(jax.tree.leaves(result.parameters), jax.tree.leaves(expected.parameters), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_diverged_replica_marks_itself_and_leaves_its_neighbours_alone(batch: list[Result]) -> None:
    lost = [*configs("train.replicas=map")[:1], tiny(*SETTINGS, "train.replicas=map", "hp.learning_rate=1e20")]
    results = run_batch([*lost, configs("train.replicas=map")[2]])
    assert [result.status for result in results] == ["done", "diverged", "done"]
    assert results[1].metrics == {"valid": {}, "test": {}}
    assert np.isnan(results[1].objective)
    for i in (0, 2):
        assert_same(results[i].parameters, batch[i].parameters)
        assert results[i].metrics == batch[i].metrics


def test_the_returned_parameters_are_those_of_the_best_evaluation(batch: list[Result]) -> None:
    for result in batch:
        select = result.facts["select"]["metric"]
        assert result.metrics["valid"][select] == pytest.approx(losses(result)[select], rel=1e-6)


@pytest.mark.parametrize(("part", "matters"), [("test", False), ("valid", True)])
def test_validation_selects_and_test_never(
    batch: list[Result], part: str, matters: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_world(configs("train.replicas=map")[0])
    hidden = getattr(loaded.world, part)
    others = replace(hidden, item=(hidden.item + 7) % loaded.world.n_items)
    other = replace(loaded, world=replace(loaded.world, **{part: others}))
    monkeypatch.setattr(import_module("transfer.experiment.run"), "load_world", lambda config: other)
    results = run_batch(configs("train.replicas=map"))
    same = [
        np.array_equal(a.parameters["target"]["head"]["bias"], b.parameters["target"]["head"]["bias"])
        for a, b in zip(results, batch, strict=True)
    ]
    assert all(a.metrics[part] != b.metrics[part] for a, b in zip(results, batch, strict=True))
    if matters:
        assert not all(same), "another validation part selects another step"
    else:
        assert all(same)
        for a, b in zip(results, batch, strict=True):
            assert_same(a.parameters, b.parameters)
            assert a.metrics["valid"] == b.metrics["valid"]


def test_settings_that_are_static_never_share_a_program() -> None:
    """In one process: two runs that differ in a method's setting alone give what each gives by itself."""
    few, many = (
        compose(["domain.users=200", "method=user_knn", f"method.neighbours={n}", "train.progress=false"]) for n in (1, 80)
    )
    together = [result.metrics["test"]["ndcg@10"] for result in run_batch([few, many, few])]
    assert together[0] == together[2] != together[1]
    assert check_settings(few).program_key() == few.program_key() != many.program_key()


def test_a_gradient_fit_without_validation_events_is_refused_in_one_line() -> None:
    config = compose(["domain.users=200", "method=emcdr", "split.stop=0.001", "train.progress=false"])
    with pytest.raises(TransferError, match=r"stage source has no validation events .* split\.stop"):
        run_batch([config])


def turning_stage(times: int) -> Fit:
    """w seeks the goal at half the rate; then a turn moves `kept` towards w, at a rate that hp gives."""
    stage = toy_stage()
    turn = Turn(
        lambda params, done, batch, hp, key, progress: jnp.square(params["kept"] - params["w"]),
        ("kept",),
        times,
        lambda hp, progress: hp["turn"] / 10,
    )
    return stage._replace(
        loss=lambda params, done, batch, hp, key, progress: jnp.square(params["w"] - GOAL),
        rates=lambda params: {"w": Rate(0.5, by="noise"), "kept": Rate()},
        turns=(turn,),
        watch=lambda world, done, hp: {"between": done["toy"]["kept"] - done["toy"]["w"]},
    )


@pytest.mark.parametrize("mode", MODES)
def test_turns_follow_each_other_and_move_what_they_name(mode: str) -> None:
    """In NumPy: a step of w by its factor times an hp, then the turns of `kept`, which see the new w."""
    toys = [Toy(turn=3.0, noise=1.0), Toy(turn=7.0, noise=0.5)]
    done, records = fit_toys(*toys, stages=(turning_stage(2),), mode=mode, epochs=3, patience=9)
    for i, toy in enumerate(toys):
        w, kept, between = 0.0, 3.0, []
        for step in range(3 * PER_EPOCH):
            w -= 0.5 * toy.noise * toy.learning_rate * 2 * (w - GOAL)
            for _ in range(2):
                kept -= toy.turn / 10 * toy.learning_rate * 2 * (kept - w)
            if step % PER_EPOCH == PER_EPOCH - 1:
                between.append((-((w - toy.turn) ** 2), kept - w, w, kept))
        np.testing.assert_allclose(
            [record["between"] for record in records[i]], [b[1] for b in between], rtol=1e-4, atol=1e-5
        )
        _, _, w, kept = max(between)
        np.testing.assert_allclose([done["toy"]["w"][i], done["toy"]["kept"][i]], [w, kept], rtol=1e-5)


def test_the_last_parameters_are_kept_where_that_is_asked_for() -> None:
    """A toy that is best at its first evaluation goes on to the end of its budget; what is kept is what is reached."""
    done, records = fit_toys(Toy(turn=-1.0), epochs=12, patience=1, keep="last")
    assert len(records[0]) == 12
    assert records[0][-1]["score"] < records[0][0]["score"]
    assert -((done["toy"]["w"][0] + 1) ** 2) == pytest.approx(records[0][-1]["score"], rel=1e-5)
    for keep, row in (("last", -1), ("best", 0)):
        train = compose(["domain=simulated"]).train.model_copy(update={"keep": keep})
        assert selected(records[0], TOY_TASK, train)["toy"] == records[0][row]
