"""Print the table of docs/methods.md, from methods' docstrings, NEEDS and Settings: `python scripts/method_table.py`."""

from __future__ import annotations

from transfer.commands.method import needed, settings
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


if __name__ == "__main__":
    print(method_table())
