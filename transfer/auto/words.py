"""What sweep=auto found, as plain JSON with a few lines that say it in words."""

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
    lines = _judged(decision, facts), _mixed(decision), _tested(decision, tested, test_gain, facts)
    return facts | {"text": "\n".join(" ".join(line) for line in lines if line)}


def _judged(decision: Decision, facts: dict[str, Any]) -> list[str]:
    """What was chosen and why."""
    chosen, base = decision.chosen, decision.reference
    world, how = chosen.runs[0].result["world"], chosen.runs[0].result["select"]
    sources = ", ".join(side["name"] for side in world["sources"]) or "no source"
    target, metric, many = world["target"]["name"], how["metric"], len(decision.gains)
    judged = f"over {facts['folds']} folds" if facts["folds"] > 1 else "on the validation part"
    if facts["divisions"] > 1:
        judged += f" of each of {facts['divisions']} divisions"
    who, said = _who(chosen), list[str]()
    of_all = (
        f"an interval that holds for all {many} that see a source" if many > 1 else "of the only one that sees a source"
    )
    if how["by"] != "valid":
        said.append(
            f"{target} has no labels, so nothing can be promised: {chosen.name} is chosen by {how['by']}, without them; "
            f"{base.name} is not adapted."
        )
    elif facts["transfer"]:
        gain = decision.gains[chosen.name]
        said += [
            f"Transfer: {sources} help with {target}, by {chosen.name}.",
            f"On {who} that were held out, {judged}, its {metric} is {_value(chosen, 'valid'):.4f}, and that of "
            f"{base.name}, the best without a source, {_value(base, 'valid'):.4f}: a gain of {_interval(gain)}, {of_all}.",
            f"{gain.gain:.0%} of the {who} gain, {gain.lose:.0%} lose.",
        ]
    else:
        said.append(f"Do not transfer: nothing shows that {sources} help with {target}; {chosen.name} is chosen.")
        said.append(f"Its {metric} on {who} that were held out, {judged}, is {_value(chosen, 'valid'):.4f}.")
        if decision.gains:
            name, gain = max(decision.gains.items(), key=lambda item: item[1].low)
            said.append(f"Nearest is {name}: {_interval(gain)}, {of_all}.")
    return said


def _mixed(decision: Decision) -> list[str]:
    """What the ensemble and the gate bring."""
    said, who = [], _who(decision.chosen)
    for mixed in decision.mixtures:
        kept = "chosen" if mixed.candidate is decision.chosen else "left"
        said.append(
            f"The {mixed.candidate.name} is {kept}: against {mixed.best.name}, the best alone, it brings "
            f"{_interval(mixed.gain)} to {who} that did not choose its weights."
        )
    return said


def _tested(decision: Decision, tested: list[Candidate], test_gain: Gain | None, facts: dict[str, Any]) -> list[str]:
    """The test, and what all of it cost."""
    values = " and ".join(f"{one.name} {_value(one, 'test'):.4f}" for one in tested if one.runs)
    learnt = f", after learning from all other {_who(decision.chosen)}" if facts["whole"] else ""
    gained = f", a gain of {_interval(test_gain)}" if test_gain else ""
    said = [f"On the test part, scored once{learnt}: {values}{gained}."]
    said.append(f"{facts['tried']} candidates were tried, in {facts['seconds']:.0f} s.")
    if facts["not_reached"]:
        said.append(f"The budget ended before {', '.join(facts['not_reached'])}.")
    if facts["left_out"]:
        said.append(f"Left out, choice.json says why: {', '.join(facts['left_out'])}.")
    return said


def _who(candidate: Candidate) -> str:
    return "examples" if candidate.of_examples else "readers"


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
