"""The page says whether the source helps, to people who do not know the field; and what selectors would have chosen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sweeps import USERS, write_run, write_sweep

from transfer.report.comparison import effects, selectors
from transfer.report.comparison.compare import compare
from transfer.report.comparison.comparison import Comparison
from transfer.report.comparison.reference import bases
from transfer.report.comparison.runs import read_runs
from transfer.report.page import source, source_weights
from transfer.report.page.page import write_report


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two methods with planted gains over target_only, one of them a loss."""
    return write_sweep(tmp_path_factory.mktemp("readers"), {"target_only": 0.0, "emcdr": 0.08, "user_knn": -0.06})


def comparison(folder: Path) -> Comparison:
    return compare(read_runs(folder))[0]


def test_planted_gains_are_told_in_plain_words(readers: Path) -> None:
    found = comparison(readers)
    said = " ".join(source.sentences(found))
    assert said.startswith("Yes, with emcdr.")
    assert "the best that has not seen it" in said
    assert "6 of 6 runs" in said
    assert "Beware of user_knn" in said
    gains = {of.setting.method: of for of in effects.effects(found, bases(found)["target_only"])}
    assert gains["emcdr"].paired.difference == pytest.approx(0.08, abs=0.01)
    assert gains["emcdr"].paired.low < 0.08 < gains["emcdr"].paired.high
    assert (gains["emcdr"].verdict, gains["user_knn"].verdict) == ("helps", "hurts")
    assert set(gains["emcdr"].groups) == {"cold", "sparse", "warm"}


def test_the_share_of_users_harmed_is_counted_by_hand(readers: Path) -> None:
    found = comparison(readers)
    ours, theirs = found.tests["user_knn"], found.tests["target_only"]
    steps: dict[str, list[np.ndarray]] = {}
    for pair in ours:
        steps.setdefault(pair[0], []).append(ours[pair].values["ndcg@10"] - theirs[pair].values["ndcg@10"])
    each = np.concatenate([np.mean(of, axis=0) for of in steps.values()])
    harmed = next(of for of in effects.effects(found, bases(found)["target_only"]) if of.setting.method == "user_knn")
    assert harmed.worse == pytest.approx((each < -1e-3).mean())
    assert harmed.better == pytest.approx((each > 1e-3).mean())
    assert len(each) == 3 * USERS
    board = source.by_seed(found)
    assert board
    row = next(row for row in board.rows if row[0].text == "user_knn")
    runs = [float((ours[pair].values["ndcg@10"] - theirs[pair].values["ndcg@10"]).mean()) for pair in ours]
    assert [cell.value for cell in row[1:]] == pytest.approx(runs, abs=1e-6)


def test_errors_count_the_other_way_round(tmp_path: Path) -> None:
    for number, (method, value) in enumerate([("target_only", 1.0), ("emcdr", 0.5)]):
        write_run(tmp_path / str(number), f"method={method}", values=[value] * USERS, task="rating")
    found = comparison(tmp_path)
    (effect,) = effects.effects(found, bases(found)["target_only"])
    assert effect.paired.difference > 0
    assert (effect.worse, effect.better) == (0.0, 1.0)


def test_nothing_is_claimed_where_nothing_differs(tmp_path: Path) -> None:
    said = source.sentences(comparison(write_sweep(tmp_path, {"target_only": 0.0, "emcdr": 0.0})))
    assert said[0].startswith("No: the source changes less than 5% of the figure.")
    assert source.sentences(comparison(write_sweep(tmp_path / "alone", {"emcdr": 0.0, "cmf": 0.1}))) == []


def test_a_guard_is_named_where_there_is_one_and_nothing_is_measured_against_it(tmp_path: Path) -> None:
    rows = [("target_only", "none", 0.5), ("source_only", "none", 0.4), ("source_only", "gate", 0.6)]
    for number, (method, guard, share) in enumerate(rows):
        words = (f"method={method}", f"method.guard={guard}")
        values = (np.arange(USERS) < share * USERS).astype(float)
        write_run(tmp_path / str(number), *words, values=values, task="classification")
    found = comparison(tmp_path)
    assert {one.method for one in found.best} == {"target_only", "source_only", "source_only guard=gate"}
    (effect,) = effects.effects(found, bases(found)["source_only"])
    assert effect.setting.method == "source_only guard=gate"
    assert effect.paired.difference == pytest.approx(0.2)


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Three strengths of coral beside source_only; a selector that is right, and one that prefers the worst."""
    rows = [
        ("source_only", 1.0, 0.5, -3.0),
        ("coral", 1.0, 0.4, -4.0),
        ("coral", 2.0, 0.6, -2.0),
        ("coral", 3.0, 0.8, -1.0),
    ]
    for number, (method, strength, share, score) in enumerate(rows):
        values = (np.arange(USERS) < share * USERS).astype(float)
        write_run(
            tmp_path / str(number), f"method={method}", f"hp.l2={strength}", "seed=0", values=values, task="classification",
            metrics={"valid": {"accuracy": 1 - number / 10}, "test": {"accuracy": share}},
            selectors={"snd": -score, "entropy": score},
            shift={"labels": 0.25},
            distance={time: {"mmd": 0.5, "coral": 0.1, "proxy_a": 1.9} for time in ("before", "after")},
        )  # fmt: skip
    return tmp_path


def test_regret_is_the_distance_to_the_best_setting(labelled: Path) -> None:
    found = comparison(labelled)
    made = {of.selector: of for of in selectors.choices(found)}
    assert made["entropy"].setting.endswith("hp.l2=3.0")
    assert made["entropy"].regret == 0
    assert made["snd"].setting.startswith("coral")
    assert made["snd"].regret == pytest.approx(0.4)
    assert made["snd"].within == pytest.approx(0.4)
    assert list(made) == ["entropy", "snd"], "the least regret first; those that no run has are not there"


def test_the_page_and_the_tables_have_both_sections(readers: Path, labelled: Path) -> None:
    for folder in (readers, labelled):
        page = write_report(folder).read_text()
        assert "Does the source help?" in page
        assert "Does the source help?" in (folder / "table.md").read_text()
    assert "Choosing without target labels" in page
    assert "very easy to tell apart (proxy A-distance 1.90 of 2" in page
    assert "differ by an estimated 25%" in page
    assert "gain over source_only" in page


def test_who_gains_next_to_nothing_is_not_counted() -> None:
    """As a user is all of whose items are tied: her list is expected to hold a little of what she wants."""
    assert effects.shares(np.array([2e-4, -2e-4, 0.5, -0.5, 0.2])) == (0.2, 0.4)
    assert effects.shares(np.zeros(0)) == (None, None)


def test_the_page_says_which_source_is_worth_how_much(tmp_path: Path) -> None:
    """Means over the runs of a setting, the heaviest first; nothing where no run has learnt weights."""
    values = np.linspace(0, 1, USERS)
    write_run(tmp_path / "0", "method=popularity", values=values)
    assert source_weights.table(comparison(tmp_path)) is None
    assert source_weights.curves(comparison(tmp_path)) == []
    for seed, (music, games) in enumerate([(0.5, 0.0), (1.0, 0.0), (1.2, 0.3)]):
        write_run(
            tmp_path / f"{seed + 1}",
            "method=emcdr",
            f"seed={seed}",
            values=values,
            source_weights={"games": games, "<i>music</i>": music},
            source_without={"games": 0.0, "<i>music</i>": 0.02 * (seed + 1)},
            source_errors={"<i>music</i>": 0.9, "games": 0.95},
        )
    board = source_weights.table(comparison(tmp_path))
    assert board
    assert [row[0].text for row in board.rows] == ["<i>music</i>", "games"]
    assert [cell.value for cell in board.rows[0][1:]] == pytest.approx([0.9, 0.04])
    assert [cell.value for cell in board.rows[1][1:]] == pytest.approx([0.1, 0.0])
    (figure,) = source_weights.curves(comparison(tmp_path))
    assert "music</i>, games" in figure.caption
    page = write_report(tmp_path).read_text()
    assert "Which source is worth how much" in page
    assert "&lt;i&gt;music&lt;/i&gt;" in page
    assert "<i>music" not in page
