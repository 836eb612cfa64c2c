"""Splits: nothing is lost or shared between parts, the seed alone decides, and each rule hides what it says."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from transfer.config.splits import Split
from transfer.data.interactions.domain import EVENTS, Domain
from transfer.data.interactions.split import Parts, split
from transfer.errors import TransferError

Event = tuple[str, str]
DEFAULTS: dict[str, dict[str, Any]] = {
    "cold_start": {"beta": 0.2, "valid": 0.1},
    "ratio": {"valid": 0.1, "test": 0.1},
    "leave_one_out": {},
    "global_time": {"valid": 0.1, "test": 0.1},
}
NAMES = list(DEFAULTS)
SHARED = 20


def config(name: str, **changes: Any) -> Split:
    return Split(**{"name": name, "seed": 0, "stop": 0.1, **DEFAULTS.get(name, {}), **changes})


def domain(name: str, events: dict[Event, int | None]) -> Domain:
    rows = [(user, item, float(1 + len(item) % 5), time) for (user, item), time in events.items()]
    return Domain(
        name, pl.DataFrame(rows, EVENTS, orient="row"), pl.DataFrame(schema={"item": pl.String, "title": pl.String})
    )


def divide(target: Domain, sources: list[Domain], how: Split, folder: Path = Path()) -> Parts:
    return split(target, sources, how, folder)


def pairs(events: pl.DataFrame) -> set[Event]:
    found = set(events.select("user", "item").iter_rows())
    assert len(found) == len(events)
    return found


def users(events: pl.DataFrame) -> set[str]:
    return set(events["user"])


def frames(parts: Parts) -> list[list[tuple[Any, ...]]]:
    """Every part as sorted rows, with its marks."""
    return [sorted(part.iter_rows()) for part in (parts.train, parts.valid, parts.test, *parts.sources)]


def shuffled(of: Domain, seed: int) -> Domain:
    return Domain(of.name, of.events.sample(fraction=1, shuffle=True, seed=seed), of.items)


def random_world(seed: int) -> tuple[Domain, Domain]:
    """Books and movies: SHARED common users and some of one domain only; 1 to 12 events each, times often equal."""
    random = Random(seed)

    def events(prefix: str, alone: str) -> dict[Event, int | None]:
        people = [f"u{n}" for n in range(SHARED)] + [f"{alone}{n}" for n in range(5)]
        chosen = [(user, item) for user in people for item in random.sample(range(15), random.randint(1, 12))]
        return {(user, f"{prefix}{item}"): random.randrange(40) for user, item in chosen}

    return domain("books", events("b", "reader")), domain("movies", events("m", "viewer"))


fast = settings(deadline=None, max_examples=20)
worlds, seeds = st.integers(0, 2**32).map(random_world), st.integers(0, 1000)


@pytest.mark.parametrize("name", NAMES)
def test_parts_are_disjoint_and_complete(name: str) -> None:
    @fast
    @given(worlds, seeds)
    def check(world: tuple[Domain, Domain], seed: int) -> None:
        books, movies = world
        parts = divide(books, [movies], config(name, seed=seed))
        train, valid, test = pairs(parts.train), pairs(parts.valid), pairs(parts.test)
        assert not train & valid
        assert not train & test
        assert not valid & test
        assert train | valid | test == pairs(books.events)
        whole = pl.concat([part.select(list(EVENTS)) for part in (parts.train, parts.valid, parts.test)])
        assert sorted(whole.iter_rows()) == sorted(books.events.iter_rows())  # ratings and times untouched
        visible = pairs(parts.sources[0])
        if name == "global_time":
            assert visible < pairs(movies.events)
        else:
            assert visible == pairs(movies.events)

    check()


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides_and_the_order_of_rows_does_not(name: str) -> None:
    @fast
    @given(worlds, seeds)
    def check(world: tuple[Domain, Domain], seed: int) -> None:
        books, movies = world
        once = frames(divide(books, [movies], config(name, seed=seed)))
        again = frames(divide(shuffled(books, seed), [shuffled(movies, seed)], config(name, seed=seed)))
        other = frames(divide(books, [movies], config(name, seed=seed + 1)))
        assert once == again
        if name == "global_time":  # the cut is where it is; the seed draws only among ties in time
            assert once[1:3] == other[1:3]
            assert [[row[:4] for row in part] for part in once] == [[row[:4] for row in part] for part in other]
            return
        if name == "leave_one_out":
            assume(once[1:3] != other[1:3])  # only ties in time are drawn
        else:
            assert once[1:3] != other[1:3]
        assert once != other

    check()


@pytest.mark.parametrize("name", ["cold_start", "cold_items", "ratio", "few_shot", "global_time"])
def test_with_no_share_to_select_all_but_the_test_is_learnt_from(name: str) -> None:
    @fast
    @given(worlds, seeds)
    def check(world: tuple[Domain, Domain], seed: int) -> None:
        books, movies = world
        changes = {"seed": seed, **FOLDED.get(name, {})}
        alone = divide(books, [movies], config(name, **changes))
        whole = divide(books, [movies], config(name, **{**changes, "valid": 0}))
        assert pairs(whole.test) == pairs(alone.test)
        assert not len(whole.valid)
        assume(len(alone.valid))
        assert pairs(whole.train) == pairs(alone.train) | pairs(alone.valid)

    check()


FOLDED = {"few_shot": {"keep": 2, "beta": 0.5, "valid": 0.1}, "cold_items": {"beta": 0.2, "valid": 0.1}}


@pytest.mark.parametrize("name", ["cold_start", "cold_items", "ratio", "few_shot"])
def test_every_fold_selects_by_a_part_of_its_own_and_all_have_one_test(name: str) -> None:
    @fast
    @given(worlds, seeds, st.integers(2, 4))
    def check(world: tuple[Domain, Domain], seed: int, folds: int) -> None:
        books, movies = world
        changes = {"seed": seed, **FOLDED.get(name, {})}
        alone = divide(books, [movies], config(name, **changes))
        parts = [divide(books, [movies], config(name, folds=folds, fold=k, **changes)) for k in range(folds)]
        for part in parts:
            assert pairs(part.test) == pairs(alone.test)
            assert pairs(part.train) | pairs(part.valid) | pairs(part.test) == pairs(books.events)
            assert not pairs(part.train) & pairs(part.valid)
        selecting = [pairs(part.valid) for part in parts]
        together = set.union(*selecting)
        assert len(together) == sum(map(len, selecting)), "no event selects twice"
        rest = pairs(books.events) - pairs(alone.test)
        if name == "cold_start":
            assert together == {pair for pair in rest if pair[0] in users(movies.events)}
            sizes = [len(users(part.valid)) for part in parts]
            assert max(sizes) - min(sizes) <= 1
        if name == "cold_items":
            assert together == rest
        if name == "ratio":
            assert together == {pair for pair in rest if sum(user == pair[0] for user, _ in pairs(books.events)) >= 3}
            of_one = [sum(user == "u0" for user, _ in valid) for valid in selecting]
            assert max(of_one) - min(of_one) <= 1
        if name == "few_shot":
            more = {user for user, _ in rest if sum(user == pair[0] for pair in pairs(books.events)) > 2}
            assert {user for user, _ in together} == more - users(alone.test)

    check()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"folds": 3}, "split.folds and split.fold go together"),
        ({"folds": 3, "fold": 3}, "split.fold=3: the last of 3 folds is 2"),
        ({"folds": 3, "fold": 0, "name": "leave_one_out"}, "has no effect with split=leave_one_out: take cold_start"),
        ({"folds": 3, "fold": 0, "test_users": "users.txt"}, "has no effect beside split.test_users"),
    ],
)
def test_folds_that_cannot_be_had_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        config(**{"name": "cold_start", **changes})


@fast
@given(worlds, seeds)
def test_cold_start_hides_whole_histories_of_shared_users_and_nests(world: tuple[Domain, Domain], seed: int) -> None:
    books, movies = world
    shared = users(books.events) & users(movies.events)
    hidden, valid_users = [], []
    for beta in (0.2, 0.5, 0.8):
        parts = divide(books, [movies], config("cold_start", seed=seed, beta=beta))
        test, valid = users(parts.test), users(parts.valid)
        assert len(test) == round(beta * SHARED)
        assert len(valid) == round(0.1 * SHARED)
        assert test | valid <= shared
        assert not test & valid
        assert not (test | valid) & users(parts.train)
        assert test | valid <= users(parts.sources[0])
        hidden.append(test)
        valid_users.append(valid)
    assert hidden[0] < hidden[1] < hidden[2]
    assert valid_users[0] == valid_users[1] == valid_users[2]


@fast
@given(worlds, seeds)
def test_ratio_hides_a_tenth_and_at_least_one_from_three_events(world: tuple[Domain, Domain], seed: int) -> None:
    books, movies = world
    parts = divide(books, [movies], config("ratio", seed=seed))
    for user, mine in books.events.group_by("user"):
        n = len(mine)
        in_valid, in_test = (part.filter(pl.col("user") == user[0]).height for part in (parts.valid, parts.test))
        assert in_valid == in_test == (max(1, n // 10) if n >= 3 else 0)


def test_ratio_is_eight_to_one_to_one_for_long_histories() -> None:
    books = domain("books", {(f"u{u}", f"b{i}"): i for u in range(30) for i in range(10 * (u + 1))})
    parts = divide(books, [], config("ratio"))
    counts = [part.height / books.events.height for part in (parts.train, parts.valid, parts.test)]
    assert counts == [0.8, 0.1, 0.1]
    # at random within the user: not the last events, not the same items for everybody
    assert 0.3 < parts.test.filter(pl.col("user") == "u29")["time"].mean() / 300 < 0.7
    assert parts.test["item"].n_unique() > 50


@fast
@given(worlds, seeds)
def test_leave_one_out_takes_the_latest(world: tuple[Domain, Domain], seed: int) -> None:
    books, movies = world
    parts = divide(books, [movies], config("leave_one_out", seed=seed))
    for (user,), mine in books.events.group_by("user"):
        kept, valid, test = (
            part.filter(pl.col("user") == user)["time"].to_list() for part in (parts.train, parts.valid, parts.test)
        )
        assert len(valid) == len(test) == (1 if len(mine) >= 3 else 0)
        if test:
            assert max(kept) <= valid[0] <= test[0] == mine["time"].max()


def test_leave_one_out_without_times_is_a_draw() -> None:
    books = domain("books", {(f"u{u}", f"b{i}"): None for u in range(40) for i in range(8)})
    parts = divide(books, [], config("leave_one_out"))
    assert (parts.valid.height, parts.test.height) == (40, 40)
    assert parts.test["item"].n_unique() > 4


@fast
@given(worlds, seeds)
def test_global_time_shows_nothing_from_the_cut_on_in_any_domain(world: tuple[Domain, Domain], seed: int) -> None:
    books, movies = world
    parts = divide(books, [movies, domain("music", {("u1", "s1"): 0, ("u1", "s2"): 39})], config("global_time", seed=seed))
    cut = pl.concat([parts.valid, parts.test])["time"].min()
    for visible in (parts.train, *parts.sources):
        assert visible["time"].max() < cut
    assert pairs(parts.sources[0]) == pairs(movies.events.filter(pl.col("time") < cut))  # and everything before it
    assert parts.sources[1].height == 1
    if parts.valid.height:
        assert parts.valid["time"].max() < parts.test["time"].min()


def test_global_time_cuts_at_the_shares_of_target_events() -> None:
    books = domain("books", {(f"u{n % 7}", f"b{n}"): 1000 + n for n in range(200)})
    movies = domain("movies", {("u1", f"m{n}"): 300 * n for n in range(5)})  # most are old: they do not move the cut
    parts = divide(books, [movies], config("global_time"))
    assert [part.height for part in (parts.train, parts.valid, parts.test)] == [160, 20, 20]


@pytest.mark.parametrize(
    ("counts", "parts"),
    [
        ([100, 0, 0, 0, 30], (100, 0, 30)),  # two moments make no three parts
        ([90, 5, 5], (90, 5, 5)),
        ([96, 2, 2], (96, 2, 2)),
        ([1, 97, 1, 1], (1, 97, 2)),
        ([70, 5, 25], (70, 5, 25)),
        ([20, 20, 20, 20, 20], (60, 20, 20)),
    ],
)
def test_coarse_times_leave_something_to_every_part(counts: list[int], parts: tuple[int, int, int]) -> None:
    events = {(f"u{n % 7}", f"b{step}-{n}"): step for step, count in enumerate(counts) for n in range(count)}
    found = divide(domain("books", events), [], config("global_time"))
    assert (len(found.train), len(found.valid), len(found.test)) == parts


@pytest.mark.parametrize("name", NAMES)
def test_a_tenth_of_every_long_history_is_marked_as_the_domains_own_hold_out(name: str) -> None:
    books = domain("books", {(f"u{u}", f"b{i}"): i * 31 % 97 for u in range(20) for i in range(40)})
    movies = domain("movies", {(f"u{u}", f"m{i}"): i * 31 % 97 for u in range(20) for i in range(40)})
    parts = divide(books, [movies], config(name))
    for visible in (parts.train, *parts.sources):
        for _, mine in visible.group_by("user"):
            assert mine["stop"].sum() == int(0.1 * len(mine) + 0.5)


# --- a split by somebody else ---------------------------------------------------------------------------------------------


def write(path: Path, rows: list[Event]) -> None:
    path.write_text("user_id\titem_id\trating\n" + "".join(f"{user}\t{item}\t4\n" for user, item in rows))


@pytest.fixture
def pieces(tmp_path: Path) -> dict[str, list[Event]]:
    rows = {
        "target_train": [("1", "b1"), ("1", "b2"), ("2", "b1")],
        "target_valid": [("1", "b3")],
        "target_test": [("2", "b2"), ("3", "b2")],
        "source_train": [("1", "m1"), ("2", "m1")],
        "source_valid": [("1", "m2"), ("3", "m1")],
    }
    for name, events in rows.items():
        write(tmp_path / f"{name}.tsv", events)
    return rows


def test_files_are_taken_as_they_are(pieces: dict[str, list[Event]], tmp_path: Path) -> None:
    for directory, folder in ((str(tmp_path), Path()), (tmp_path.name, tmp_path.parent)):
        parts = divide(BOOKS, [STRANGERS], config("files", dir=directory), folder)
        assert pairs(parts.train) == set(pieces["target_train"])
        assert pairs(parts.valid) == set(pieces["target_valid"])
        assert pairs(parts.test) == set(pieces["target_test"])
        assert pairs(parts.sources[0]) == {*pieces["source_train"], *pieces["source_valid"]}
        assert pairs(parts.sources[0].filter("stop")) == set(pieces["source_valid"])
    assert divide(BOOKS, [], config("files", dir=str(tmp_path))).sources == ()


def test_lists_of_users_replace_the_draw(tmp_path: Path) -> None:
    books = domain("books", {(f"u{u}", f"b{i}"): None for u in range(6) for i in range(3)})
    (tmp_path / "test.txt").write_text("u4\nu1\n")
    (tmp_path / "valid.txt").write_text("u2\n")
    lists = {"test_users": "test.txt", "valid_users": "valid.txt"}
    parts = divide(books, [], config("cold_start", **lists), tmp_path)
    assert users(parts.test) == {"u1", "u4"}
    assert users(parts.valid) == {"u2"}
    assert users(parts.train) == {"u0", "u3", "u5"}
    (tmp_path / "valid.txt").write_text("u4\nu2\n")
    with pytest.raises(TransferError, match=r"valid\.txt: user 'u4' is a test user too"):
        divide(books, [], config("cold_start", **lists), tmp_path)
    (tmp_path / "test.txt").write_text("\n")
    with pytest.raises(TransferError, match=r"test\.txt: no users; write one user id per line"):
        divide(books, [], config("cold_start", **lists), tmp_path)


# --- errors ------------------------------------------------------------------------------------------------------------

BOOKS = domain("books", {(f"u{u}", f"b{i}"): None for u in range(12) for i in range(4)})
STRANGERS = domain("movies", {(f"v{u}", f"m{i}"): None for u in range(12) for i in range(4)})


@pytest.mark.parametrize(
    ("target", "sources", "how", "message"),
    [
        (BOOKS, [STRANGERS], config("cold_start"), "books shares with a source, and movies shares 0; use split=ratio"),
        (BOOKS, [], config("cold_start"), "and no source shares 0"),
        (BOOKS, [BOOKS], config("cold_start", beta=None), "needs split.beta and split.valid, or split.test_users=FILE"),
        (BOOKS, [STRANGERS], config("global_time"), "needs a time for every event, and books has none; use split=ratio"),
        (domain("b", {("u", "i"): 1}), [STRANGERS], config("global_time"), "and movies has none"),
        (domain("b", {("u", "i"): 1, ("u", "j"): 1}), [], config("global_time"), "leaves no train events of b"),
        (domain("b", {("u", "i"): 1, ("v", "j"): 1}), [], config("ratio"), "leaves no test events of b"),
        (BOOKS, [], config("files"), "needs split.dir=FOLDER"),
        (BOOKS, [STRANGERS, STRANGERS], config("files", dir="."), "knows one source"),
        (BOOKS, [], config("files", dir="nowhere"), "no target_train.tsv"),
        (BOOKS, [], config("cold_start", test_users="nobody.txt"), "nobody.txt"),
    ],
)
def test_errors_are_one_line_with_a_remedy(target: Domain, sources: list[Domain], how: Split, message: str) -> None:
    with pytest.raises(TransferError, match=re.escape(message)) as caught:
        divide(target, sources, how)
    assert "\n" not in str(caught.value)


def test_a_split_must_leave_something_to_train_on() -> None:
    with pytest.raises(ValueError, match="beta/test plus valid must be below 1"):
        config("cold_start", beta=0.9, valid=0.1)
