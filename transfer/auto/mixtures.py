"""The mixtures of tried candidates that sweep=auto considers: an ensemble of the best, and a gate for each reader."""

from __future__ import annotations

from transfer.auto.decision import Candidate
from transfer.auto.ensemble import chosen, folds_of, pool_of
from transfer.auto.gate import gated
from transfer.experiment.run import load_run


def mixtures_of(tried: list[Candidate], most: int) -> list[Candidate]:
    """An ensemble of at most so many of the best, where more than one is worth a weight, and a gate between the best that
    sees a source and the best that does not. Raises TransferError where runs have not kept their parameters."""
    pool = pool_of(tried, most)
    if not pool:
        return []
    how = pool[0].runs[0].result["select"]
    folds = folds_of([[load_run(run.folder) for run in one.runs] for one in pool])
    found = chosen(pool, folds, how["metric"], how["sign"]), gated(pool, folds, how["metric"], how["sign"])
    return [one for one in found if one]
