"""One file, many domains: `where` and `each` give the same worlds as files of their own, and say what they do not find."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transfer.api import compose, run
from transfer.config.domains import FileDomains, Files
from transfer.config.parts import domain_name
from transfer.data.interactions import file_parts, read
from transfer.data.interactions.domain import Domain
from transfer.data.interactions.file_parts import read_domains
from transfer.data.interactions.world import Loaded
from transfer.errors import TransferError
from transfer.experiment.build import load_world
from transfer.report.run_table import world_notes

KINDS = ("Books", "Film & TV", "Music/Audio", "Jeux vidéo")
COLUMNS = "user: who, item: what, rating: mark, time: at"


def table(kinds: tuple[str, ...] = KINDS, seed: int = 0) -> pl.DataFrame:
    """30 readers rate 8 of 20 things of every kind, by columns that no one recognises, the kinds mixed."""
    random = Random(seed)
    rows = [
        (f"u{user}", f"{kind[0]}{item}", random.randint(1, 5), 1_400_000_000 + random.randrange(10**6), kind, land)
        for land, users in (("de", range(18)), ("us", range(18, 30)))
        for user in users
        for kind in kinds
        for item in random.sample(range(20), 8)
    ]
    random.shuffle(rows)
    return pl.DataFrame(rows, ["who", "what", "mark", "at", "kind", "land"], orient="row")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    table().write_parquet(tmp_path / "all.parquet")
    return tmp_path


def load(folder: Path, target: str, source: str, *more: str) -> Loaded:
    words = ["domain=files", f"data_dir={folder}", f"domain.target={target}", f"domain.source={source}", *more]
    found = load_world(compose(words))
    assert isinstance(found, Loaded)
    return found


def part(path: str = "all.parquet", more: str = "where: {kind: Books}") -> str:
    return f"{{path: {path}, {COLUMNS}, {more}}}"


EACH = part(more="each: kind")


def same(a: Loaded, b: Loaded) -> None:
    assert a.fingerprint == b.fingerprint
    assert (a.users, a.items, a.source_items, a.titles) == (b.users, b.items, b.source_items, b.titles)
    assert [source["name"] for source in a.summary["sources"]] == [source["name"] for source in b.summary["sources"]]
    for key in ("cleaning", "alike", "names"):
        assert a.summary[key] == b.summary[key]


@pytest.mark.parametrize("split", ["cold_start", "ratio", "global_time"])
@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_kinds_in_one_file_are_what_they_are_in_files_of_their_own(suffix: str, split: str, tmp_path: Path) -> None:
    whole = table()
    write = {"csv": pl.DataFrame.write_csv, "parquet": pl.DataFrame.write_parquet}[suffix]
    write(whole, tmp_path / f"all.{suffix}")
    write(whole.reverse(), tmp_path / f"reversed.{suffix}")
    for n, kind in enumerate(KINDS):
        write(whole.filter(pl.col("kind") == kind).drop("kind"), tmp_path / f"{n}.{suffix}")
    own = (f"split={split}", "domain.global_ids=true", "domain.mirrored=drop", "domain.near_duplicates=merge")
    mixed = load(tmp_path, part(f"all.{suffix}"), part(f"all.{suffix}", "each: kind"), *own)
    names = [part(f"{n}.{suffix}", f'name: "{kind}"') for n, kind in enumerate(KINDS)]
    apart = load(tmp_path, names[0], f"[{','.join(names[i] for i in (1, 3, 2))}]", *own)  # sources by their names
    same(mixed, apart)
    assert [source["name"] for source in mixed.summary["sources"]] == ["Film & TV", "Jeux vidéo", "Music/Audio"]
    same(mixed, load(tmp_path, part(f"reversed.{suffix}"), part(f"reversed.{suffix}", "each: kind"), *own))
    listed = ",".join(part(f"all.{suffix}", f'where: {{kind: "{KINDS[i]}"}}') for i in (1, 3, 2))
    same(mixed, load(tmp_path, part(f"all.{suffix}"), f"[{listed}]", *own))


VALUES = st.sampled_from(["a", "b", "c", "d/e"])


def pairs(domain: Domain) -> set[tuple[str, str]]:
    return set(domain.events.select("user", "item").rows())


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(VALUES, st.sampled_from(["x", "y"])), min_size=1, max_size=30),
    kinds=st.sets(VALUES),
    lands=st.sets(st.sampled_from(["x", "y"])),
)
def test_the_target_and_every_other_part_are_the_file(
    rows: list[tuple[str, str]], kinds: set[str], lands: set[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("parts") / "a.csv"
    named = [(f"u{n}", f"i{n}", *row) for n, row in enumerate(rows)]
    pl.DataFrame(named, ["user", "item", "kind", "land"], orient="row").write_csv(path)
    where = {column: sorted(values) for column, values in (("kind", kinds), ("land", lands)) if values}
    of_target = {
        n for n, (kind, land) in enumerate(rows) if (not kinds or kind in kinds) and (not lands or land in lands) and where
    }
    expected: dict[str, set[int]] = {}
    for n, (kind, _) in enumerate(rows):
        if n not in of_target and kind not in kinds:
            expected.setdefault(kind, set()).add(n)
    target, each = Files(path=str(path), where=where), Files(path=str(path), each="kind")
    try:
        found, sources = read_domains(target, [each], path.parent)
    except TransferError as error:
        present = [{row[i] for row in rows} for i in (0, 1)]
        if kinds <= present[0] and lands <= present[1] and expected and of_target:
            raise AssertionError(f"refused: {error}") from error
        return
    assert of_target
    assert expected
    assert pairs(found) == {(f"u{n}", f"i{n}") for n in of_target}
    assert {s.name: pairs(s) for s in sources} == {k: {(f"u{n}", f"i{n}") for n in of} for k, of in expected.items()}


def test_a_file_is_read_once_for_all_its_domains(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scans: list[Path] = []
    collect = read.collect

    def counted(table: Any, wanted: Any) -> Any:
        scans.append(table.path)
        return collect(table, wanted)

    monkeypatch.setattr(read, "collect", counted)
    liked = part(more="where: {kind: 'Film & TV', land: us}, positive: 5")
    loaded = load(folder, part(more="where: {kind: Books}, positive: 4"), f"[{EACH},{liked}]")
    assert scans == [folder / "all.parquet"]
    assert len(loaded.world.sources) == 4


def test_files_and_parts_mix_and_a_name_stands_before_the_values(folder: Path) -> None:
    table(("Books", "Comics")).write_csv(folder / "other.csv")
    own = part("other.csv", "each: kind, name: shop")
    loaded = load(folder, part(), f"[{EACH},{own}]", "domain.same_pairs=1")
    names = [source["name"] for source in loaded.summary["sources"]]
    assert names == ["Film & TV", "Jeux vidéo", "Music/Audio", "shop Books", "shop Comics"]
    assert loaded.summary["sources"][-1]["where"] == {"kind": ["Comics"]}
    with pytest.raises(TransferError, match=r"two domains are called 'Books'; give each its own `name`"):
        load(folder, part(), part("other.csv", "each: kind"))


def test_plain_words_set_a_part_in_any_order(folder: Path) -> None:
    table().rename({"who": "user", "what": "item"}).write_csv(folder / "plain.csv")
    words = ["domain.source=plain.csv", "domain.source.each=kind", "domain.target=plain.csv"]
    words += ["domain.target.where={kind: [Books, 'Film & TV'], land: de}", f"data_dir={folder}", "domain=files"]
    for order in (words, words[::-1]):
        loaded = load_world(compose(order))
        assert isinstance(loaded, Loaded)
        assert loaded.summary["target"]["name"] == "Books + Film & TV de"
        assert [source["name"] for source in loaded.summary["sources"]] == ["Jeux vidéo", "Music/Audio"]


def test_cells_are_compared_by_what_they_mean(tmp_path: Path) -> None:
    columns = {
        "step": [1, 2, 2, 3],
        "half": [1.0, 2.5, 4.0, 4.0],
        "new": [True, False, True, True],
        "word": [" a ", "b", "a", "b"],
    }
    frame = pl.DataFrame({"user": list("abcd"), "item": list("wxyz"), **columns})
    frame.write_parquet(tmp_path / "a.parquet")
    frame.rename({"word": "word:token"}).write_csv(tmp_path / "a.inter", separator="\t")
    for where, users in (
        ({"step": 2}, "bc"),
        ({"step": [1, 3]}, "ad"),
        ({"half": 4}, "cd"),
        ({"half": [2.5, "1.0"]}, "ab"),
        ({"new": True}, "acd"),
        ({"word": "a"}, "ac"),
        ({"word": ["a", "b"], "new": False}, "b"),
    ):
        for path in ("a.parquet", "a.inter"):
            if "half" in where and path == "a.inter" and where["half"] == 4:
                continue  # text: 4.0 is written there
            (found, _) = read_domains(Files(path=path, where=where), [], tmp_path)
            assert "".join(found.events["user"]) == users, (where, path)
    _, sources = read_domains(Files(path="a.parquet", where={"step": 1}), [Files(path="a.parquet", each="half")], tmp_path)
    assert [source.name for source in sources] == ["2.5", "4.0"]


FAULTS = {
    "where: {knid: Books}": r"no column 'knid'; did you mean kind; its columns are who, .*correct `where: \{knid: …\}`",
    "where: {kind: Boks}": r"no row has kind 'Boks'; did you mean Books\? it has Books, Film & TV, Jeux vidéo, Music/A",
    "where: {kind: [Books, 7]}": r"no row has kind '7'; it has Books",
    "where: {kind: Books, mark: 6}": r"no row has mark '6'; it has 1, 2, 3, 4, 5$",
    "where: {kind: Books, who: u1, what: J1}": r"no row has kind Books and who u1 and what J1 at once; correct `where`",
}


@pytest.mark.parametrize("more", FAULTS)
def test_what_a_file_does_not_have_is_one_line(more: str, folder: Path) -> None:
    with pytest.raises(TransferError, match=rf"all\.parquet.*{FAULTS[more]}") as caught:
        load(folder, part(more=more), "null")
    assert "\n" not in str(caught.value)


def test_faults_of_each_are_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TransferError, match=r"no column 'sort'; .* correct `each: sort`"):
        load(folder, part(), part(more="each: sort"))
    for target in (part(more="name: all"), part(more="where: {land: [de, us]}")):
        with pytest.raises(TransferError, match=r"leaves no row to `each: kind`; .*domain.target.where=\{kind: VALUE\}"):
            load(folder, target, EACH)
    monkeypatch.setattr(file_parts, "MOST", 25)
    with pytest.raises(TransferError, match=r"`each: who` would make 30 domains; name a column of at most 25 values"):
        load(folder, part(), part(more="each: who"))
    with pytest.raises(TransferError, match=r"a source has the rows of the target \(kind Books\)"):
        load(folder, part(), part())


@pytest.mark.parametrize("cell", ["", " ", "\u200b", None])
def test_a_value_that_is_no_name_is_named_by_its_row(cell: str | None, folder: Path) -> None:
    rows = table()
    kinds = [*rows["kind"][:-1], cell]
    rows.with_columns(kind=pl.Series(kinds)).write_parquet(folder / "all.parquet")
    with pytest.raises(TransferError, match=rf"all\.parquet, row {len(rows)}: `each: kind` .* is no name; fill it in"):
        load(folder, part(), EACH)
    named = ", ".join(f'"{kind}"' for kind in KINDS[1:])
    assert len(load(folder, part(), part(more=f"each: kind, where: {{kind: [{named}]}}")).world.sources) == 3


def test_rows_of_no_domain_may_have_faults(folder: Path) -> None:
    rows = table().with_columns(pl.col("mark").cast(pl.Float64))
    bad = rows.head(1).with_columns(kind=pl.lit("Broken"), mark=pl.lit(float("nan")), what=pl.lit(""))
    pl.concat([bad, rows, bad]).write_parquet(folder / "bad.parquet")
    films = part(more='where: {kind: "Film & TV"}')
    found = load(folder, part("bad.parquet"), films.replace("all", "bad"))
    same(found, load(folder, part(), films))
    with pytest.raises(TransferError, match=r"bad\.parquet, row 1: empty item id"):
        load(folder, part("bad.parquet"), part("bad.parquet", "each: kind"))


PLAIN = ["a/b", "Kids & Family", "日本の本", "x=1,y", "../up", "[red]", "été", "'", "%2F"]
NAMES = [*PLAIN, "\x1b[31mred", "two\u2028lines"]


def test_rows_that_stand_in_two_parts_of_a_file_are_refused(folder: Path) -> None:
    books = table().filter(pl.col("kind") == "Books")
    halves = [books.sample(fraction=0.6, seed=seed).with_columns(kind=pl.lit(kind)) for seed, kind in ((1, "a"), (2, "b"))]
    pl.concat([*halves, table(("Comics",))]).write_parquet(folder / "all.parquet")
    target = part(more="where: {kind: a}")
    with pytest.raises(TransferError, match=r"\d+ of 144 \(user, item\) pairs are in a and in the source b"):
        load(folder, target, EACH)
    remedied = load(folder, target, EACH, "domain.global_ids=true", "domain.mirrored=drop", "split=ratio")
    assert [source["name"] for source in remedied.summary["sources"]] == ["Comics"]
    assert remedied.summary["sources_without_events"] == ["b"]


def test_a_part_whose_times_do_not_meet_the_targets_is_refused(folder: Path) -> None:
    rows = table(("Books", "Comics", "Days"))
    steps = pl.when(pl.col("kind") == "Days").then(pl.col("at") % 11).otherwise("at")
    rows.with_columns(at=steps).write_parquet(folder / "all.parquet")
    with pytest.raises(TransferError, match=r"do not meet: Days from 1970-01-01 .* and Books from 2014"):
        load(folder, part(), EACH, "split=global_time")


def test_any_value_is_a_name_and_runs(tmp_path: Path) -> None:
    table(("Books", *NAMES)).write_parquet(tmp_path / "all.parquet")
    words = ["domain=files", f"data_dir={tmp_path}", f"domain.target={part()}", f"domain.source={EACH}", "split=ratio"]
    result = run([*words, "method=item_knn"], folder=tmp_path / "run")
    assert result.status == "done"
    names = [source["name"] for source in result.facts["world"]["sources"]]
    assert names == [domain_name(name) for name in sorted(NAMES)]
    assert all(name.isprintable() for name in names)
    assert set(PLAIN) < set(names)
    table(("Books", "été", "e\u0301te\u0301")).write_parquet(tmp_path / "all.parquet")
    with pytest.raises(TransferError, match=r"two domains are called 'été'"):
        load(tmp_path, part(), EACH)
    assert domain_name("x" * 500) == "x" * 100


def test_strangers_of_domains_with_strokes_in_their_names_are_apart(tmp_path: Path) -> None:
    rows = [(f"u{u}", f"b{(u * k) % 17}", "Books") for u in range(40) for k in range(1, 6)]
    rows += [(user, f"m{k}", kind) for k in range(5) for kind, user in (("a", "b/c"), ("a/b", "c"))]
    pl.DataFrame(rows, ["who", "what", "kind"], orient="row").write_csv(tmp_path / "all.csv")
    own = "path: all.csv, user: who, item: what"
    loaded = load(
        tmp_path, f"{{{own}, where: {{kind: Books}}}}", f"{{{own}, each: kind}}", "domain.same_users=false", "split=ratio"
    )
    assert [source["train"]["users"] for source in loaded.summary["sources"]] == [1, 1]
    assert [user for user in loaded.users if not user.startswith("u")] == ["a%2Fb/c", "a/b/c"]


def test_parts_have_the_titles_of_their_own_items(folder: Path) -> None:
    ids = sorted(table()["what"].unique())
    pl.DataFrame({"what": ids, "title": [f"Title {i}" for i in ids]}).write_csv(folder / "titles.csv")
    loaded = load(folder, part(more="where: {kind: Books}, items: titles.csv"), part(more="each: kind, items: titles.csv"))
    for titles, items, domain in zip(
        [loaded.titles, *loaded.source_titles],
        [loaded.items, *loaded.source_items],
        [loaded.summary["target"], *loaded.summary["sources"]],
        strict=True,
    ):
        assert titles == {item: f"Title {item}" for item in items}
        assert domain["titles"] == {"known": 20, "of": 20}


def test_a_source_without_events_is_said_and_none_is_refused(folder: Path) -> None:
    rows = table(("Books", "Liked", "Hated"))
    rows = rows.with_columns(mark=pl.when(pl.col("kind") == "Hated").then(1).otherwise("mark"))
    rows.write_parquet(folder / "all.parquet")
    each = part(more="each: kind, positive: 4")
    for method in ("item_knn", "user_knn"):
        words = ["domain=files", f"data_dir={folder}", f"domain.target={part()}", f"domain.source={each}", "split=ratio"]
        facts = run([*words, f"method={method}"]).facts
        assert [source["name"] for source in facts["world"]["sources"]] == ["Liked"]
        assert "no sources, for they have no events to learn from: Hated" in world_notes(facts)
    hated = part(more="where: {kind: Hated}, positive: 4")
    with pytest.raises(TransferError, match=r"no events of Hated are left to learn from; lower `positive`"):
        load(folder, part(), hated, "split=ratio")


def test_numbers_of_single_sources_are_checked_when_their_file_is_read(folder: Path) -> None:
    words = ["domain=files", f"data_dir={folder}", f"domain.target={part()}", f"domain.source={EACH}", "split=ratio"]
    assert run([*words, "method=ease", "+hp.source_weight_3=0"]).status == "done"
    with pytest.raises(TransferError, match=r"hp.source_weight_4: the world has 3 sources; write .*_1 to hp"):
        run([*words, "method=ease", "+hp.source_weight_4=0"])


def test_a_world_of_many_sources_is_told_in_few_lines(tmp_path: Path) -> None:
    kinds = tuple(f"{letter}kind" for letter in "ACDEFGHIJKLM")
    table(("Books", *kinds)).write_parquet(tmp_path / "all.parquet")
    words = ["domain=files", f"data_dir={tmp_path}", f"domain.target={part()}", f"domain.source={EACH}", "split=ratio"]
    facts = run([*words, "method=popularity"]).facts
    notes = world_notes(facts)
    assert len(facts["world"]["cleaning"]) == 13
    assert len(notes) < 6
    assert any(note.startswith("Books, Akind, Ckind, Dkind and 9 more: user who, item what") for note in notes)
    rows = sum(counts["rows_read"] for name, counts in facts["world"]["cleaning"].items() if name != "Books")
    assert any(note.startswith(f"12 sources together: rows read {rows:,}") for note in notes)


def test_a_part_goes_through_json_and_back() -> None:
    domain: Any = compose(["domain=epinions", "domain.source=[Movies,'Kids & Family']"]).domain
    assert FileDomains.model_validate(domain.model_dump(mode="json")) == domain
    assert domain.model_dump(mode="json")["source"][1]["where"] == {"category": ["Kids & Family"]}
    assert hash(domain) == hash(FileDomains.model_validate(domain.model_dump()))
