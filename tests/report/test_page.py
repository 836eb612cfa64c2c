"""The page of a sweep in a real browser: no error, no request, sorting, phones, dark mode."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sweeps import write_run, write_sweep

from transfer.report.page.page import write_report

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


class Opened(NamedTuple):
    """A page, what it said on the console and what it asked for."""

    page: Any
    said: list[str]
    asked: list[str]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright here: pip install -e .[dev]")
    if CHROMIUM is None:
        pytest.skip("no chromium here: apt-get install chromium, or set CHROMIUM to a browser's path")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A planted sweep with swept numbers, on two tasks, in a folder whose name is no valid HTML."""
    folder = write_sweep(
        tmp_path_factory.mktemp("page") / "a & <b>", {"target_only": 0.0, "emcdr": 0.08, "popularity": -0.08}
    )
    for number in range(4):
        words = ("method=cmf", f"hp.l2={number + 1}.0")
        write_run(folder / f"9{number}", *words, values=[0.5 + number / 10] * 120, task="rating")
    return write_report(folder)


@pytest.fixture
def opened(browser: Any, report: Path, request: pytest.FixtureRequest) -> Iterator[Opened]:
    options = {"viewport": {"width": 1400, "height": 900}, **getattr(request, "param", {})}
    context = browser.new_context(**options)
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report.as_uri())
    yield Opened(page, said, asked)
    context.close()


def leaderboard(opened: Opened) -> Any:
    """That of the first comparison; the table of all worlds stands before it."""
    return opened.page.locator("table.sortable").nth(1)


def column(opened: Opened, number: int) -> list[str]:
    cells = leaderboard(opened).locator(f"tbody tr > :nth-child({number})")
    return [text.strip() for text in cells.all_text_contents()]


def test_the_page_asks_for_nothing_and_complains_of_nothing(opened: Opened, report: Path) -> None:
    opened.page.locator("summary").first.click()
    opened.page.wait_for_load_state("networkidle")
    assert opened.said == []
    assert [url for url in opened.asked if not url.startswith("data:")] == [report.as_uri()]
    assert opened.page.title() == "Do movies help to recommend books? · a & <b> · transfer"
    assert opened.page.locator("h1").inner_text() == "Do movies help to recommend books?"
    assert opened.page.locator("h2").count() == 5  # all worlds, two comparisons, the failed runs, what was run


def test_a_click_sorts_a_column_and_another_one_turns_it(opened: Opened) -> None:
    assert column(opened, 1) == ["emcdr", "target_only", "popularity"]
    heads = leaderboard(opened).locator("th button")
    test = heads.all_text_contents().index("test ndcg@10")
    heads.nth(test).click()
    assert column(opened, 1) == ["popularity", "target_only", "emcdr"]
    assert opened.page.locator("th[aria-sort=ascending]").count() == 1
    heads.nth(test).click()
    assert column(opened, 1) == ["emcdr", "target_only", "popularity"]
    heads.first.focus()
    opened.page.keyboard.press("Enter")
    assert column(opened, 1) == ["emcdr", "popularity", "target_only"]
    gap = heads.all_text_contents().index("gap to target_only")
    for first in ("popularity", "emcdr"):  # the reference has no gap: it stays last
        heads.nth(gap).click()
        assert column(opened, 1)[0] == first
        assert column(opened, 1)[-1] == "target_only"


@pytest.mark.parametrize("opened", [{"viewport": {"width": 400, "height": 800}}], indirect=True)
def test_a_phone_shows_all_of_it_without_scrolling_sideways(opened: Opened) -> None:
    for summary in opened.page.locator("summary").all():
        summary.click()
    assert opened.page.evaluate("document.documentElement.scrollWidth") == 400
    sizes = opened.page.evaluate(
        "[...document.querySelectorAll('figure svg text')].map((t) => t.getBoundingClientRect().height).filter(Boolean)"
    )
    assert len(sizes) > 50
    assert min(sizes) >= 10, "figures stand at their true size: 8 points are 10.7 pixels"
    assert opened.page.evaluate("document.querySelectorAll('figure svg').length") >= 8


@pytest.mark.parametrize(
    ("opened", "dark"), [({"color_scheme": "dark"}, True), ({"color_scheme": "light"}, False)], indirect=["opened"]
)
def test_text_and_figures_follow_the_colour_scheme(opened: Opened, dark: bool) -> None:
    def brightness(selector: str, what: str) -> float:
        colour = opened.page.eval_on_selector(selector, f"(node) => getComputedStyle(node).{what}")
        return sum(float(part) for part in colour[colour.index("(") + 1 : -1].split(",")[:3]) / 3

    page, text = brightness("body", "backgroundColor"), brightness("body", "color")
    figure = brightness("figure svg text", "fill")
    assert (page < text) == (page < figure) == dark
    assert min(abs(page - text), abs(page - figure)) > 80


def test_print_shows_whole_tables(opened: Opened) -> None:
    opened.page.emulate_media(media="print")
    assert opened.page.eval_on_selector(".scroll", "(node) => getComputedStyle(node).overflowX") == "visible"
    assert opened.page.evaluate("document.body.innerText").count("emcdr") > 3


def test_a_table_that_is_wider_than_the_window_says_so(opened: Opened) -> None:
    scrolls = "n.scrollWidth > n.clientWidth + 1, n.classList.contains('wide')"

    def told() -> int:
        wide = opened.page.evaluate(f"[...document.querySelectorAll('.scroll')].map((n) => [{scrolls}])")
        assert all(wider == says for wider, says in wide)
        return sum(says for _, says in wide)

    before = told()
    opened.page.set_viewport_size({"width": 400, "height": 800})
    opened.page.wait_for_function(f"document.querySelectorAll('.scroll.wide').length > {before}")
    opened.page.set_viewport_size({"width": 1400, "height": 900})
    opened.page.wait_for_function(f"document.querySelectorAll('.scroll.wide').length == {before}")
    assert told() == before


def test_points_say_what_they_show_and_runs_are_linked(opened: Opened, report: Path) -> None:
    said = opened.page.eval_on_selector_all("figure svg g > title", "(nodes) => nodes.map((node) => node.textContent)")
    assert any(text.startswith("emcdr: 0.4") and "95 % interval" in text for text in said)
    assert any(text.startswith("emcdr: worse for ") for text in said), "of the distribution of gains"
    links = opened.page.eval_on_selector_all("#runs a", "(nodes) => nodes.map((node) => node.getAttribute('href'))")
    assert {"0/", "0/config.yaml", "0/result.json"} <= set(links)
    assert all((report.parent / link).exists() for link in links)


@pytest.mark.parametrize("opened", [{"color_scheme": "dark"}], indirect=True)
def test_no_text_of_a_figure_is_black_on_black(opened: Opened) -> None:
    """Legends too: matplotlib gives them a colour when they are made."""
    fills = "[...document.querySelectorAll('figure svg text')].map((t) => getComputedStyle(t).fill)"
    for fill in set(opened.page.evaluate(fills)):
        assert sum(int(part) for part in fill[fill.index("(") + 1 : -1].split(",")[:3]) > 3 * 100, fill
