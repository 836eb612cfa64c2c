"""Figures of cost: per run for all methods; of the last stage where strategies of one method differ in what they train."""

from __future__ import annotations

from pathlib import Path

import pytest
from sweeps import USERS, write_run

from transfer.report.comparison.compare import compare
from transfer.report.comparison.runs import read_runs
from transfer.report.page.cost import cost

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
