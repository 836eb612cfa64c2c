"""What comparisons are called: domain, task, split, and what else tells two of them apart."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from typing import Any

from transfer.report.comparison.files import clean
from transfer.report.comparison.runs import Flat, Run, flatten, measured, varying

EXAMPLE_SPLITS = ("few_labels transductive", "few_labels", "labelled", "transductive")
UNNAMED = ("files", "examples")  # worlds of somebody's own files: their domains have names, they have none
LONGEST, MANY = 100, 6  # letters of a value; sources that are named


def title_of(run: Run, others: list[Flat]) -> str:
    """`digits, classification, split few_labels, split.target_labels=10`: the keys are those in which others differ."""
    words = measured(run)
    title = f"{_world(run)}, {run.result['task']}, split {_split(words)}"
    for key in varying(others):
        if (value := words.get(key)) is not None:
            title += f", {key}={spelled(value, [other.get(key) for other in others])}"
    return clean(title, 1000)


def shared_name(run: Run) -> tuple[str, ...]:
    """What every title says; only where two are equal in it does a title say more."""
    words = measured(run)
    return _world(run), str(words["task.name"]), str(words["split.name"])


def _world(run: Run) -> str:
    """The name of the world; one of somebody's own files is called `target ← source + source`, or `target ← 26 sources`."""
    name = str(run.config["domain.name"])
    if name not in UNNAMED:
        return name
    world = run.result["world"]
    names = [str(source["name"]) for source in world["sources"]]
    sources = " + ".join(names) if len(names) <= MANY else f"{len(names)} sources"
    return str(world["target"]["name"]) + (f" ← {sources}" if sources else "")


def _split(words: Flat) -> str:
    """The name of the split; of labelled examples, what is known of the target."""
    name, labels = str(words["split.name"]), words.get("split.target_labels", 0)
    if name != "examples":
        return name
    known = "labelled" if labels == "all" else "few_labels" if labels else ""
    return " ".join(word for word in (known, "transductive" if words.get("split.transductive") else "") if word) or name


def spelled(value: Any, others: Iterable[Any] = ()) -> str:
    """A value of a flat configuration as a title says it: lists of names or files without brackets, of a file its path, or
    what tells it from the files of the other values; the end of a long text as a checksum."""
    keys = _telling([file for other in (value, *others) for file in _listed(other) if isinstance(file, dict)])
    text = " + ".join(_file(name, keys) if isinstance(name, dict) else str(name) for name in _listed(value)) or str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… {zlib.crc32(text.encode()):08x}"


def _file(file: dict[str, Any], keys: list[str]) -> str:
    words = dict(flatten(file))
    return " ".join(spelled(words[key]) for key in keys if words.get(key)) or str(words.get("path", "…"))


def _listed(value: Any) -> list[Any]:
    """The names, or files, of a list in a flat configuration; of anything else none."""
    try:
        return list(json.loads(value)) if isinstance(value, str) and value.startswith("[") else []
    except ValueError:
        return []


def _telling(files: list[dict[str, Any]]) -> list[str]:
    """The keys that tell files apart: the path, where that is enough or nothing differs."""
    rows = [dict(flatten(file)) for file in files]
    enough = len({repr(row.get("path")) for row in rows}) == len({repr(row) for row in rows})
    return ["path"] if enough else varying(rows)
