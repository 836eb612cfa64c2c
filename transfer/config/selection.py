"""What sweepers and reports choose by: `select=` names the score of a run that is maximised.

valid: task.select on the validation part. The others judge a model of classes whose target is unlabelled
(`transfer.evaluate.selectors` has their equations); oracle reads the test labels, and its figures are no honest ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Selector = Literal["valid", "source_valid", "importance_weighted", "dev", "entropy", "snd", "mixval", "reverse", "oracle"]
ORACLE = "oracle"
ON_SOURCE = ("source_valid", "importance_weighted", "dev", "reverse")  # these need labels that the sources hold out


def score(facts: Mapping[str, Any]) -> float:
    """What every choice and every sweeper maximises, from a result.json: an error counts with its sign turned.

    NaN where the run has no such score.
    """
    how = facts.get("select", {})
    by = how.get("by", "valid")
    if by == "valid":
        value = facts["metrics"].get("valid", {}).get(how.get("metric"))  # none where nothing is held out
        return float("nan") if value is None else how.get("sign", 1) * float(value)
    value = facts.get("selectors", {}).get(by)
    return float("nan") if value is None else float(value)


def spoken(facts: Mapping[str, Any]) -> str:
    """How a choice was made, in words."""
    by = facts["select"].get("by", "valid")
    if by == "valid":
        return f"{facts['select']['metric']} on the validation part; the test part is scored once, after it"
    if by == ORACLE:
        return "oracle: by the labels of the test part, so these figures are not honest; they bound what a choice can bring"
    return f"{by}, without labels of the target; the test part is scored once, after it"
