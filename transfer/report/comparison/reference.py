"""What methods are measured against: the best without a source; target_only; source_only where no target label is known."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from transfer.report.comparison.comparison import Comparison, Setting

# The model that never sees the source, and the source's own model, not adapted.
TARGET_ONLY, SOURCE_ONLY = "target_only", "source_only"
Base = Callable[[Setting], Setting | None]


def reference(comparison: Comparison, peer: Setting | None = None) -> Setting | None:
    """The best method without a source, chosen on validation; where there is none, source_only (with the peer's model)."""
    alone = [setting for setting in comparison.best if not setting.uses_source]
    if not alone:
        return chosen_of(comparison, SOURCE_ONLY, peer)
    most = max(len(setting.runs) for setting in alone)
    rivals = [setting for setting in alone if len(setting.runs) == most]  # means of the same splits and seeds
    if any(np.isfinite(setting.score) for setting in rivals):
        return preferred(rivals)
    return chosen_of(comparison, TARGET_ONLY, peer) or rivals[0]  # nothing was held out for a choice


def chosen_of(comparison: Comparison, method: str, peer: Setting | None = None) -> Setting | None:
    """The chosen setting of a method; of several variants those with the peer's model, then the one selection prefers."""
    rows = [setting for setting in comparison.best if setting.method.partition(" ")[0] == method]
    rows = [setting for setting in rows if setting.values.get("method.guard") in (None, "none")] or rows
    model = peer and peer.values.get("model.name")
    rows = [setting for setting in rows if setting.values.get("model.name") == model] or rows
    return preferred(rows) if rows else None


def preferred(settings: list[Setting]) -> Setting:
    """The setting whose mean validation score is best; the first where none has one."""
    scores = [setting.score for setting in settings]
    return settings[int(np.nanargmax(scores))] if np.isfinite(scores).any() else settings[0]


def without_adaptation(comparison: Comparison) -> bool:
    """Whether gaps are gaps to source_only: no method here can do without the source."""
    return all(setting.uses_source for setting in comparison.best)


def reference_name(comparison: Comparison) -> str:
    """What the gaps of a comparison are gaps to."""
    base = reference(comparison)
    if without_adaptation(comparison):
        return SOURCE_ONLY
    return base.method if base else TARGET_ONLY


def reference_words(comparison: Comparison) -> str:
    """`popularity, best without a source on validation`; that there is none where no run can be it."""
    if reference(comparison) is None:
        return "none, for no method without a source was run"
    why = "the source's own model, not adapted" if without_adaptation(comparison) else "best without a source on validation"
    return f"{reference_name(comparison)}, {why}"


def bases(comparison: Comparison) -> dict[str, Base]:
    """What gains are measured against, by name: the reference, then target_only and source_only where they are not it."""
    named: dict[str, Base] = {reference_name(comparison): lambda setting: reference(comparison, setting)}
    for method in (TARGET_ONLY, SOURCE_ONLY):
        variants = [setting for setting in comparison.best if setting.method.partition(" ")[0] == method]
        if variants and variants != [reference(comparison)] and method not in named:
            named[method] = partial(chosen_of, comparison, method)
    return named
