"""In business terms: what transfer brings per 1,000 readers, whom it harms, and what had to be assumed to say so."""

from __future__ import annotations

import numpy as np

from transfer.evaluate.significance import LEAST
from transfer.report.comparison.business import BEYOND, WHOLE, Change, Deal, by_group, deal, k_of, named
from transfer.report.comparison.comparison import Comparison, groups_of
from transfer.report.comparison.effects import shares
from transfer.report.page.source import WHO
from transfer.report.page.tables import Cell, Leaderboard
from transfer.report.page.words import number
from transfer.results.amounts import instead, whole

READERS = 1000


def sentences(comparison: Comparison) -> list[str]:
    """A sentence for each figure that the runs have, and those on what had to be assumed; none where nothing compares."""
    found = deal(comparison)
    if found is None:
        return []
    k, ours, theirs = k_of(comparison), found.method.method, found.base.method
    opening = (
        f"{ours}, which validation prefers of the methods that see the source, against {theirs}"
        + (
            ", each for 1,000 readers with lists of {k}."
            if found.repeats >= LEAST
            else ", each for 1,000 readers with lists of {k}. With fewer than three splits nothing is tested."
        )
    ).format(k=k)
    said = [opening]
    changes = found.changes
    if "hit" in changes:
        said.append(_counted(changes["hit"], READERS, f"readers find a book that they like among their first {k}"))
    if "precision" in changes:
        said.append(_counted(changes["precision"], READERS * (k or 0), "books that are liked stand in their lists"))
    if "revenue" in changes:
        share = _constant(found, "price_coverage")
        known = "" if share is None else f" (a price is known of {share:.0%} of what they like; the rest counts as nothing)"
        said.append(_counted(changes["revenue"], READERS, f"is what the liked books in their lists cost together{known}"))
        if share is not None and share < 1 and "revenue_imputed" in changes:
            what = "is it with the mean price for books without one, so that lists of priced books have no advantage"
            said.append(_counted(changes["revenue_imputed"], READERS, what))
    if "like_share" in changes:
        base, judged = _constant(found, "like_share"), changes.get("judged")
        rest = f"; of all that they have judged {base:.0%} is liked, whatever the order" if base is not None else ""
        rest += f", and {judged.ours:.1f} of {k} in a list are judged" if judged else ""
        said.append(_counted(changes["like_share"], 100, f"of 100 listed books that they have judged are liked{rest}"))
    return [*said, _harm(comparison, found)]


def _counted(change: Change, times: float, what: str) -> str:
    paired = change.paired
    figures = (change.ours, change.theirs, paired.difference, paired.low, paired.high)
    ours, theirs, gap, low, high = (times * figure for figure in figures)
    return instead(ours, theirs, gap, low, high, what)


def _harm(comparison: Comparison, found: Deal) -> str:
    worse, better = shares(found.gains)
    if worse is None or better is None:
        return ""
    tenth = float(np.mean(np.sort(found.gains)[: max(1, len(found.gains) // 10)]))
    return (
        f"The list is better in {comparison.metric} for {whole(READERS * better)} of 1,000 readers and worse for "
        f"{whole(READERS * worse)}; for the tenth that fares worst it changes by {number(tenth, '+')} on average. Many of "
        "both differ by chance."
    )


def assumptions(comparison: Comparison) -> list[str]:
    """What the figures take for granted."""
    found = deal(comparison)
    if found is None:
        return []
    said = [
        "A book that a reader liked and that was hidden would be chosen if it stood in her list, wherever; one that she is "
        "not known to like would not. So absolute figures are too low: what only a list would have shown her is in none.",
        "Readers to come are like those of the test, and one list each is what they are shown.",
    ]
    if "revenue" in found.changes:
        said.append(
            "Who likes a book buys it at its listed price; margins, returns and what she would have bought anyway "
            "are not known."
        )
    if "like_share" in found.changes:
        said.append("Judged books are those that readers chose to judge, and they judge what they expect to like.")
    return said


def table(comparison: Comparison) -> Leaderboard | None:
    """What the lists of every method hold beyond hits: means over readers and runs; None where no run has measured it."""
    if comparison.members or k_of(comparison) is None:
        return None
    part = comparison.part
    names = [name for name in BEYOND if _known(comparison, name)]
    if not names:
        return None
    rows = [
        [Cell(setting.method), *(_cell(setting.summary(part, named(name, comparison)).mean) for name in names)]
        for setting in comparison.best
    ]
    heads = ["method", *(BEYOND[name] if name in WHOLE else f"{BEYOND[name]} @{k_of(comparison)}" for name in names)]
    return Leaderboard(heads, rows, comparison.best)


def group_table(comparison: Comparison) -> Leaderboard | None:
    """The same by group of readers, as far as it is known of each of them; None where there is one group."""
    groups = [group for group in groups_of(comparison) if group != "all"]
    if comparison.members or k_of(comparison) is None or not groups:
        return None
    names = [name for name in BEYOND if any(by_group(comparison, s, name, "all") is not None for s in comparison.best)]
    rows = [
        [Cell(f"{setting.method}, {WHO[group]}"), *(_cell(by_group(comparison, setting, name, group)) for name in names)]
        for setting in comparison.best[:12]
        for group in groups
    ]
    return Leaderboard(["method and readers", *(BEYOND[name] for name in names)], rows, []) if names else None


def _constant(found: Deal, name: str) -> float | None:
    """What no ranking changes, mean over the method's runs."""
    return found.method.mean(run.metric("test", name) for run in found.method.runs)


def _known(comparison: Comparison, name: str) -> bool:
    metric = named(name, comparison)
    return any(run.metric(comparison.part, metric) is not None for setting in comparison.best for run in setting.runs)


def _cell(value: float | None) -> Cell:
    if value is None or not np.isfinite(value):
        return Cell("–")
    return Cell(f"{value:,.2f}".replace("-", "−") if abs(value) >= 10 else number(value), value)
