"""Print the table of docs/methods.md, from methods' docstrings, NEEDS and Settings: `python scripts/method_table.py`."""

from __future__ import annotations

from types import ModuleType
from typing import Any, Literal, get_args, get_origin

from transfer.config.declared import Needs, Range
from transfer.config.schema import Method
from transfer.registry import find, names


def method_table() -> str:
    """The table of docs/methods.md, from methods' docstrings, NEEDS and Settings."""
    rows = ["| `method=` | tasks | needs | what it does | settings | paper |", "|---|---|---|---|---|---|"]
    for name in names("methods"):
        module = find("methods", name)
        doc = (module.__doc__ or "").strip()
        first, _, equation = doc.splitlines()[0].partition(": ")
        summary = (first if len(first) > 15 else f"{first}: {equation}").rstrip(".:;,").replace("|", r"\|")
        cells = [f"`{name}`", ", ".join(module.NEEDS.tasks), ", ".join(needed(module.NEEDS)) or "–", summary]
        cells += [settings(module), paper(doc)]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def paper(doc: str) -> str:
    """What follows "Paper: " in a method's docstring, or a dash."""
    return " ".join(doc.partition("Paper: ")[2].split()).rstrip(".") or "–"


def settings(module: ModuleType) -> str:
    """A method's settings and their choices, its numbers and their defaults: `method.map=` ridge; `hp.` `ridge` (3)."""
    shared = Method.model_fields
    own = {key: of for key, of in getattr(module, "Settings", Method).model_fields.items() if key not in shared}
    said = [f"`method.{key}=` {choices(of.annotation)}".rstrip() for key, of in own.items()]
    numbers = [f"`{name}` ({default(number)})" for name, number in getattr(module, "HP", {}).items()]
    return "; ".join(said + ["`hp.` " + ", ".join(numbers)] * bool(numbers)) or "–"


def default(number: Range) -> str:
    """0.003; or task.l2, where the task says what it is."""
    return number.default.strip("${}") if isinstance(number.default, str) else f"{number.default:g}"


def choices(kind: Any) -> str:
    """The values of a type of few values; empty for numbers."""
    if get_origin(kind) is Literal:
        return ", ".join(get_args(kind))
    return "true, false" if kind is bool else ""


def needed(needs: Needs) -> list[str]:
    """What a method asks of a world, in words."""
    words = {
        "source": "a source",
        "shared_users": "shared users",
        "texts": "texts of the items",
        "same_labels": "the same classes",
        "target_labels": "labelled target examples (classification)",
        "representation": "a model with a body",
    }
    return [said for key, said in words.items() if getattr(needs, key)]


if __name__ == "__main__":
    print(method_table())
