"""What sweep=auto found, as plain JSON with one paragraph that says it in words."""

from __future__ import annotations

from typing import Any

from transfer.auto.decision import Candidate, Decision, Gain


def report(
    decision: Decision,
    tested: list[Candidate],
    test_gain: Gain | None,
    *,
    tried: int,
    folds: int,
    left_out: dict[str, str],
    not_reached: list[str],
    whole: bool,
    seconds: float,
) -> dict[str, Any]:
    """The content of choice.json. tested: the chosen candidate, and the reference where it is another, on the test part;
    whole: they have learnt from the validation part too."""
    facts: dict[str, Any] = {
        "chosen": list(decision.chosen.words),
        "reference": list(decision.reference.words),
        "transfer": decision.chosen.uses_source,
        "gains": {name: gain._asdict() for name, gain in decision.gains.items()},
        "test": {one.name: _value(one, "test") for one in tested if one.runs},
        "test_gain": test_gain._asdict() if test_gain else None,
        **_mixtures(decision),
        "tried": tried,
        "folds": folds,
        "divisions": len(decision.chosen.runs) // folds if decision.chosen.of_examples else 1,
        "left_out": left_out,
        "not_reached": not_reached,
        "whole": whole,
        "seconds": round(seconds, 1),
    }
    return facts | {"text": " ".join(_sentences(decision, tested, test_gain, facts))}


def _sentences(decision: Decision, tested: list[Candidate], test_gain: Gain | None, facts: dict[str, Any]) -> list[str]:
    chosen, base = decision.chosen, decision.reference
    world, how = chosen.runs[0].result["world"], chosen.runs[0].result["select"]
    sources = ", ".join(side["name"] for side in world["sources"]) or "no source"
    target, metric, many = world["target"]["name"], how["metric"], len(decision.gains)
    judged = f"over {facts['folds']} folds" if facts["folds"] > 1 else "on the validation part"
    if facts["divisions"] > 1:
        judged += f" of each of {facts['divisions']} divisions"
    who = "examples" if chosen.of_examples else "readers"
    said = []
    if how["by"] != "valid":
        said.append(
            f"{target} has no labels, so nothing can be promised: {chosen.name} is chosen by {how['by']}, without them; "
            f"{base.name} is not adapted."
        )
    elif facts["transfer"]:
        gain = decision.gains[chosen.name]
        said += [
            f"Transfer: {sources} help with {target}, by {chosen.name}.",
            f"Its {metric} on {who} that were held out, {judged}, is {_value(chosen, 'valid'):.4f}; that of {base.name}, "
            f"the best without a source, {_value(base, 'valid'):.4f}: {_interval(gain)}, as one of {many} that were tried.",
            f"{gain.gain:.0%} of the {who} gain, {gain.lose:.0%} lose.",
        ]
    else:
        said.append(f"Do not transfer: nothing shows that {sources} help with {target}; {chosen.name} is chosen.")
        said.append(f"Its {metric} on {who} that were held out, {judged}, is {_value(chosen, 'valid'):.4f}.")
        if decision.gains:
            name, gain = max(decision.gains.items(), key=lambda item: item[1].low)
            said.append(f"Nearest is {name}: {_interval(gain)}, as one of {many} that were tried.")
    for mixed in decision.mixtures:
        kept = "it is chosen" if chosen is mixed.candidate else "that is not enough, and it is left"
        said.append(
            f"The {mixed.candidate.name} is {_interval(mixed.gain)} against {mixed.best.name}, the best alone, for {who} "
            f"that did not choose its weights: {kept}."
        )
    values = [f"{one.name} {_value(one, 'test'):.4f}" for one in tested if one.runs]
    if facts["whole"]:
        said.append(f"For the test they have learnt from all {who} that are not in it.")
    said.append(
        f"On the test part, scored once: {', '.join(values)}" + (f": {_interval(test_gain)}." if test_gain else ".")
    )
    said.append(f"{facts['tried']} candidates in {facts['seconds']:.0f} s.")
    if facts["not_reached"]:
        said.append(f"The budget ended before {', '.join(facts['not_reached'])}.")
    if facts["left_out"]:
        said.append(f"Left out, choice.json says why: {', '.join(facts['left_out'])}.")
    return said


def _interval(gain: Gain) -> str:
    return f"{gain.mean:+.4f} ({gain.low:+.4f} to {gain.high:+.4f})"


def _mixtures(decision: Decision) -> dict[str, Any]:
    """The ensemble and the gate, also where they are not chosen; None where there is none."""
    found: dict[str, Any] = {"ensemble": None, "gate": None}
    for one in decision.mixtures:
        kind = "gate" if "method.gate=true" in one.candidate.words else "ensemble"
        found[kind] = {"words": list(one.candidate.words), "best": list(one.best.words), **one.gain._asdict()}
    return found


def _value(candidate: Candidate, part: str) -> float:
    """The mean over runs of the metric that is selected by."""
    metric = candidate.runs[0].result["select"]["metric"]
    if candidate.nested is not None:
        return abs(candidate.score)
    values = [run.metric(part, metric) for run in candidate.runs]
    return sum(value for value in values if value is not None) / len(values)
