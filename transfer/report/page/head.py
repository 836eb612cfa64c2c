"""The head of the page: the question, when and from which code it was answered, and the runs themselves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from transfer.report.comparison.average import alone
from transfer.report.comparison.comparison import Comparison
from transfer.report.comparison.files import clean
from transfer.report.comparison.runs import Run, shown_name
from transfer.report.page.words import number

ASKED = {
    "ranking": "recommend",
    "rating": "predict ratings of",
    "classification": "classify",
    "regression": "predict values of",
}
NAMED, RUNS = 3, 300  # sources that the question names; runs that the page lists
FILES = ("config.yaml", "result.json", "transfer.log")


def question(comparisons: list[Comparison], title: str) -> str:
    """`Do movies help to recommend books?`: what the sweep asks; its name where no run has finished."""
    if not comparisons:
        return title
    facts = comparisons[0].facts
    asked = ASKED.get(facts["task"], f"do {facts['task']} on")
    every = [member for comparison in alone(comparisons) for member in comparison.members or [comparison]]
    targets = list(dict.fromkeys(str(each.facts["world"]["target"]["name"]) for each in every))
    sources = list(dict.fromkeys(str(source["name"]) for each in every for source in each.facts["world"]["sources"]))
    onto = _listed(targets, "or", "domains")
    if not sources or not any(setting.uses_source for each in every for setting in each.best):
        return clean(f"Which method is best to {asked} {onto}?", 300)
    if set(targets) <= set(sources) and len(targets) > 1:
        return clean(f"{_listed(sources, 'and', 'domains')}: does one help to {asked} another?", 300)
    several = len(sources) > 1 or (sources[0].endswith("s") and not sources[0].endswith("ss"))
    return clean(f"{'Do' if several else 'Does'} {_listed(sources, 'and', 'sources')} help to {asked} {onto}?", 300)


def _listed(names: list[str], word: str, kind: str) -> str:
    """`a, b and c`; of many how many there are."""
    if len(names) > NAMED + 1:
        return f"{len(names)} {kind}"
    return f" {word} ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


def ended(runs: list[Run]) -> str:
    """The day on which the last run ended; empty where none says."""
    times = [time for run in runs if (time := _time(run))]
    return f"{max(times):%d %B %Y, %H:%M UTC}".lstrip("0") if times else ""


def commits(runs: list[Run]) -> list[str]:
    """The commits of the code that made these runs."""
    return sorted({clean(run.result["commit"], 80) for run in runs if run.result.get("commit")})


def wall(runs: list[Run]) -> float | None:
    """Seconds in which at least one of the programs was at work: reading, compiling, training, evaluating."""
    spans: set[tuple[datetime, datetime]] = set()
    for run in runs:
        if (end := _time(run)) and (spent := run.result.get("seconds")):
            spans.add((end - timedelta(seconds=min(sum(spent.values()), 1e8)), end))
    total, until = timedelta(), datetime.min.replace(tzinfo=UTC)
    for begin, end in sorted(spans):
        total += max(end - max(begin, until), timedelta())
        until = max(until, end)
    return total.total_seconds() if spans else None


def spoken(seconds: float) -> str:
    """`4.2 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_of = divmod(minutes, 60)
    return f"{hours:,} h {minutes_of} min" if hours else f"{minutes} min {rest} s"


def _time(run: Run) -> datetime | None:
    try:
        time = datetime.fromisoformat(run.result.get("ended") or "")
    except ValueError:
        return None
    return time if time.tzinfo and time.year > 1971 else None


def run_rows(runs: list[Run], folder: Path) -> list[dict[str, Any]]:
    """A row for each run, with links to its folder and to its files beside the page."""
    rows = []
    for run in runs[:RUNS]:
        select = run.result.get("select", {}).get("metric", "")
        name = shown_name(run, folder)
        there = [file for file in FILES if (run.folder / file).exists()]
        rows.append(
            {
                "name": name,
                "link": _link(run, folder),
                "files": [(file.partition(".")[0], f"{_link(run, folder)}{file}") for file in there],
                "settings": clean(" ".join(f"{key}={value}" for key, value in run.overrides.items()), 300),
                "status": run.status,
                "valid": number(run.metric("valid", select)),
                "test": number(run.metric("test", select)),
                "seconds": "–" if run.seconds is None else f"{run.seconds:.2f}",
            }
        )
    return rows


def _link(run: Run, folder: Path) -> str:
    return (
        "/".join(quote(str(part).encode("utf-8", "surrogateescape")) for part in run.folder.relative_to(folder).parts) + "/"
    )
