"""What a comparison may say: of whom, against what, with how many splits, within which margin and range."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sweeps import USERS, write_run, write_sweep

from transfer.evaluate import significance
from transfer.report.comparison.average import averages
from transfer.report.comparison.compare import compare
from transfer.report.comparison.comparison import Comparison, span
from transfer.report.comparison.effects import effects
from transfer.report.comparison.reference import bases, reference, reference_words
from transfer.report.comparison.runs import read_runs
from transfer.report.comparison.verdicts import HELPS, VERDICTS, Measured, verdict
from transfer.report.page import source
from transfer.report.page.page import write_report
from transfer.report.page.tables import leaderboard, markdown
from transfer.report.page.words import lead
from transfer.report.study import Order, Study, named, orderings
from transfer.report.sweep_table import print_sweep


def only(folder: Path) -> Comparison:
    (comparison,) = compare(read_runs(folder))
    return comparison


@pytest.fixture(scope="module")
def popular(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Popularity is better than target_only; a method between them does not help, whatever it is to target_only."""
    gains = {"target_only": 0.0, "popularity": 0.06, "user_knn": 0.03, "emcdr": 0.12}
    return write_sweep(tmp_path_factory.mktemp("popular") / "S", gains)


def test_where_every_method_sees_the_source_the_tables_say_that_there_is_no_reference(tmp_path: Path) -> None:
    found = only(write_sweep(tmp_path / "S", {"ptupcdr": 0.1, "emcdr": 0.12}))
    assert reference(found) is None
    table = markdown([found])
    assert "Reference: none, for no method without a source was run." in table
    assert "| emcdr |" in table
    assert "gap to" not in table


def test_the_reference_is_the_best_without_a_source_and_target_only_stands_beside(popular: Path) -> None:
    found = only(popular)
    base = reference(found)
    assert base is not None
    assert base.method == "popularity"
    assert reference_words(found) == "popularity, best without a source on validation"
    assert {gap.method: gap.verdict for gap in found.gaps if gap.group == "all"} == {
        "emcdr": "helps",
        "user_knn": "hurts",
        "target_only": "no source",
    }
    beside = {gap.method: round(gap.paired.difference, 2) for gap in found.target_gaps}
    assert beside == {"emcdr": 0.12, "popularity": 0.06, "user_knn": 0.03}
    board = leaderboard(found)
    assert {"gap to popularity", "gap to target_only"} <= set(board.heads)
    assert list(bases(found)) == ["popularity", "target_only"]


def test_the_reference_is_chosen_by_validation_not_by_the_test(tmp_path: Path) -> None:
    for number, (method, valid, test) in enumerate(
        [("target_only", 0.5, 0.3), ("popularity", 0.4, 0.9), ("emcdr", 0.1, 0.6)]
    ):
        metrics = {"valid": {"ndcg@10": valid}, "test": {"ndcg@10": test}}
        write_run(tmp_path / str(number), f"method={method}", values=[test] * USERS, metrics=metrics)
    base = reference(only(tmp_path))
    assert base is not None
    assert base.method == "target_only"


def test_who_sees_no_source_neither_helps_nor_hurts_anywhere(popular: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_sweep(popular)
    page = write_report(popular).read_text()
    texts = [capsys.readouterr().out, *((popular / f"table.{end}").read_text() for end in ("md", "tex"))]
    for text in texts:
        rows = [line for line in text.splitlines() if line.lstrip("│| ").startswith(("popularity", "target"))]
        assert len(rows) >= 2
        assert not any(word in row for row in rows for word in ("helps", "hurts", "no difference", "not shown"))
    for row in page.split("<tr>"):
        if row.startswith('<th scope="row">popularity') or row.startswith('<th scope="row">target_only'):
            assert 'class="helps"' not in row
            assert 'class="hurts"' not in row
    assert "Reference: popularity, best without a source on validation" in page
    assert "reference: popularity, best without a source on validation" in " ".join(texts[0].split())


@pytest.mark.parametrize(("splits", "words"), [((0,), "One split"), ((0, 1), "Two splits")])
def test_one_or_two_splits_test_nothing(splits: tuple[int, ...], words: str, tmp_path: Path) -> None:
    found = only(write_sweep(tmp_path, {"target_only": 0.0, "emcdr": 0.2}, seeds=(0, 1, 2), splits=splits))
    gap = found.gap("emcdr")
    assert gap is not None
    assert gap.verdict == "not tested"
    assert np.isnan(gap.holm)
    assert gap.paired.low < 0.2 < gap.paired.high, "its interval is that for these splits"
    assert f"{words}: not tested" in " ".join(lead(found))
    assert "is real" not in " ".join(lead(found))
    assert source.sentences(found)[0].startswith(f"{words}: not tested")


def test_two_pairs_of_domains_test_nothing(tmp_path: Path) -> None:
    for number, (method, share) in enumerate([("source_only", 0.4), ("coral", 0.8)]):
        for pair, (a, b) in enumerate([("plain", "rotated"), ("rotated", "plain")]):
            words = (f"method={method}", f"domain.source=[{a}]", f"domain.target={b}")
            values = (np.arange(USERS) < (share + pair / 20) * USERS).astype(float)
            write_run(tmp_path / f"{number}{pair}", *words, values=values, task="classification")
    (mean,) = averages(compare(read_runs(tmp_path)))
    gap = mean.gap("coral")
    assert gap is not None
    assert (gap.verdict, gap.repeats, np.isnan(gap.paired.low)) == ("not tested", 2, True)
    assert "Two pairs of domains: not tested" in " ".join(lead(mean))


@pytest.mark.parametrize(
    ("low", "high", "p", "word"),
    [
        (0.01, 0.48, 0.04, "helps"),
        (0.01, 0.48, 0.06, "not shown"),  # its own interval leaves zero out, but it is one of many
        (-0.01, 0.48, 0.3, "not shown"),
        (-0.01, 0.02, 0.3, "no difference"),
        (-0.03, 0.01, 0.3, "not shown"),
        (-0.48, -0.01, 0.04, "hurts"),
    ],
)
def test_no_difference_is_said_within_the_margin_alone(low: float, high: float, p: float, word: str) -> None:
    paired = significance.Paired((low + high) / 2, 0.1, 9, low, high, p)
    assert verdict(Measured(paired, "users", 300, 3), p, 1, margin=0.025) == word
    assert verdict(Measured(paired, "users", 300, 2), p, 1, margin=0.025) == "not tested"
    assert set(VERDICTS) == {"helps", "hurts", "no difference", "not shown", "not tested", "no source"}


def test_yes_takes_the_corrected_p(tmp_path: Path) -> None:
    """Ten methods without an effect, and one whose own interval leaves zero out by a little."""
    random = np.random.default_rng(3)
    common = [random.uniform(0.2, 0.6, USERS) for _ in range(3)]
    own = [random.normal(0, 0.05, USERS) for _ in range(3)]
    methods = [
        "cmf",
        "finetune",
        "item_knn",
        "user_knn",
        "ridge_map",
        "ptupcdr",
        "darec",
        "linear_map",
        "kernel_map",
        "emcdr",
    ]
    for split in range(3):
        write_run(tmp_path / f"0{split}", "method=target_only", f"split.seed={split}", values=common[split])
        for number, method in enumerate(methods):
            noise = own[split] - np.mean(own[split]) + 0.0095 if method == "emcdr" else random.normal(0, 0.05, USERS)
            noise = noise - noise.mean() * (method != "emcdr")
            words = (f"method={method}", f"split.seed={split}")
            write_run(tmp_path / f"{number + 1}{split}", *words, values=common[split] + noise)
    found = only(tmp_path)
    gap = found.gap("emcdr")
    assert gap is not None
    assert gap.paired.low > 0
    assert gap.paired.p < 0.05 < gap.holm
    assert gap.verdict != HELPS
    assert not source.sentences(found)[0].startswith("Yes")
    (effect,) = [effect for effect in effects(found, bases(found)["target_only"]) if effect.setting.method == "emcdr"]
    assert (effect.holm, effect.verdict) == (pytest.approx(gap.holm), gap.verdict)


# --- intervals -------------------------------------------------------------------------------------------------------


def test_intervals_stay_in_the_range_of_the_metric(tmp_path: Path) -> None:
    shares = (1.0, 0.98, 0.9)
    for method in ("source_only", "coral"):
        for split, share in enumerate(shares):
            values = (np.arange(USERS) < share * USERS).astype(float)
            words = (f"method={method}", f"split.seed={split}")
            write_run(tmp_path / f"{method}{split}", *words, values=values, task="classification")
    found = only(tmp_path)
    summary = found.summary(found.best[0])
    assert significance.summary(shares).high > 1, "the plain interval leaves the range"
    assert 0 < summary.low < summary.mean < summary.high == 1
    for path in tmp_path.glob("*/per_user.parquet"):
        path.unlink()
    assert only(tmp_path).summary(only(tmp_path).best[0]).high == 1
    ranges = {"macro_f1": (0, 1), "sampled_ndcg@10": (0, 1), "auc": (0, 1), "rmse": (0, np.inf), "log_loss": (0, np.inf)}
    assert {name: span(name) for name in ranges} == ranges


def test_a_closed_form_has_an_interval_over_its_users(tmp_path: Path) -> None:
    """Equal seeds on one split: no spread, and still people."""
    values = np.random.default_rng(0).uniform(0, 1, USERS).astype(np.float32)
    for seed in range(3):
        write_run(tmp_path / str(seed), "method=popularity", f"seed={seed}", values=values)
    found = only(tmp_path)
    summary = found.summary(found.best[0])
    half = 1.98 * values.std(ddof=1) / np.sqrt(USERS)
    assert (summary.low, summary.high) == pytest.approx((values.mean() - half, values.mean() + half), rel=1e-3)
    for path in tmp_path.glob("*/per_user.parquet"):
        path.unlink()
    assert np.isnan(only(tmp_path).summary(only(tmp_path).best[0]).low), "rather none than one of width zero"


# --- adaptation, titles, names ---------------------------------------------------------------------------------------


def test_where_no_label_is_known_adaptation_harms_and_not_the_source(tmp_path: Path) -> None:
    for method, share in (("source_only", 0.9), ("coral", 0.3)):
        for split in range(3):
            values = (np.arange(USERS) < share * USERS - split).astype(float)
            words = (f"method={method}", f"split.seed={split}")
            write_run(tmp_path / f"{method}{split}", *words, values=values, task="classification")
    said = " ".join(source.sentences(only(tmp_path)))
    assert "No: adaptation makes it worse." in said
    assert "here adaptation does harm; source_only, the source's model as it is, does better." in said
    assert "gate" not in said


def test_titles_say_what_is_known_of_the_target(tmp_path: Path) -> None:
    known = {"0": "examples", "all": "labelled", "10": "few_labels"}
    for number, labels in enumerate(known):
        for transductive in (False, True):
            words = ("method=coral", f"split.target_labels={labels}", f"split.transductive={str(transductive).lower()}")
            write_run(tmp_path / f"{number}{transductive}", *words, values=[1.0, 0.0] * 60, task="classification")
    titles = [comparison.title for comparison in compare(read_runs(tmp_path), pairs=False)]
    splits = {title.split(", ")[2] for title in titles}
    assert splits == {
        *("split examples", "split transductive", "split labelled", "split labelled transductive"),
        *("split few_labels", "split few_labels transductive"),
    }
    assert len(set(titles)) == 6


def test_a_world_of_files_is_called_target_and_sources(tmp_path: Path) -> None:
    files = '[{"path": "/data/movies.csv", "name": ""}, {"path": "/data/music.csv", "name": ""}]'
    words = ("method=emcdr", "domain.name=files")
    part = {"train": {"users": 1, "items": 1, "events": 1}}
    world = {"target": {"name": "books", **part}, "sources": [{"name": name, **part} for name in ("movies", "music")]}
    for number in range(2):
        folder = write_run(tmp_path / str(number), *words, values=[0.5] * USERS, domain="files", world=world)
        (folder / "config.yaml").write_text((folder / "config.yaml").read_text() + f"\nextra: {files}\n")
    assert only(tmp_path).title == "books ← movies + music, ranking, split cold_start"
    world["sources"] = [{"name": f"kind {number}", **part} for number in range(26)]
    folder = write_run(tmp_path / "many" / "0", *words, values=[0.5] * USERS, domain="files", world=world)
    assert only(folder.parent).title == "books ← 26 sources, ranking, split cold_start"


SAID = {  # what sources differ in, and what titles say of it
    "where": (
        [{"path": "all.parquet", "where": {"category": [name]}} for name in ("Movies", "Music")],
        ["Movies", "Music"],
    ),
    "path": ([{"path": f"{name}.csv", "item": name} for name in ("movies", "music")], ["movies.csv", "music.csv"]),
    "positive": ([{"path": "movies.csv", "positive": likes} for likes in (3.0, 4.0)], ["3.0", "4.0"]),
    "each": ([{"path": "all.csv", "each": name} for name in ("kind", None)], ["kind", "all.csv"]),
    "name": (["movies", "music"], ["movies", "music"]),
}


@pytest.mark.parametrize("what", SAID)
def test_two_worlds_of_one_file_have_two_titles(tmp_path: Path, what: str) -> None:
    sources, told = SAID[what]
    for number, given in enumerate(sources):
        words = ("method=emcdr", "domain.name=epinions", f"domain.source={json.dumps([given])}")
        write_run(tmp_path / str(number), *words, values=[0.5] * USERS)
    titles = [comparison.title for comparison in compare(read_runs(tmp_path), pairs=False)]
    assert titles == [f"epinions, ranking, split cold_start, domain.source={said}" for said in told]


def test_long_lists_of_sources_that_differ_in_their_last_have_two_titles(tmp_path: Path) -> None:
    for number in range(2):
        parts = [{"path": "all.csv", "where": {"category": [f"kind {place}"]}} for place in [*range(25), 25 + number]]
        words = ("method=emcdr", "domain.name=epinions", f"domain.source={json.dumps(parts)}")
        write_run(tmp_path / str(number), *words, values=[0.5] * USERS)
    one, other = (comparison.title for comparison in compare(read_runs(tmp_path), pairs=False))
    assert one != other
    assert "domain.source=kind 0 + kind 1 + " in one
    assert len(one) < 200


def test_an_ordering_names_a_setting_whatever_else_varies(tmp_path: Path) -> None:
    rows = [("ridge", "none", 0.5), ("mlp", "none", 0.6), ("ridge", "gate", 0.7)]
    for number, (kind, guard, value) in enumerate(rows):
        words = ("method=emcdr", f"method.map={kind}", f"method.guard={guard}")
        write_run(tmp_path / "varied" / str(number), *words, values=[value] * USERS)
        write_run(tmp_path / f"only {kind} {guard}" / str(number), *words, values=[value] * USERS)
        write_run(tmp_path / f"only {kind} {guard}" / "9", "method=target_only", values=[0.1] * USERS)
    varied, quick, guarded = (only(tmp_path / name) for name in ("varied", "only ridge none", "only ridge gate"))
    assert [setting.method for setting in quick.best] == ["emcdr", "target_only"], "names say what varies"

    def figure(name: str, comparison: Comparison) -> float | None:
        setting = named(name, comparison)
        return setting and round(setting.summary("test", "ndcg@10").mean, 3)

    assert figure("emcdr map=ridge", varied) == figure("emcdr map=ridge", quick) == 0.5
    assert figure("emcdr map=mlp", quick) is None
    assert figure("emcdr map=ridge guard=gate", varied) == figure("emcdr guard=gate", guarded) == 0.7
    assert figure("emcdr", guarded) is None, "who names no guard means none"
    assert figure("emcdr", varied) == 0.6, "the one that validation prefers"
    order = Order(task="ranking", better="emcdr map=ridge", worse="target_only")
    study = Study(title="t", cost="c", sweeps={"s": []}, quick={}, order=[order])
    assert [line.agrees for line in orderings(study, [quick])] == [True]


def test_a_run_on_swapped_features_is_compared_with_the_run_that_saw_them(tmp_path: Path) -> None:
    """method.permute is a variant of its method: a pair with the drop and its interval, on the same users and splits."""
    draw = np.random.default_rng(0)
    for split in range(3):
        level = 0.5 + 0.1 * draw.random(USERS)
        for name, less in (("[]", 0.0), ("[text]", 0.1)):
            words = ("method=ease", f"method.permute={name}", f"split.seed={split}")
            values = level - less + 0.02 * draw.random(USERS)
            write_run(tmp_path / f"{split}{name}", *words, values=values, fingerprint=f"world {split}")
    (pair,) = only(tmp_path).pairs
    assert {pair.a, pair.b} == {"ease", 'ease permute=["text"]'}
    assert abs(pair.paired.difference) == pytest.approx(0.1, abs=0.01)
    assert pair.holm < 0.01
