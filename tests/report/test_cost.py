"""Figures of cost: per run for all methods; of the last stage where strategies of one method differ in what they train."""

from __future__ import annotations

from pathlib import Path

import pytest
from sweeps import USERS, write_run

from transfer.report.comparison.compare import compare
from transfer.report.comparison.runs import read_runs
from transfer.report.page.cost import APART, DOT, LETTER, _labels, cost
from transfer.report.page.svg import panel

LAST = ["seconds of the last stage", "trainable parameters of the last stage"]


@pytest.mark.parametrize(("trained", "more"), [({"probe": 90, "full": 5000}, LAST), ({"probe": 90, "full": 90}, [])])
def test_strategies_are_drawn_against_what_their_last_stage_costs(
    tmp_path: Path, trained: dict[str, int], more: list[str]
) -> None:
    for number, (strategy, count) in enumerate(trained.items()):
        facts = {
            "trainable_by_stage": {"source": 5000, "target": count},
            "seconds_by_stage": {"source": 9.0, "target": 1.0 + number},
        }
        words = ("method=finetune", f"method.strategy={strategy}")
        write_run(tmp_path / str(number), *words, values=[0.5 + number / 10] * USERS, **facts)
    (found,) = compare(read_runs(tmp_path))
    assert len(found.best) == 2
    made = [figure.alt for figure in cost(found)]
    for figure, label in zip(made, ["seconds per run", "trainable parameters", *more], strict=True):
        assert f" against {label}: " in figure
    if more:
        assert made[-1].endswith("finetune strategy=full 5e+03; finetune strategy=probe 90")
        assert made[-2].endswith("finetune strategy=full 2; finetune strategy=probe 1")


def test_a_name_covers_no_other_point_and_no_other_name() -> None:
    _, (axis,) = panel()
    points = [
        ("ease domains=both", 1.0, 0.113),
        ("graph_filter", 0.6, 0.117),
        ("ease", 0.3, 0.1165),
        ("popularity", 0.05, 0.03),
    ]
    axis.set_xscale("log")
    for _, x, y in points:
        axis.plot(x, y, "o")
    axis.margins(x=0.3, y=0.12)
    _labels(axis, points)
    places = axis.transData.transform([point[1:] for point in points])
    spans = []
    for text in axis.texts:
        at = [name for name, *_ in points].index(text.get_text())
        x, y = places[at]
        line = y + (text.get_position()[1] + 3) * 100 / 72
        spans.append((x, x + LETTER * len(text.get_text()), line))
        for other, (a, b) in enumerate(places):
            assert other == at or not (x < a + DOT and a - DOT < spans[-1][1] and abs(b - line) < APART - 1e-6)
    for i, (left, right, line) in enumerate(spans):
        assert not any(left < end and start < right and abs(line - of) < APART - 1e-6 for start, end, of in spans[:i])
    moved = [text for text in axis.texts if text.arrow_patch]
    assert 0 < len(moved) < len(points), "a line leads to those alone that stand elsewhere"
