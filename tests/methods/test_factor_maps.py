"""Maps of factors by neighbours and by distances: against plain NumPy, and what each carries to cold readers."""

from __future__ import annotations

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pairs import files
from two_domains import COLD, DIM, ITEMS, NOBODY, READERS, Case, Floats, domains, world

from transfer.api import compose
from transfer.errors import TransferError
from transfer.experiment import Result, run_batch
from transfer.models import cml


def perceptron(params: Any, x: Floats) -> Floats:
    layers = jax.tree.map(np.asarray, params)
    hidden = np.tanh(x @ layers["hidden"]["kernel"] + layers["hidden"]["bias"])
    return hidden @ layers["output"]["kernel"] + layers["output"]["bias"]


@pytest.mark.parametrize(("k", "weight"), [(3, 1.0), (1, 0.3), (50, 2.0), (3, 0.0)])
def test_dcdcsr_blends_what_both_domains_know_of_a_reader(k: int, weight: float) -> None:
    case = Case(f"dcdcsr method.neighbours={k}", f"hp.source_weight={weight}")
    known = {"target": domains()[0].sum(1), "source": domains()[1].sum(1)}
    both = np.flatnonzero((known["target"] > 0) & (known["source"] > 0))

    def side(name: str, user: int) -> tuple[Floats, float]:
        if known[name][user]:
            return case.users(name)[user], known[name][user]
        factors = case.users("source" if name == "target" else "target")[:, 1:]
        norms = np.linalg.norm(factors, axis=1)
        cosine = factors[both] @ factors[user] / norms[both] / norms[user]
        nearest = np.argsort(-cosine)[:k]
        share = np.maximum(cosine[nearest], 1e-6)
        return share @ case.users(name)[both[nearest]] / share.sum(), known[name][both[nearest]].mean()

    expected = np.zeros((READERS, 1 + DIM))
    for user in range(READERS):
        (a, n), (b, m) = side("source", user), side("target", user)
        expected[user] = (weight * n * a + m * b) / (weight * n + m)
    np.testing.assert_allclose(case.done["benchmark"]["factors"], expected, rtol=1e-3, atol=1e-4)
    z = perceptron(case.done["map"]["f"], case.users("target"))
    z[COLD], head = expected[COLD], jax.tree.map(np.asarray, case.done["map"]["head"])
    items = np.concatenate([np.ones((ITEMS[0], 1)), head["factors"]], axis=1)
    rows = np.arange(READERS) != NOBODY
    np.testing.assert_allclose(case.scores()[rows], (head["mean"] + head["bias"] + z @ items.T)[rows], rtol=1e-3, atol=1e-3)
    if not weight:
        warm = known["target"] > 0
        np.testing.assert_allclose(expected[warm], case.users("target")[warm])


def test_dcdcsr_learns_its_map_from_the_benchmark_alone_and_its_items_behind_it() -> None:
    case = Case("dcdcsr")
    fit, key = case.program.stages[-1], jax.random.key(0)
    batch = fit.batch(world(), case.done, key)

    def slopes(scale: float) -> Any:
        params = case.done["map"] | {"head": jax.tree.map(lambda leaf: scale * leaf, case.done["map"]["head"])}
        return jax.grad(fit.loss)(params, case.done, batch, case.hp, key, jnp.float32(0))

    one, two = slopes(1.0), slopes(2.0)
    users = np.asarray(batch["events"].users)
    wanted = np.asarray(case.done["benchmark"]["factors"])[users]
    mapped = perceptron(case.done["map"]["f"], case.users("target")[users])
    np.testing.assert_allclose(one["f"]["output"]["bias"], 2 * (mapped - wanted).mean(0), rtol=1e-3, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), one["f"], two["f"])
    assert np.abs(one["head"]["factors"] - two["head"]["factors"]).max() > 1e-3


def inside(rows: Floats, power: int) -> Floats:
    """Rows whose vectors, all but the first column, are divided by their length to a power where it is above 1."""
    length = np.maximum(np.linalg.norm(rows[:, 1:], axis=1, keepdims=True), 1)
    return np.concatenate([rows[:, :1], rows[:, 1:] / length**power], axis=1)


def films(case: Case, power: int = 1) -> Floats:
    """The source's items as if they were users without a bias."""
    return inside(np.pad(np.float64(case.done["source"]["head"]["factors"]), [(0, 0), (1, 0)]), power)


@pytest.mark.parametrize(("published", "share"), [(False, 0.4), (False, 0.0), (True, 0.4)])
def test_sscdr_scores_by_distance_from_where_a_reader_and_her_films_are_mapped(published: bool, share: float) -> None:
    case = Case(f"sscdr method.as_published_code={published}", f"hp.neighbourhood={share}")
    power, watched = 2 if published else 1, domains()[1]
    head = jax.tree.map(np.asarray, case.done["target"]["head"])
    place = {name: inside(case.users(name), power) for name in ("source", "target")}
    carried, of_films = (inside(perceptron(case.done["map"], x), power) for x in (place["source"], films(case, power)))
    for user in np.flatnonzero(watched.any(1)):
        carried[user, 1:] = (1 - share) * carried[user, 1:] + share * of_films[watched[user] > 0, 1:].mean(0)
    z = np.where(domains()[0].any(1)[:, None], place["target"], carried)
    items = inside(np.concatenate([head["bias"][:, None], head["factors"]], axis=1), power)
    squares = np.square(z[:, None, 1:] - items[None, :, 1:]).sum(2)
    expected = head["mean"] + z[:, :1] + items[:, 0] - np.exp(head["log_scale"]) * squares
    np.testing.assert_allclose(case.scores(), expected, rtol=1e-3, atol=1e-3)


def test_published_code_of_sscdr_turns_the_order_of_lengths_round() -> None:
    rows = {"bias": jnp.zeros(3), "factors": jnp.array([[0.5, 0.0], [2.0, 0.0], [4.0, 0.0]])}
    np.testing.assert_allclose(cml.inside(rows)["factors"][:, 0], [0.5, 1, 1])
    np.testing.assert_allclose(cml.inside(rows, 2)["factors"][:, 0], [0.5, 0.5, 0.25])


def test_cml_scores_single_items_as_all_of_them() -> None:
    model = cml.build(cml.Settings(name="cml", dim=DIM, init=1.0))
    head, body = model.head(jax.random.key(0), world().target.train), model.body(jax.random.key(1), READERS)
    z, items = model.features(body, jnp.arange(READERS)), jnp.tile(jnp.arange(ITEMS[0]), (READERS, 1))
    np.testing.assert_allclose(model.outputs(z, model.of_items(head, items)), model.scores(head, z), rtol=1e-4, atol=1e-4)


def test_triplets_of_sscdr_are_films_that_a_reader_has_and_lacks() -> None:
    case = Case("sscdr", "hp.weight=0.7", "hp.margin=0.2")
    fit, key = case.program.stages[-1], jax.random.key(0)
    batch = jax.device_get(fit.batch(world(), case.done, key))
    places, of_films, watched = inside(case.users("target"), 1), films(case), domains()[1]
    users = np.square(batch["target"][:, None] - places[None]).sum(2).argmin(1)
    for name, there in (("has", 1), ("lacks", 0)):
        distances = np.square(batch[name][:, None] - of_films[None]).sum(2)
        assert distances.min(1).max() < 1e-6
        known = watched[users].any(1)
        assert (watched[users, distances.argmin(1)] == there)[known].all()
        np.testing.assert_array_equal(batch["shared"], known)
    mapped = {name: inside(perceptron(case.done["map"], batch[name]), 1) for name in ("source", "has", "lacks")}
    gaps = {name: mapped[name] - batch["target"] for name in mapped}
    near, far = (np.square(gaps[name][:, 1:]).sum(1) for name in ("has", "lacks"))
    each = np.square(gaps["source"]).sum(1) + 0.7 * np.maximum(0.2 + near - far, 0)
    found = fit.loss(case.done["map"], case.done, batch, case.hp, key, jnp.float32(0))
    assert float(found) == pytest.approx((each * batch["shared"]).mean(), rel=1e-4)


def test_sscdr_is_refused_a_model_without_distances() -> None:
    with pytest.raises(TransferError, match="write model=cml"):
        Case("sscdr", "model=mf")


@pytest.mark.parametrize(("steps", "guidance"), [(1, 0.0), (4, 0.0), (4, 1.5)])
def test_diffusion_map_goes_back_from_noise_to_factors(steps: int, guidance: float) -> None:
    case = Case(f"diffusion_map method.steps={steps}", f"hp.guidance={guidance}", drawn=99)
    watched, of = domains()[1], jax.tree.map(np.float64, case.done["spread"])
    known = domains()[0].any(1)
    head = {name: jax.tree.map(np.float64, case.done[name]["head"]) for name in ("source", "target")}
    films = np.concatenate([head["source"]["bias"][:, None], head["source"]["factors"]], axis=1)
    guides = np.concatenate([case.users("source"), watched @ films / np.maximum(watched.sum(1, keepdims=True), 1)], axis=1)
    shared = known & watched.any(1)
    np.testing.assert_allclose(of["guide"]["mean"], guides[shared].mean(0), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(of["z"]["root"], case.users("target")[shared].std(0), rtol=1e-3, atol=1e-3)
    guides = (guides - of["guide"]["mean"]) / of["guide"]["root"]
    kept = np.cos(np.pi / 2 * np.arange(steps + 1) / (steps + 1)) ** 2
    z = np.zeros((READERS, 1 + DIM))
    for t in range(steps, 0, -1):
        time = np.tile(np.sqrt([kept[t], 1 - kept[t]]), (READERS, 1))
        with_guide, without = (
            perceptron(case.done["map"], np.concatenate([z, c, time], axis=1)) for c in (guides, 0 * guides)
        )
        found = (1 + guidance) * with_guide - guidance * without
        noise = (z - np.sqrt(kept[t]) * found) / np.sqrt(1 - kept[t])
        z = np.sqrt(kept[t - 1]) * found + np.sqrt(1 - kept[t - 1]) * noise
    z = np.where(known[:, None], case.users("target"), of["z"]["mean"] + of["z"]["root"] * z)
    items = np.concatenate([np.ones((ITEMS[0], 1)), head["target"]["factors"]], axis=1)
    expected = head["target"]["mean"] + head["target"]["bias"] + z @ items.T
    np.testing.assert_allclose(case.scores(), expected, rtol=2e-3, atol=2e-3)


def test_diffusion_map_learns_nothing_of_a_guide_that_is_hidden() -> None:
    def slope(hidden: float) -> Floats:
        case, key = Case("diffusion_map", f"hp.hidden={hidden}"), jax.random.key(0)
        fit = case.program.stages[-1]
        batch = fit.batch(case.world, case.done, key)
        slopes = jax.grad(fit.loss)(case.done["map"], case.done, batch, case.hp, key, jnp.float32(0))
        return np.abs(np.asarray(slopes["hidden"]["kernel"])).sum(1)

    told, untold = slope(0.0), slope(1.0)
    guide = slice(1 + DIM, 3 * (1 + DIM))
    assert (told > 0).all()
    assert (untold[guide] == 0).all()
    assert (np.delete(untold, guide) > 0).all()


# On planted pairs of films and books: the numbers of every run, and those of its row in one program.
NUMBERS = ("model.dim=8", "train.batch_size=256", "hp.learning_rate=0.03", "hp.l2=0.1", "train.keep=last")
ROWS = {"dcdcsr": ("",), "sscdr": ("", "hp.weight=0"), "diffusion_map": ("",)}


@cache
def outcomes(method: str, related: bool = True) -> list[Result]:
    return run_batch([compose([*files(related), f"method={method}", *NUMBERS, *row.split()]) for row in ROWS[method]])


def figure(method: str, related: bool = True) -> float:
    return outcomes(method, related)[0].metrics["test"]["ndcg@10"]


@pytest.mark.parametrize("method", ["dcdcsr", "sscdr", pytest.param("diffusion_map", marks=pytest.mark.slow)])
def test_cold_readers_get_the_books_of_their_films(method: str) -> None:
    """Popularity has 0.69."""
    assert figure(method) > 0.85, figure(method)


@pytest.mark.slow
@pytest.mark.parametrize("method", list(ROWS))
def test_cold_readers_get_what_is_popular_where_films_say_nothing(method: str) -> None:
    assert figure(method, related=False) < 0.75, figure(method, related=False)


def test_triplets_of_sscdr_bring_a_readers_films_near_to_her_books() -> None:
    """Films that she has lie nearer to her own place among the books than those that she lacks; without weight less so."""

    def gap(result: Result) -> float:
        own, loaded = result.parameters, result.predictor.loaded.world
        table = np.pad(np.float64(own["source"]["head"]["factors"]), [(0, 0), (1, 0)])
        mapped = inside(perceptron(own["map"], inside(table, 1)), 1)
        places = inside(np.pad(np.float64(own["target"]["body"]["factors"]), [(0, 0), (1, 0)]), 1)
        squares = np.square(places[:, None, 1:] - mapped[None, :, 1:]).sum(2)
        has = np.zeros(squares.shape, bool)
        has[np.asarray(loaded.sources[0].train.users), np.asarray(loaded.sources[0].train.items)] = True
        warm = np.diff(np.asarray(loaded.target.train.starts)) > 0
        return float(squares[warm][~has[warm]].mean() - squares[warm][has[warm]].mean())

    weighed, plain = map(gap, outcomes("sscdr"))
    assert weighed > plain + 0.02, (weighed, plain)
