"""Next-item models: what a prediction may see, what the encoders may see, and that order is what they learn from."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transfer.api import compose
from transfer.data.interactions.sequences import Sequences, sorted_by_time
from transfer.errors import TransferError
from transfer.experiment.build import build_program, build_task, load_world, with_batches
from transfer.experiment.checks import check_model, check_settings
from transfer.learning import sequences, windows
from transfer.program import SequenceModel, Steps
from transfer.tasks import ranking

MODELS = ("sasrec", "sasrec model.block=ligr", "gru4rec", "caser")
SMALL = ("split=global_time", "model.dim=8", "model.length=6")


def model_of(name: str, *more: str) -> SequenceModel:
    config = check_settings(compose([*SMALL, *f"model={name}".split(), *more]))
    return check_model(config).build(config.model)


def params_of(model: SequenceModel, items: int) -> Any:
    return jax.jit(lambda: {"body": model.body(jax.random.key(0), None), "head": model.head(jax.random.key(1), items)})()


def histories(n: int) -> st.SearchStrategy[list[tuple[int, int]]]:
    return st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=n, max_size=n)


# Few sizes: arrays of every other length are programs of their own.
@given(st.sampled_from([1, 8, 40]).flatmap(histories), st.sampled_from([1, 6]))
@settings(max_examples=20, deadline=None)
def test_no_prediction_sees_its_own_day_or_a_later_one(events: list[tuple[int, int]], length: int) -> None:
    """Every event is an item of its own here, so that a window says whose it is."""
    user, day = (np.array(column) for column in zip(*events, strict=True))
    of = jax.tree.map(jnp.asarray, sorted_by_time(user, np.arange(len(user)), day, 4, len(user)))
    days_of = [len(set(day[user == u].tolist())) for u in range(4)]
    assert np.asarray(of.learners).tolist() == [u for u in range(4) if days_of[u] > 1]
    if not len(of.learners):
        return
    predicted = len(user) // 2 + 1
    drawn = windows.windows(of, predicted, jax.random.key(0), 8, length)
    for row in range(8):
        own = np.unique(np.asarray(drawn.items[row]), return_index=True)[1]
        own = np.asarray(drawn.items[row])[np.sort(own)]
        own = own[: min(length + 1, (user == user[own[0]]).sum())]  # what follows is padding
        assert len(set(user[own])) == 1
        assert (np.diff(day[own]) >= 0).all()
        for place, event in enumerate(own):
            earlier = np.flatnonzero(day[own] < day[event])
            assert bool(drawn.counts[row, place]) == (len(earlier) > 0 and event < predicted)
            if len(earlier):
                assert int(drawn.before[row, place]) == earlier.max()
        assert not np.asarray(drawn.counts[row])[len(own) :].any()
    for packings in ((), (windows.packing_for(of, predicted, 8, length),)):
        batch = sequences.draw(reading_of(replace(of, packings=packings), predicted), jax.random.key(0), 8, length, 2)
        assert told(batch) == sorted(
            (int(items[place]), items[: int(before[place]) + 1].tolist())
            for items, before, counts in zip(*map(np.asarray, drawn), strict=True)
            for place in np.flatnonzero(counts)
        )


def reading_of(of: Sequences, predicted: int) -> sequences.Reading:
    return sequences.Reading(of, predicted, predicted)


def told(batch: sequences.Predictions) -> list[tuple[int, list[int]]]:
    """The events that are predicted, each with the items of its window up to the step that predicts it."""
    items, there, position = (np.asarray(leaf).ravel() for leaf in (batch.items, batch.there, batch.position))
    found = []
    for at, target in zip(
        *(np.asarray(leaf)[np.asarray(batch.counts) > 0] for leaf in (batch.at, batch.targets)), strict=True
    ):
        history = slice(at - position[at], at + 1)
        assert there[history].all()
        assert (position[history] == np.arange(position[at] + 1)).all()
        assert (at - position[at]) // batch.items.shape[1] == at // batch.items.shape[1], "a window lies in one row"
        found.append((int(target), items[history].tolist()))
    return sorted(found)


def crowd(users: int, events: int) -> Sequences:
    """Users with few events and, a few of them, with many."""
    random = np.random.default_rng(0)
    user = (users * random.random(events) ** 2).astype(int)
    return jax.device_put(sorted_by_time(user, random.integers(0, 30, events), random.integers(0, 60, events), users, 30))


@pytest.mark.parametrize("name", MODELS)
def test_windows_that_share_rows_have_the_loss_and_the_gradient_of_rows_of_their_own(name: str, task: Any) -> None:
    model, size = model_of(name, "model.length=13"), 40
    params = params_of(model, 30)
    alone = crowd(200, 1200)
    packing = windows.packing_for(alone, 20, size, model.length)
    assert 0 < packing.rows * packing.width < size * model.length
    assert packing.events < size * (model.length + 1)

    @jax.jit
    def found(of: Sequences) -> Any:
        batch = sequences.draw(reading_of(of, 20), jax.random.key(2), size, model.length, 8)
        return jax.value_and_grad(lambda p: mean_loss(task, model, p, batch, jax.random.key(3)))(params)

    for mine, right in zip(
        *(jax.tree.leaves(found(of)) for of in (replace(alone, packings=(packing,)), alone)), strict=True
    ):
        np.testing.assert_allclose(mine, right, rtol=1e-4, atol=1e-6)


def test_what_finds_no_place_is_left_out_and_nothing_else(task: Any) -> None:
    of, size, length = crowd(200, 1200), 40, 13
    packing = windows.packing_for(of, 20, size, length)
    drawn = jax.jit(lambda of: sequences.draw(reading_of(of, 20), jax.random.key(2), size, length, 8))
    every = told(drawn(of))
    for tight, share in ((packing, 1.0), (packing._replace(rows=2), 0.5), (packing._replace(events=16), 0.5)):
        some = told(drawn(replace(of, packings=(tight,))))
        assert all(some.count(event) <= every.count(event) for event in some)
        assert len(some) == len(every) if share == 1 else 0 < len(some) < share * len(every)
    assert len(some) == 16


@jax.jit
def taken(batches: windows.Windows) -> tuple[jax.Array, jax.Array]:
    """Places of steps and events that are predicted, of every batch."""
    places = windows.power_of_two(jax.vmap(windows.Windows.lengths)(batches))
    return places.sum(axis=1), batches.counts.sum(axis=(1, 2))


def test_a_packing_is_as_large_as_its_batches_need_and_hardly_larger() -> None:
    of, size, length = crowd(2000, 9000), 256, 50
    packing = windows.packing_for(of, 30, size, length)
    used = jax.jit(jax.vmap(lambda key: windows.windows(of, 30, key, size, length)))(
        jax.vmap(jax.random.key)(jnp.arange(20))
    )
    steps, events = map(np.asarray, taken(used))
    assert steps.max() <= packing.rows * packing.width < 2 * np.mean(steps)
    assert events.max() <= packing.events < 2 * np.mean(events)


@pytest.mark.parametrize("size", [8, 64])
def test_long_windows_that_are_rare_find_their_place(size: int) -> None:
    """One user in a hundred has a long history, the others two events: a margin in standard deviations is too small."""
    long = np.arange(200) % 100 == 0
    degree = np.where(long, 65, 2)
    user = np.repeat(np.arange(200), degree)
    day = np.concatenate([np.arange(n) for n in degree])
    of = jax.device_put(sorted_by_time(user, day % 30, day, 200, 30))
    packing = windows.packing_for(of, 30, size, 64)
    keys = jax.random.split(jax.random.key(1), 40_000 // size)
    drawn = jax.jit(jax.vmap(lambda key: windows.windows(of, 30, key, size, 64)))(keys)
    steps, events = map(np.asarray, taken(drawn))
    assert steps.max() > 2 * np.mean(steps)
    assert steps.max() <= (packing.rows * packing.width or size * 64)
    assert events.max() <= packing.events < size * 64


@pytest.mark.parametrize("name", MODELS)
def test_a_state_knows_its_own_and_earlier_steps_only(name: str) -> None:
    """Changing step 3 changes its own state and later ones, none before; padding after it changes nothing."""
    model = model_of(name)
    body, features = jax.jit(lambda: model.body(jax.random.key(1), None))(), jax.jit(model.features)
    x = jax.random.normal(jax.random.key(2), (2, 6, 8))
    there = jnp.ones((2, 6), bool)
    position = jnp.broadcast_to(jnp.arange(6), (2, 6))
    before, changed = (features(body, Steps(v, there, position)) for v in (x, x.at[:, 3].multiply(-1.0)))
    np.testing.assert_allclose(before[:, :3], changed[:, :3], atol=1e-6)
    assert (jnp.abs(before[:, 3] - changed[:, 3]).max(axis=-1) > 1e-4).all()
    padded = features(body, Steps(x.at[:, 4:].set(0.0), there.at[:, 4:].set(False), position))
    np.testing.assert_allclose(before[:, :4], padded[:, :4], atol=1e-6)


def mean_loss(task: Any, model: SequenceModel, params: Any, batch: sequences.Predictions, key: jax.Array) -> jax.Array:
    return sequences.mean_over_predicted(sequences.losses(task, model, params, batch, jnp.float32(0.0), key), batch)


def learnt(model: SequenceModel, task: Any, walks: np.ndarray, items: int, predicted: int, wanted: np.ndarray) -> float:
    """Share of the wanted next items found after training on one walk [steps] per user, a step a day."""
    users, steps = walks.shape
    user, day = np.repeat(np.arange(users), steps), np.tile(np.arange(steps), users)
    of = jax.tree.map(jnp.asarray, sorted_by_time(user, walks.ravel(), day, users, items))
    reading = sequences.Reading(of, predicted, predicted)
    params = params_of(model, items)
    adam = optax.adam(0.02)

    def step(carry: Any, key: jax.Array) -> Any:
        params, state = carry
        batch = sequences.draw(reading, key, 32, model.length, task.negatives)
        gradient = jax.grad(lambda p: mean_loss(task, model, p, batch, key))(params)
        updates, state = adam.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), None

    (params, _), _ = jax.jit(lambda c, k: jax.lax.scan(step, c, k))(
        (params, adam.init(params)), jax.random.split(jax.random.key(2), 150)
    )
    scores = jax.jit(lambda params: sequences.scores(model, reading, params)(jnp.arange(users)))(params)
    return float(np.mean(np.argmax(scores, axis=1) == wanted))


@pytest.fixture(scope="module")
def task() -> Any:
    config = check_settings(compose([*SMALL, "model=gru4rec", "task.negatives=8"]))
    return build_task(config, load_world(config).world)


@pytest.mark.parametrize("name", MODELS)
def test_order_is_learnt_where_there_is_one(name: str, task: Any) -> None:
    """Walks around a ring of items, in their order or, the control, in any."""
    random = np.random.default_rng(0)
    walks = (random.integers(0, 12, (60, 1)) + np.arange(7)) % 12
    wanted = (walks[:, -1] + 1) % 12
    assert learnt(model_of(name), task, walks, 12, 12, wanted) > 0.9
    if name == "gru4rec":  # once: the encoders only read what the windows give
        assert learnt(model_of(name), task, random.permuted(walks, axis=1), 12, 12, wanted) < 0.5


def test_films_say_which_book_comes_next_where_both_histories_are_told(task: Any) -> None:
    """Items 0 … 11 are books, 12 … 23 their films; after a film its book is read, and nothing else tells which."""
    story = np.random.default_rng(0).integers(0, 12, (60, 4))
    both = np.stack([story + 12, story], axis=2).reshape(60, 8)[:, :7]  # the last film's book is to come
    assert learnt(model_of("gru4rec"), task, both, 24, 12, story[:, -1]) > 0.9
    assert learnt(model_of("gru4rec"), task, story[:, :3], 12, 12, story[:, -1]) < 0.4


def test_the_recurrent_layer_is_the_stated_one() -> None:
    model = model_of("gru4rec")
    body = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), jax.jit(lambda: model.body(jax.random.key(3), None))())
    x = np.asarray(jax.random.normal(jax.random.key(4), (1, 6, 8)), np.float64)
    h = np.zeros(8)
    w, u = body["layer0"]["inputs"], body["layer0"]["hidden"]

    def sigmoid(value: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-value))

    for t in range(6):
        (r, z, n), (hr, hz, hn) = (np.split(v @ part["kernel"] + part["bias"], 3) for v, part in ((x[0, t], w), (h, u)))
        h = (1 - sigmoid(z + hz)) * np.tanh(n + sigmoid(r + hr) * hn) + sigmoid(z + hz) * h
    expected = h @ body["last"]["kernel"] + body["last"]["bias"]
    found = jax.jit(model.features)(
        jax.tree.map(np.float32, body), Steps(jnp.float32(x), jnp.ones((1, 6), bool), jnp.arange(6)[None])
    )[0, -1]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def ligr(seed: int) -> tuple[SequenceModel, Any, Steps]:
    """A model with two LiGR blocks, its body with every number moved away from its start, and rows to read."""
    model = model_of("sasrec model.block=ligr")
    leaves, tree = jax.tree.flatten(model.body(jax.random.key(seed), None))
    noise = jax.random.split(jax.random.key(seed + 1), len(leaves))
    body = tree.unflatten([leaf + 0.3 * jax.random.normal(k, leaf.shape) for leaf, k in zip(leaves, noise, strict=True)])
    x = jax.random.normal(jax.random.key(seed + 2), (2, 6, 8))
    return model, body, Steps(x, jnp.ones((2, 6), bool), jnp.broadcast_to(jnp.arange(6), (2, 6)))


def test_the_ligr_block_is_the_stated_one() -> None:
    model, given, steps = ligr(0)
    body = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), given)

    def dense(part: Any, x: np.ndarray) -> np.ndarray:
        return x @ part["kernel"] + part.get("bias", 0.0)

    def norm(part: Any, x: np.ndarray) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6) * part["scale"] + part["bias"]

    def sigmoid(x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-x))

    for row in range(2):
        x = np.asarray(steps.vectors[row], np.float64) + body["positions"]["embedding"]
        for block in (body["layer0"], body["layer1"]):
            y = norm(block["before_attention"], x)
            query, key, value = (dense(block[name], y).reshape(6, 2, 4) for name in ("query", "key", "value"))
            attended = np.zeros((6, 2, 4))
            for t, head in np.ndindex(6, 2):
                weights = np.exp([query[t, head] @ key[s, head] / 2 for s in range(t + 1)])  # √4
                attended[t, head] = weights @ value[: t + 1, head] / weights.sum()
            x = x + sigmoid(dense(block["gate_attention"], x)) * dense(block["out"], attended.reshape(6, 8))
            y = norm(block["before_mlp"], x)
            switch = dense(block["switch"], y)
            inner = switch * sigmoid(switch) * dense(block["widen"], y)
            x = x + sigmoid(dense(block["gate_mlp"], x)) * dense(block["narrow"], inner)
        found = model.features(given, steps)[row]
        np.testing.assert_allclose(found, norm(body["last"], x), rtol=1e-4, atol=1e-4)
    assert set(body["layer0"]["switch"]) == set(body["layer0"]["narrow"]) == {"kernel"}


def test_a_closed_gate_leaves_what_comes_in_and_an_open_one_does_not() -> None:
    model, body, steps = ligr(1)

    def gated(bias: float) -> jax.Array:
        gate = {"kernel": jnp.zeros((8, 8)), "bias": jnp.full(8, bias)}
        closed = {name: {**body[name], "gate_attention": gate, "gate_mlp": gate} for name in ("layer0", "layer1")}
        return model.features({**body, **closed}, steps)

    without = model_of("sasrec", "model.layers=1")
    silent = jax.tree.map(jnp.zeros_like, without.body(jax.random.key(0), None))  # its block adds 0
    same = without.features({**silent, "positions": body["positions"], "last": body["last"]}, steps)
    np.testing.assert_allclose(gated(-100.0), same, atol=1e-6)
    assert (jnp.abs(gated(100.0) - same).max(axis=-1) > 0.1).all()


def test_full_and_sampled_softmax_are_equal_when_every_item_is_a_negative_once() -> None:
    model, of = model_of("sasrec model.block=ligr"), crowd(60, 300)
    params = {"body": model.body(jax.random.key(0), None), "head": model.head(jax.random.key(1), 30)}
    found = []
    for words in ("task.loss=full_softmax", "task.loss=sampled_softmax"):
        of_task = compose([*SMALL, "model=sasrec", words, "task.negatives=20"]).task
        task = ranking.build(of_task, SimpleNamespace(test=SimpleNamespace(open_row=None)))
        batch = sequences.draw(reading_of(of, 20), jax.random.key(2), 16, 6, task.negatives)
        if not task.every_item:
            np.testing.assert_allclose(batch.log_q, 0, atol=1e-6)  # 20 draws of 20 items
            batch = replace(batch, negatives=jnp.arange(20))
        found.append(jax.value_and_grad(lambda p, t, b: mean_loss(t, model, p, b, jax.random.key(3)))(params, task, batch))
    for full, sampled in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_allclose(sampled, full, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("in_batch", [0.0, 0.6, 1.0])
def test_mixed_negatives_are_drawn_as_often_as_log_q_says(in_batch: float) -> None:
    """Histories are longer than windows, so that not every event is predicted alike; q comes from counting, the control."""
    of = crowd(40, 700)
    of = replace(of, frequency=windows.frequency(of, 6))

    @jax.jit
    def drawn(key: jax.Array) -> Any:
        batch = sequences.draw(reading_of(of, 20), key, 32, 6, 10, in_batch)
        targets = jnp.zeros(20).at[batch.targets].add(batch.counts, mode="drop")
        counts = jnp.zeros(20).at[batch.negatives].add(1.0)
        mass = jnp.zeros(20).at[batch.negatives].add(jnp.exp(-batch.log_q))
        return targets, counts, mass

    keys = jax.random.split(jax.random.key(0), 4000)
    targets, counts, mass = (np.asarray(each).mean(axis=0) for each in jax.lax.map(drawn, keys))
    share = targets / targets.sum()
    assert share.max() > 1.5 * share.min()
    np.testing.assert_allclose(np.asarray(of.frequency[:20]) / of.frequency[:20].sum(), share, rtol=0.03)
    np.testing.assert_allclose(counts, round((1 - in_batch) * 10) / 20 + round(in_batch * 10) * share, rtol=0.1)
    np.testing.assert_allclose(mass, 1, rtol=0.1)  # each item stands for itself in the sum over all


def test_negatives_of_the_batch_reach_every_stage() -> None:
    words = ("split=global_time", "model=gru4rec", "method=finetune", "method.strategy=full", "method.pretrain=both")
    small = ("domain.users=60", "model.in_batch=1", "task.negatives=64", "train.batch_size=4")
    config = check_settings(compose([*words, *small]))
    world = with_batches(config, load_world(config)).world
    for stage in build_program(config, world, build_task(config, world)).stages:
        batch = stage.batch(world, {}, jax.random.key(0))
        assert set(np.asarray(batch.negatives)) <= set(np.asarray(batch.targets)[np.asarray(batch.counts) > 0])
        assert np.isfinite(batch.log_q).all()


def test_full_and_sampled_softmax_agree_when_every_item_is_drawn_often() -> None:
    model = model_of("caser")
    of = jax.tree.map(jnp.asarray, sorted_by_time(np.zeros(5, int), np.arange(5), np.arange(5), 1, 5))
    params = params_of(model, 5)
    values = {}
    for words in ("task.loss=full_softmax", "task.negatives=20000"):
        config = check_settings(compose([*SMALL, "model=caser", words]))
        task = build_task(config, load_world(config).world)

        def found(params: Any, task: Any = task) -> jax.Array:
            batch = sequences.draw(sequences.Reading(of, 5, 5), jax.random.key(2), 4, 6, task.negatives)
            return mean_loss(task, model, params, batch, jax.random.key(3))

        values[words] = float(jax.jit(found)(params))
    full, sampled = values.values()
    assert sampled == pytest.approx(full, rel=0.02)


def test_sequences_hold_the_training_events_in_order_and_nothing_else() -> None:
    world = load_world(check_settings(compose(["split=global_time", "model=caser"]))).world
    for sequence, events in (
        (world.target.sequence, world.target.train),
        (world.sources[0].sequence, world.sources[0].fit),
    ):
        starts, days = np.asarray(sequence.starts), np.asarray(sequence.days)
        np.testing.assert_array_equal(starts, events.starts)
        for user in range(0, world.n_users, 7):
            own = slice(starts[user], starts[user + 1])
            assert sorted(np.asarray(sequence.items)[own]) == np.asarray(events.items)[own].tolist()
            assert (np.diff(days[own]) >= 0).all()
    assert world.merged.items.shape[0] == world.target.train.items.shape[0] + world.sources[0].train.items.shape[0]
    in_target = np.asarray(world.merged.items) < world.n_items
    np.testing.assert_array_equal(np.bincount(np.asarray(world.merged.items)[in_target]), world.target.train.item_counts)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("model=sasrec", "split=cold_start"), "split=global_time"),
        (("model=sasrec", "method=cmf"), "finetune, target_only"),
        (("model=sasrec", "model.heads=0"), "model.heads"),
        (("model=sasrec", "model.heads=3"), "^model.dim=64 is not a multiple of model.heads=3$"),
        (("model=mf", "method=finetune", "method.pretrain=both"), "next-item"),
        (("model=sasrec", "model.in_batch=0.5", "task.loss=full_softmax"), "^model.in_batch=0.5 has no effect: the loss"),
        (("model=sasrec", "model.in_batch=0.1", "task.negatives=4"), "^model.in_batch=0.1 .* none of task.negatives=4"),
        (("model=gru4rec", "model.block=ligr"), "model.block"),
        (("model=mf", "model.in_batch=0.5"), "model.in_batch"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(words: tuple[str, ...], told: str) -> None:
    def build() -> None:
        config = check_settings(compose(["split=global_time", *words]))
        world = load_world(config).world
        build_program(config, world, build_task(config, world))

    with pytest.raises(TransferError, match=told):
        build()


def test_a_world_in_which_nobody_comes_back_has_nothing_to_learn_from() -> None:
    config = check_settings(compose(["split=global_time", "model=caser"]))
    world = load_world(config).world
    nobody = replace(world.target.sequence, learners=jnp.zeros(0, jnp.int32))
    empty = replace(world, target=replace(world.target, sequence=nobody))
    task = build_task(config, world)
    build_program(config, world, task)
    with pytest.raises(TransferError, match="no user has training events on two days"):
        build_program(config, empty, task)


def test_pretraining_on_both_starts_from_all_items_and_is_told_both_histories() -> None:
    words = ("model=caser", "method=finetune", "method.pretrain=both", "method.strategy=probe", *SMALL)
    config = check_settings(compose(words))
    world = load_world(config).world
    source, target = build_program(config, world, build_task(config, world)).stages
    done = {"source": jax.eval_shape(lambda w: source.init(w, {}, jax.random.key(0)), world)}
    params = jax.eval_shape(lambda w, d: target.init(w, d, jax.random.key(0)), world, done)
    assert params["head"]["items"].shape == (world.merged.n_items, 8)
    score = jax.eval_shape(lambda w, p: target.scores(w, {"target": p}, {})(jnp.arange(3)), world, params)
    assert score.shape == (3, world.n_items)
    before = jax.eval_shape(lambda w, p: source.scores(w, {"source": p}, {})(jnp.arange(3)), world, done["source"])
    assert before.shape == score.shape  # validation is of books, in the stage that learns films too
