"""Files as people have them: which column is what, which moment comes first, who is who, and what was known before."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

from transfer.api import compose
from transfer.data.interactions.build import build_world
from transfer.data.interactions.likes import divided, with_likes
from transfer.data.interactions.split import split
from transfer.data.interactions.world import Loaded
from transfer.data.load import read_domains
from transfer.errors import TransferError
from transfer.evaluate import ranked
from transfer.experiment.build import load_world

N_USERS, N_ITEMS = 200, {"movies": 80, "books": 60}


def ratings() -> dict[str, pl.DataFrame]:
    """Ratings 1-5 of users with taste, 12 films and 10 books each, with times in seconds."""
    rng = np.random.default_rng(0)
    users, movies, books = (rng.normal(size=(n, 4)) for n in (N_USERS, *N_ITEMS.values()))
    tables = {}
    for name, items, count in (("movies", movies, 12), ("books", books, 10)):
        match = users @ items.T + rng.normal(size=(N_USERS, len(items)))
        rows = []
        for u in range(N_USERS):
            p = np.exp(0.5 * match[u])
            chosen = rng.choice(len(items), size=count, replace=False, p=p / p.sum())
            times = np.sort(rng.integers(1_400_000_000, 1_500_000_000, size=count))
            stars = np.clip(np.round(3 + match[u, chosen] * 0.6), 1, 5).astype(int)
            rows += [
                (f"u{u:04d}", f"{name[0]}{i:03d}", int(r), int(t)) for i, r, t in zip(chosen, stars, times, strict=True)
            ]
        tables[name] = pl.DataFrame(rows, ["user_id", "item_id", "rating", "timestamp"], orient="row")
    return tables


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    for name, table in ratings().items():
        table.write_csv(folder / f"{name}.csv")
    return folder


def words(folder: Path, *more: str) -> list[str]:
    return ["domain=files", f"data_dir={folder}", "domain.target=books.csv", "domain.source=null", *more]


def load(folder: Path, *more: str) -> Loaded:
    found = load_world(compose(words(folder, *more)))
    assert isinstance(found, Loaded)
    return found


def popularity(loaded: Loaded) -> float:
    """nDCG@10 on the test part of what is chosen most in training."""
    counts = loaded.world.target.train.item_counts
    scores = lambda users: jnp.broadcast_to(counts, (len(users), len(counts)))  # noqa: E731
    return round(float(ranked.evaluate(scores, loaded.world.test, (10,), 0)["ndcg@10"]), 4)


def events(loaded: Loaded, part: str) -> tuple[int, int]:
    counts = loaded.summary["target"][part]
    return counts["users"], counts["events"]


def hidden_pairs(loaded: Loaded) -> set[tuple[str, str]]:
    part = loaded.world.test
    chunk, slot = np.nonzero(np.asarray(part.row) < part.users.shape[1])
    users = np.asarray(part.users)[chunk, np.asarray(part.row)[chunk, slot]]
    return {(loaded.users[u], loaded.items[i]) for u, i in zip(users, np.asarray(part.item)[chunk, slot], strict=True)}


# --- the order of the steps ----------------------------------------------------------------------------------------------


def test_likes_come_before_the_split_and_what_is_rated_is_no_candidate(data: Path) -> None:
    """Each step alone by its right value, as recomputed by hand, and both together."""
    own = ("domain.target.positive=4", "domain.target.scale=[1,5]")
    for name, before, together in (("leave_one_out", 0.1200, 0.1241), ("ratio", 0.1379, 0.1411)):
        config: Any = compose(words(data, *own, f"split={name}"))
        target = with_likes(read_domains(config.domain, data)[0])
        unmasked = build_world(target, [], replace(split(target, [], config.split, data), rated=None), True, 0)
        loaded = load(data, *own, f"split={name}")
        assert (popularity(unmasked), popularity(loaded)) == (before, together)
        assert events(loaded, "test") == events(loaded, "valid") == (197, 197)
        assert events(loaded, "train") == (200, 963)
        assert loaded.protocol["likes"] == "ratings of 4 or more, taken before the split"
        assert "liked or not" in loaded.protocol["rated"]
    config = compose(words(data, *own, "split=ratio"))
    target = read_domains(config.domain, data)[0]
    parts = split(target, [], config.split, data)  # of all ratings
    liked, others = zip(*(divided(part, target) for part in (parts.train, parts.valid, parts.test)), strict=True)
    assert [len(part) for part in liked] == [1094, 136, 127]
    named = dict(zip(("train", "valid", "test"), liked, strict=True))
    rated = pl.concat([part.select("user", "item", "rating") for part in others])
    for masked, value in ((None, 0.1457), (rated, 0.1548)):
        assert popularity(build_world(target, [], replace(parts, **named, rated=masked), True, 0)) == value


def test_what_a_reader_rated_is_never_recommended(data: Path) -> None:
    loaded = load(data, "domain.target.positive=4", "split=ratio")
    rated = loaded.world.rated
    assert rated is not None
    unliked = ratings()["books"].filter(pl.col("rating") < 4).select("user_id", "item_id")
    known = {
        (loaded.users[u], loaded.items[i]) for u, i in zip(np.asarray(rated.users), np.asarray(rated.items), strict=True)
    }
    assert known == {pair for pair in unliked.rows() if pair[1] in loaded.items}
    assert not known & hidden_pairs(loaded)
    assert load(data, "split=ratio").world.rated is None, "without a threshold all is liked"


@pytest.mark.parametrize("name", ["ratio", "leave_one_out", "few_shot", "global_time"])
@pytest.mark.parametrize("core", [0, 5])
def test_the_test_set_does_not_depend_on_a_source_and_has_none_who_fell_below_the_core(
    name: str, core: int, data: Path
) -> None:
    own = (
        "domain.target.positive=4",
        f"split={name}",
        f"domain.core={core}",
        *(["split.keep=5"] if name == "few_shot" else []),
    )
    alone, helped = load(data, *own), load(data, *own, "domain.source=movies.csv")
    assert hidden_pairs(alone) == hidden_pairs(helped)
    for loaded in (alone, helped):
        part, starts = loaded.world.test, np.asarray(loaded.world.target.train.starts)
        users = np.asarray(part.users).reshape(-1)[: int(part.n_users)]
        assert (starts[users + 1] - starts[users] >= max(core, 1)).all()


# --- columns -------------------------------------------------------------------------------------------------------------


def test_the_column_of_every_role_is_said_and_none_where_there_is_none(data: Path) -> None:
    table = ratings()["books"]
    table.rename({"rating": "score"}).write_csv(data / "score.csv")
    table.rename({"rating": "mark"}).drop("timestamp").write_csv(data / "mark.csv")
    own = ("domain.target.positive=4", "domain.target.scale=[1,5]", "split=ratio")
    found = load(data, "domain.target=score.csv", *own)
    assert events(found, "test") == (197, 197)
    said = {"user": "user_id", "item": "item_id", "rating": "score", "time": "timestamp", "title": None}
    assert found.summary["target"]["columns"] == said
    with pytest.raises(TransferError, match=r"rating, which `positive` needs; its columns are user_id, item_id, mark"):
        load(data, "domain.target=mark.csv", *own)
    untimed = load(data, "domain.target=mark.csv", "split=leave_one_out")
    assert untimed.summary["target"]["columns"]["time"] is untimed.summary["target"]["columns"]["rating"] is None
    assert untimed.protocol["order"] == "random (there are no times)"
    assert untimed.summary["target"]["likes"] == "every event (there are no ratings)"
    assert load(data, "split=ratio").summary["target"]["likes"] == "every rating, whatever it says"
    table.rename({"timestamp": "date"}).write_csv(data / "date.csv")
    dated = load(data, "domain.target=date.csv", "split=leave_one_out")
    assert (dated.protocol["order"], popularity(dated)) == ("by time", 0.1192)


def test_parts_by_files_are_read_as_their_domain_is(data: Path, tmp_path: Path) -> None:
    order = ratings()["books"].with_columns(n=pl.int_range(pl.len()).over("user_id")).rename({"rating": "mark"})
    for name, keep in (("train", pl.col("n") < 8), ("valid", pl.col("n") == 8), ("test", pl.col("n") == 9)):
        order.filter(keep).drop("n").write_csv(tmp_path / f"target_{name}.csv")
    order.drop("n").write_csv(data / "marks.csv")
    own = "domain.target={path: marks.csv, rating: mark, positive: 4, scale: [1,5]}"
    loaded = load(data, own, "split=files", f"split.dir={tmp_path}")
    liked = order.filter(pl.col("mark") >= 4)
    assert events(loaded, "train")[1] == len(liked.filter(pl.col("n") < 8))
    trained = liked.filter(pl.col("n") < 8)["user_id"].unique().implode()
    assert events(loaded, "test")[1] == len(liked.filter((pl.col("n") == 9) & pl.col("user_id").is_in(trained)))


def test_titles_are_counted_and_a_table_that_fits_no_item_is_refused(data: Path) -> None:
    ids = [f"b{i:03d}" for i in range(60)]
    table = pl.DataFrame({"id": ids, "book_id": ids[::-1], "title": [f"Title {i}" for i in range(60)]})
    table.write_csv(data / "titles.csv")
    with pytest.raises(
        TransferError, match=r"both book_id and id could be the items' ids .*items: \{path: titles.csv, item"
    ):
        load(data, "domain.target.items=titles.csv", "split=ratio")
    for given in (
        ["domain.target.items={path: titles.csv, item: id}"],
        ["domain.target.items.item=id", "domain.target.items=titles.csv"],
    ):
        found = load(data, *given, "split=ratio")
        assert found.titles["b007"] == "Title 7"
        assert found.summary["target"]["titles"] == {"known": 60, "of": 60}
    table.select("title", isbn=pl.lit("978-") + pl.col("id")).write_csv(data / "isbn.csv")
    with pytest.raises(
        TransferError, match=r"column isbn has none of the 60 items.*items: \{path: isbn.csv, item: COLUMN\}"
    ):
        load(data, "domain.target.items=isbn.csv", "split=ratio")


# --- times ---------------------------------------------------------------------------------------------------------------


def test_milliseconds_keep_their_order(tmp_path: Path) -> None:
    rows = [
        (f"u{u}", f"b{(7 * u + k) % 60}", 1_500_000_000_000 + u * 10_000 + k * 150) for u in range(300) for k in range(5)
    ]
    table = pl.DataFrame(rows, ["user_id", "item_id", "timestamp"], orient="row")
    table.sample(fraction=1, shuffle=True, seed=1).write_csv(tmp_path / "books.csv")
    assert hidden_pairs(load(tmp_path, "split=leave_one_out")) == {(f"u{u}", f"b{(7 * u + 4) % 60}") for u in range(300)}


SECONDS = 1_412_618_765
WRITTEN = {
    "seconds": (str(SECONDS), SECONDS, None),
    "fractions": (f"{SECONDS}.25", SECONDS + 0.25, None),
    "milliseconds": (f"{SECONDS}250", SECONDS + 0.25, None),
    "microseconds": (f"{SECONDS}250000", SECONDS + 0.25, None),
    "nanoseconds": (f"{SECONDS}250000000", SECONDS + 0.25, None),
    "ISO in UTC": ("2014-10-06T18:06:05Z", SECONDS, None),
    "ISO with an offset": ("2014-10-06 20:06:05.250+02:00", SECONDS + 0.25, None),
    "ISO day": ("2014-10-06", 1_412_553_600, None),
    "day as a number": ("20141006", 1_412_553_600, None),
    "a named format": ("06.10.2014", 1_412_553_600, "%d.%m.%Y"),
}


@pytest.mark.parametrize("how", WRITTEN)
def test_a_moment_is_the_same_however_it_is_written(how: str, tmp_path: Path) -> None:
    cell, seconds, written = WRITTEN[how]
    (tmp_path / "books.csv").write_text(f"user,item,date\na,i,{cell}\nb,j,{cell}\n")
    config: Any = compose(words(tmp_path, *([f"domain.target.time_format='{written}'"] if written else [])))
    assert read_domains(config.domain, tmp_path)[0].events["time"].to_list() == [seconds] * 2


@pytest.mark.parametrize(
    ("cells", "written"),
    [
        (("2014-10-06", "2014-02-30"), None),
        (("5", "2014-10-06"), None),
        (("06.10.2014", "2014-10-06"), "%d.%m.%Y"),
        (("06.10.2014", "07.10.2014"), None),
    ],
)
def test_a_cell_that_is_no_time_is_named(cells: tuple[str, str], written: str | None, tmp_path: Path) -> None:
    (tmp_path / "books.csv").write_text("user,item,date\n" + "".join(f"a,i{n},{cell}\n" for n, cell in enumerate(cells)))
    config: Any = compose(words(tmp_path, *([f"domain.target.time_format='{written}'"] if written else [])))
    with pytest.raises(TransferError, match=r"line [23]: time '.*' is not .*time_format"):
        read_domains(config.domain, tmp_path)


def test_dates_and_seconds_meet_and_what_does_not_meet_is_refused(data: Path) -> None:
    moment = pl.from_epoch("timestamp")
    movies = ratings()["movies"]
    movies.with_columns(timestamp=moment.dt.strftime("%Y%m%d")).write_csv(data / "days.csv")
    movies.with_columns(timestamp=moment.dt.strftime("%Y-%m-%dT%H:%M:%SZ")).write_csv(data / "iso.csv")
    movies.with_columns(timestamp=pl.int_range(pl.len()) % 11).write_csv(data / "steps.csv")
    counts = [
        load(data, "split=global_time", f"domain.source={name}.csv").summary["sources"][0]["train"]["events"]
        for name in ("movies", "iso", "days")
    ]
    assert counts[0] == counts[1] < 2400
    assert abs(counts[2] - counts[0]) <= 2
    with pytest.raises(TransferError, match=r"do not meet: steps from 1970-01-01 .* and books from 2014"):
        load(data, "split=global_time", "domain.source=steps.csv")


# --- who is who ----------------------------------------------------------------------------------------------------------


def test_equal_pairs_in_both_domains_are_counted_and_refused_above_a_share(data: Path) -> None:
    books = ratings()["books"]
    halves = [books.sample(fraction=0.6, seed=seed) for seed in (1, 2)]
    for name, half in zip("ab", halves, strict=True):
        half.write_csv(data / f"half_{name}.csv")
    own = ("domain.target=half_b.csv", "domain.source=half_a.csv", "split=ratio")
    with pytest.raises(TransferError, match=r"724 of 1,200 \(user, item\) pairs are in half_b and in the source half_a"):
        load(data, *own)
    assert load(data, *own, "domain.same_pairs=1").summary["alike"]["half_a"]["equal_pairs"] == 724
    remedied = load(data, *own, "domain.global_ids=true", "domain.mirrored=drop", "domain.source=[half_a.csv,movies.csv]")
    assert remedied.summary["alike"]["half_a"]["equal_pairs"] == 0


def test_strangers_with_numbers_and_padded_ids_are_said(tmp_path: Path) -> None:
    def write(name: str, rows: list[tuple[str, str]]) -> None:
        pl.DataFrame(rows, ["user", "item"], orient="row").write_csv(tmp_path / f"{name}.csv")

    write("books", [(str(u), f"b{(u * k) % 17}") for u in range(1, 41) for k in range(1, 6)])
    write("movies", [(str(u), f"m{(u * k) % 17}") for u in range(10, 60) for k in range(1, 6)])
    write("padded", [(f"{u:04d}", f"m{(u * k) % 17}") for u in range(10, 60) for k in range(1, 6)])
    same = load(tmp_path, "split=ratio", "domain.source=movies.csv").summary["alike"]["movies"]
    assert (same["numbered_users"], same["padded_users"], same["equal_pairs"]) == (31, 0, 0)
    apart = load(tmp_path, "split=ratio", "domain.source=movies.csv", "domain.same_users=false").summary["alike"]["movies"]
    assert apart["numbered_users"] == 0
    padded = load(tmp_path, "split=ratio", "domain.source=padded.csv").summary["alike"]["padded"]
    assert (padded["numbered_users"], padded["padded_users"]) == (0, 31)


def test_other_readers_of_the_same_books_stand_in_the_columns_of_the_target(data: Path) -> None:
    from transfer.solvers.joint import joint_rows, most_chosen

    books = ratings()["books"]
    strangers = books.with_columns(pl.col("user_id").str.replace("u", "v"), pl.col("item_id").str.replace("b00", "x00"))
    strangers.write_csv(data / "strangers.csv")
    own = ("domain.source=strangers.csv", "domain.global_ids=true", "split=ratio")
    loaded = load(data, *own)
    assert loaded.summary["users_trained_in_both"] == 0
    assert loaded.summary["alike"]["strangers"]["shared_items"] == 50
    places = loaded.world.sources[0].target_items
    assert places is not None
    named = [loaded.items[i] if i >= 0 else None for i in np.asarray(places)]
    assert named == [item if item in loaded.items else None for item in loaded.source_items[0]]
    for most in (None, 30):
        world = most_chosen(loaded.world, most)
        x = np.asarray(joint_rows(world, True, [1.0], np.arange(world.n_users)))
        rows = [i for i, user in enumerate(loaded.users) if user.startswith("v")]
        kept = np.flatnonzero(np.asarray(world.sources[0].target_items) >= 0)
        of_source = np.asarray(world.sources[0].train.item_counts)
        at = np.asarray(world.sources[0].target_items)[kept]
        np.testing.assert_array_equal(x[rows][:, at].sum(axis=0), of_source[kept])
        assert not x[:, world.n_items + kept].any()
    assert load(data, *own[::2]).world.sources[0].target_items is None


# --- kept worlds ---------------------------------------------------------------------------------------------------------


def test_a_file_that_is_written_anew_is_read_anew(tmp_path: Path) -> None:
    def write(step: int) -> None:
        rows = [(f"u{u}", f"b{(u * step + k) % 20}") for u in range(20) for k in range(5)]
        pl.DataFrame(rows, ["user", "item"], orient="row").write_csv(tmp_path / "books.csv")

    write(3)
    (tmp_path / "titles.csv").write_text("item,title\nb1,One\n")
    own = ("split=ratio", "domain.target.items=titles.csv")
    first = load(tmp_path, *own)
    assert load(tmp_path, *own) is first
    (tmp_path / "titles.csv").write_text("item,title\nb1,Two\n")
    os.utime(tmp_path / "titles.csv", ns=(1, 1))  # a clock that is set back
    second = load(tmp_path, *own)
    assert (first.titles, second.titles) == ({"b1": "One"}, {"b1": "Two"})
    assert second.fingerprint == first.fingerprint, "no figure depends on a title"
    assert second.summary["names"] != first.summary["names"], "but what is shown does"
    write(7)
    assert load(tmp_path, *own).fingerprint != first.fingerprint
