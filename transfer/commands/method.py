"""What a method is, needs and can be told: `transfer METHOD --help`."""

from __future__ import annotations

from types import ModuleType
from typing import Any, Literal, get_args, get_origin

from transfer.config.declared import Needs, Range
from transfer.config.schema import Method
from transfer.registry import find


def main(words: list[str]) -> int:
    """Print it; the exit code."""
    print(page(words[0]))
    return 0


def page(name: str) -> str:
    """The docstring with its equation, the tasks, what is needed of a world, numbers with their ranges, settings."""
    module = find("methods", name)
    needs: Needs = module.NEEDS
    parts = [f"method={name}\n", (module.__doc__ or "").strip() + "\n"]
    parts += [f"tasks  {', '.join(needs.tasks)}", f"needs  {', '.join(needed(needs)) or 'nothing of the world'}"]
    numbers = getattr(module, "HP", {})
    if numbers:
        width = max(map(len, numbers))
        parts.append("\nnumbers, which a sweep may differ in within one compiled program")
        parts += [
            f"  hp.{key:<{width}}  {default(number):>8}  {_range(key, number)}".rstrip() for key, number in numbers.items()
        ]
    shared = Method.model_fields
    fields = {**getattr(module, "Settings", Method).model_fields}
    own = {key: of for key, of in fields.items() if key not in shared}
    if own:
        parts.append("\nsettings")
        parts += [f"  method.{key}={of.default}{_choices(of.annotation)}" for key, of in own.items()]
    parts.append(f"\n  transfer method={name} ... ; `transfer --help` has the rest")
    return "\n".join(parts)


def _range(name: str, number: Range) -> str:
    """The values that make sense, and by what it may differ."""
    bounds = (number.refusal(float("nan")) or "").removeprefix("must be ")
    by = [
        f"also hp.{name}_{of}"
        for given, of in (
            (number.by_source, "1 (a source)"),
            (number.by_block, "BLOCK"),
            (number.by_member, "1 (a member)"),
        )
        if given
    ]
    return ", ".join([*([bounds] if bounds else []), *by])


def _choices(kind: Any) -> str:
    return f"   of {found}" if (found := choices(kind)) else ""


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


def settings(module: ModuleType) -> str:
    """A method's settings and their choices, its numbers and their defaults: `method.map=` ridge; `hp.` `ridge` (3)."""
    shared = Method.model_fields
    own = {key: of for key, of in getattr(module, "Settings", Method).model_fields.items() if key not in shared}
    said = [f"`method.{key}=` {choices(of.annotation)}".rstrip() for key, of in own.items()]
    numbers = [f"`{name}` ({default(number)})" for name, number in getattr(module, "HP", {}).items()]
    return "; ".join(said + ["`hp.` " + ", ".join(numbers)] * bool(numbers)) or "–"
