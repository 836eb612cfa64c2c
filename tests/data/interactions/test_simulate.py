"""The simulator keeps its promises: every control moves what it names, and at correlation 0 nothing transfers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from omegaconf import OmegaConf
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.naive_bayes import MultinomialNB

from transfer.config.domains import SimulatedDomains
from transfer.data.interactions.domain import EVENTS, Domain
from transfer.data.interactions.simulate import Truth, membership, simulate, traits
from transfer.errors import TransferError

DEFAULTS = Path(__file__).parents[3] / "conf" / "domain" / "simulated.yaml"


def config(**changes: Any) -> SimulatedDomains:
    return SimulatedDomains.model_validate({**OmegaConf.to_object(OmegaConf.load(DEFAULTS)), **changes})


def world(**changes: Any) -> tuple[Domain, Domain, Truth]:
    target, sources, truth = simulate(config(**changes))
    assert len(sources) == 1
    return target, sources[0], truth


def matrix(domain: Domain, truth: Truth, value: str = "1") -> NDArray[np.float64]:
    """[users of the truth, items of the domain], zero where there is no event."""
    row = {user: index for index, user in enumerate(truth.users)}
    column = {item: index for index, item in enumerate(domain.items["item"])}
    dense = np.zeros((len(row), len(column)))
    where = [row[u] for u in domain.events["user"]], [column[i] for i in domain.events["item"]]
    dense[where] = 1 if value == "1" else domain.events[value]
    return dense


def common(*dense: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    present = np.all([d.any(axis=1) for d in dense], axis=0)
    return [d[present] for d in dense]


def genre_shares(domain: Domain, truth: Truth) -> NDArray[np.float64]:
    genre = domain.items["genres"].to_numpy()
    dense = matrix(domain, truth) @ (genre[:, None] == np.unique(genre)[None]).astype(float)
    return dense / np.maximum(dense.sum(axis=1, keepdims=True), 1)


def correlation(a: NDArray[Any], b: NDArray[Any]) -> float:
    return float(np.corrcoef(np.ravel(a - a.mean(0)), np.ravel(b - b.mean(0)))[0, 1])


def gini(counts: NDArray[Any]) -> float:
    ordered = np.sort(counts)
    return float(1 - 2 * ((np.cumsum(ordered) / ordered.sum()).mean() - 0.5 / len(ordered)))


def ndcg(scores: NDArray[Any], relevant: NDArray[Any], k: int = 10) -> NDArray[np.float64]:
    """NDCG@k per user who has something relevant."""
    discount = 1 / np.log2(np.arange(k) + 2)
    best = np.cumsum(discount)[np.clip(relevant.sum(1).astype(int), 1, k) - 1]
    gained = np.take_along_axis(relevant, np.argsort(-scores, axis=1, kind="stable")[:, :k], axis=1) @ discount
    return (gained / best)[relevant.any(axis=1)]


def transfer_gain(rho: float) -> NDArray[np.float64]:
    """NDCG@10 of a ridge map from source history minus popularity, for each of the held-out users of three worlds."""
    gains = []
    for seed in range(3):
        target, source, truth = world(correlation=rho, data_seed=seed)
        seen, stars = common(matrix(source, truth), matrix(target, truth, "rating"))
        liked, cut = (stars >= 4).astype(float), len(seen) * 2 // 3
        x, y = seen - seen[:cut].mean(0), liked - liked[:cut].mean(0)
        weights = np.linalg.solve(x[:cut].T @ x[:cut] + 300 * np.eye(x.shape[1]), x[:cut].T @ y[:cut])
        popularity = np.tile(liked[:cut].mean(0), (len(liked) - cut, 1))
        gains.append(ndcg(popularity + x[cut:] @ weights, liked[cut:]) - ndcg(popularity, liked[cut:]))
    return np.concatenate(gains)


def test_same_config_gives_the_same_world_and_another_seed_another() -> None:
    first, again, other = world(), world(), world(data_seed=1)
    for a, b, c in zip(first[:2], again[:2], other[:2], strict=True):
        assert a.events.equals(b.events)
        assert a.items.equals(b.items)
        assert not a.events.equals(c.events)
    assert all(np.array_equal(getattr(first[2], f), getattr(again[2], f)) for f in ("rating", "click", "buy", "price"))


def test_events_are_well_formed() -> None:
    for domain in world()[:2]:
        events = domain.events
        assert dict(events.schema) == EVENTS
        assert events.null_count().sum_horizontal().item() == 0
        assert not events.select("user", "item").is_duplicated().any()
        assert set(events["rating"].unique()) == {1.0, 2.0, 3.0, 4.0, 5.0}
        assert (events.select(pl.col("time").diff().over("user").min()).item()) > 0
        assert set(events["item"]) <= set(domain.items["item"])
        assert domain.items.columns == ["item", "title", "text", "genres", "price"]
        assert (domain.scale, domain.positive) == ((1.0, 5.0), 4.0)
    target, source, _ = world()
    assert abs(target.events["time"].mean() - source.events["time"].mean()) < 20 * 86_400
    assert not set(target.items["item"]) & set(source.items["item"])


def test_order_in_time_does_not_tell_how_much_an_item_was_wanted() -> None:
    events = world()[0].events.with_columns(pl.len().over("item").alias("popularity"))
    place = events.select(pl.col("time").rank().over("user") / pl.len().over("user")).to_series()
    assert abs(np.corrcoef(place, events["popularity"])[0, 1]) < 0.03


@pytest.mark.parametrize("rho", [1.0, 0.5, 0.0, -1.0])
def test_traits_correlate_as_asked(rho: float) -> None:
    target, source = traits(config(correlation=rho))
    each = [correlation(target[:, k], source[:, k]) for k in range(target.shape[1])]
    assert np.allclose(each, rho, atol=0.12)
    assert np.allclose(source.std(axis=0), 1, atol=0.1)


def test_what_people_choose_follows_the_correlation() -> None:
    seen = {}
    for rho in (1.0, 0.5, 0.0, -1.0):
        target, source, truth = world(correlation=rho)
        seen[rho] = correlation(*common(genre_shares(target, truth), genre_shares(source, truth)))
    assert seen[1.0] > seen[0.5] + 0.15 > seen[0.0] + 0.3
    assert abs(seen[0.0]) < 0.05
    assert seen[-1.0] < -0.2


def test_the_target_does_not_depend_on_correlation_share_or_source() -> None:
    target, _, truth = world(shared=1.0)
    for changes in ({"correlation": 0.0}, {"source_items": 100, "source_events": 5.0}, {"shared": 0.3}):
        other, _, other_truth = world(**{"shared": 1.0, **changes})
        assert other.events.equals(target.events.filter(pl.col("user").is_in(other.events["user"].unique().implode())))
        assert np.array_equal(other_truth.click, truth.click)


def test_activity_and_generosity_carry_over_only_with_correlation() -> None:
    carried = {}
    for rho in (1.0, 0.0):
        target, source, truth = world(correlation=rho, shared=1.0)
        count = [np.log(matrix(d, truth).sum(1)) for d in (target, source)]
        mean = [matrix(d, truth, "rating").sum(1) / matrix(d, truth).sum(1) for d in (target, source)]
        carried[rho] = correlation(*count), correlation(*mean), correlation(count[1], mean[0])
    assert min(carried[1.0][:2]) > 0.3
    assert max(map(abs, carried[0.0])) < 0.1  # 1000 users: three standard errors


def test_source_history_helps_exactly_when_tastes_correlate() -> None:
    for rho, helps in ((0.9, True), (0.0, False)):
        gain = transfer_gain(rho)
        error = gain.std() / np.sqrt(len(gain))
        assert bool(gain.mean() > 5 * error) is helps, f"gain {gain.mean():.3f} +- {error:.3f} at correlation {rho}"
        assert helps or gain.mean() < 0.01


def test_events_per_user_and_sparsity() -> None:
    for wanted in (3.0, 12.0, 40.0):
        per_user = world(target_events=wanted)[0].events.group_by("user").len()["len"]
        assert per_user.mean() == pytest.approx(wanted, rel=0.08)
        assert per_user.min() >= 1
    assert world(source_events=60.0)[1].events.height > 1.8 * world(source_events=30.0)[1].events.height


def test_share_of_common_users() -> None:
    for share in (0.0, 0.6, 1.0):
        in_target, in_source = membership(config(shared=share))
        target, source, truth = world(shared=share)
        assert len(set(target.events["user"]) & set(source.events["user"])) == round(share * 1000)
        assert (in_target | in_source).all()
        assert set(target.events["user"]) == set(np.array(truth.users)[in_target])
        assert abs(int(in_target.sum()) - int(in_source.sum())) <= 1


def test_popularity_skew() -> None:
    flat, default, steep = (gini(matrix(*world(popularity_skew=s)[::2]).sum(0)) for s in (0.0, 0.8, 1.5))
    assert flat < default - 0.1 < steep - 0.2


def test_noise_is_what_the_truth_does_not_explain() -> None:
    left = []
    for noise in (0.0, 0.5, 1.5):
        target, _, truth = world(noise=noise)
        stars = matrix(target, truth, "rating")
        left.append(float(np.square(stars - truth.rating)[stars > 0].mean()))
    assert left[0] < 0.1  # rounding alone: 1/12
    assert left[0] + 0.1 < left[1] < left[2] - 0.3


def test_text_tells_the_topic_within_and_across_domains() -> None:
    target, source, _ = world()
    counts = CountVectorizer().fit(source.items["text"].to_list())
    model = MultinomialNB().fit(counts.transform(source.items["text"].to_list()), source.items["genres"].to_list())
    assert model.score(counts.transform(target.items["text"].to_list()), target.items["genres"].to_list()) > 0.9
    assert target.items["genres"].n_unique() == 8
    assert world(topics=11)[0].items["genres"].n_unique() == 11


def test_prices() -> None:
    _, _, truth = world()
    wide, flat = world(price_spread=1.0)[2].price, world(price_spread=0.0, price=7.5)[2].price
    assert truth.price.min() > 0
    assert np.median(truth.price) == pytest.approx(12, rel=0.1)
    assert np.log(wide).std() > 1.5 * np.log(truth.price).std()
    assert np.all(flat == 7.5)


def test_clicks_and_purchases_have_the_configured_rates_and_follow_taste() -> None:
    for click, buy in ((0.05, 0.1), (0.3, 0.5)):
        truth = world(click_rate=click, purchase_rate=buy)[2]
        assert truth.click.mean() == pytest.approx(click, rel=1e-3)
        assert np.average(truth.buy, weights=truth.click) == pytest.approx(buy, rel=1e-3)
        for name in ("rating", "click", "buy"):
            values = getattr(truth, name)
            assert (values.dtype, values.shape) == (np.float32, (1000, 300))
        assert min(truth.click.min(), truth.buy.min()) > 0
        assert max(truth.click.max(), truth.buy.max()) < 1  # P(bought) = click * buy < click
        assert correlation(truth.click, truth.rating) > 0.5
        cheap = truth.price < np.median(truth.price)
        assert truth.buy[:, cheap].mean() > truth.buy[:, ~cheap].mean()


def test_more_events_than_items_is_one_clear_error() -> None:
    with pytest.raises(TransferError, match=r"domain\.source_events=30.*write domain\.source_items=30 or more"):
        world(source_items=20)


def test_a_planted_block_tells_of_topics_as_much_as_asked_in_one_space() -> None:
    """Cosines of items of one topic, within a domain and between: high, lower, none; adding a block moves nothing else."""
    blocks = {"clear": 1.0, "dim": 0.7, "useless": 0.0}
    books, movies, _ = world(features=blocks, users=50, source_items=160, target_items=120)
    plain, _, _ = world(users=50, source_items=160, target_items=120)
    assert books.events.equals(plain.events)
    assert books.items.drop(*blocks).equals(plain.items)
    same = books.items["genres"].to_numpy()[:, None] == movies.items["genres"].to_numpy()[None, :]
    gain = {}
    for block in blocks:
        a, b = (np.stack(domain.items[block].to_list()) for domain in (books, movies))
        cosine = (a / np.linalg.norm(a, axis=1, keepdims=True)) @ (b / np.linalg.norm(b, axis=1, keepdims=True)).T
        gain[block] = cosine[same].mean() - cosine[~same].mean()
    assert gain["clear"] > 0.5
    assert gain["dim"] == pytest.approx(0.49 * gain["clear"], rel=0.25)
    assert abs(gain["useless"]) < 0.02
