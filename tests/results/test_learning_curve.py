"""The learning curve: what is drawn is what was recorded, and nobody's words become markup."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest

from transfer.results.learning_curve import HEIGHT, WIDTH, _ticks, learning_curve

SVG = "{http://www.w3.org/2000/svg}"


def records(stage: str, values: list[float]) -> list[dict[str, Any]]:
    return [{"stage": stage, "step": 10 * i, "loss": 2.0 - i, "rmse": value} for i, value in enumerate(values)]


def test_the_selected_step_is_marked_in_a_panel_of_its_stage() -> None:
    of_stages = records("source", [4.0, 2.0, 3.0]) + records("<b>map</b>", [4.0, math.nan, 0.0])
    facts = {"select": {"metric": "rmse", "sign": -1}, "selected": {"source": {"step": 20, "rmse": 3.0}}}
    names = {"method": "emcdr & co", "domain": "books", "task": "rating", "seed": 0}
    drawn = ElementTree.fromstring(learning_curve(of_stages, facts | names))
    words = [element.text for element in drawn.iter(f"{SVG}text")]
    assert words.count("stage <b>map</b>") == 2
    assert "emcdr & co on books, rating, seed 0" in words
    assert {"● selected: 3.0000", "● selected: 0.0000"} < set(words)  # what was said, and else the best by the sign
    first, second = ((float(mark.get("cx", "")), float(mark.get("cy", ""))) for mark in drawn.iter(f"{SVG}circle"))
    assert first == pytest.approx((WIDTH, HEIGHT / 2))  # axes from step 0 to 20 and from 2 to 4
    assert second == pytest.approx((WIDTH, HEIGHT))  # and from 0 to 4
    curves = [line.get("points", "").split() for line in drawn.iter(f"{SVG}polyline") if line.get("stroke-width") == "1.5"]
    assert [len(points) for points in curves] == [3, 3, 3, 2]  # what is not finite is left out


@pytest.mark.parametrize("values", [[1.0], [0.0, 0.0], [-3.0, 1e-9], [0.1, 0.31], [1e-6, 1e6], [7e-8, 9e-8], []])
def test_ticks_are_few_and_surround_the_values(values: list[float]) -> None:
    ticks = _ticks(values)
    assert 2 <= len(ticks) <= 6
    assert all(ticks[0] <= value <= ticks[-1] for value in values)
    assert all(b - a == pytest.approx(ticks[1] - ticks[0], rel=1e-3) for a, b in pairwise(ticks))
