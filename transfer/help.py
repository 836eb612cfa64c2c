"""The text of `transfer --help`, made from the code: groups, methods with what they need, examples."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from omegaconf import OmegaConf

if TYPE_CHECKING:
    from transfer.program import Needs

EXAMPLES = """\
  transfer                                                     the embedded default, seconds
  transfer domain=amazon_movies_books data_dir=DATA task=ranking split=cold_start split.beta=0.2 method=user_knn
  transfer domain=files domain.source=A/movies.inter domain.target=A/books.inter task=rating method=source_bias
  transfer domain=simulated domain.correlation=0.9 method=emcdr method.map=mlp seed=3 hp.learning_rate=1e-3
  transfer domain=digits_shift domain.target=rotated method=coral
  transfer domain=office_caltech domain.source=amazon domain.target=webcam data_dir=DATA method=coral
  transfer -m method=target_only,cmf,emcdr seed=0,1,2 split.seed=0,1,2"""


# Words of a command that change how a sweep runs, not what it is.
HOW = ("engine", "retry", "track", "resume", "train.progress")


def register() -> None:
    """Make ${transfer_help:} and ${sweep_name:} known to OmegaConf."""
    OmegaConf.register_new_resolver("transfer_help", help_text, replace=True)
    OmegaConf.register_new_resolver("sweep_name", sweep_name, use_cache=True, replace=True)


def sweep_name(words: Sequence[str]) -> str:
    """The folder of a sweep below sweeps/, the same for the same command: DAY-HASH, found again on a later day."""
    kept = sorted(word for word in words if not word.lstrip("+").startswith(HOW))
    digest = hashlib.sha256("\n".join(kept).encode()).hexdigest()[:8]
    there = sorted(path.name for path in Path("sweeps").glob(f"*-{digest}"))
    return there[-1] if there else f"{time.strftime('%Y-%m-%d')}-{digest}"


def help_text() -> str:
    """What `--help` prints; Hydra fills in the names that begin with a dollar sign."""
    return f"""\
transfer: train and compare methods that carry knowledge from one domain (movies) to another (books).

usage: transfer [-m] [GROUP=CHOICE ...] [KEY=VALUE ...]

Groups and choices
$APP_CONFIG_GROUPS
Methods
{method_lines()}

Examples
{EXAMPLES}

A run prints its figures and leaves a folder (hydra.run.dir=FOLDER chooses it); -m runs every combination and ends with a
table. `transfer ... --cfg job` shows the whole configuration of a command without running it.
"""


def paper(doc: str) -> str:
    """What follows "Paper: " in a method's docstring, or a dash."""
    return " ".join(doc.partition("Paper: ")[2].split()).rstrip(".") or "–"


def method_table() -> str:
    """The README's table of methods, from their docstrings, NEEDS and Settings."""
    from transfer.registry import find, names

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


def settings(module: ModuleType) -> str:
    """A method's own settings and their choices: `method.map=` ridge, mlp; `method.hidden=`. A dash for none."""
    from transfer.config import Method

    shared = Method.model_fields
    own = {key: of for key, of in getattr(module, "Settings", Method).model_fields.items() if key not in shared}
    said = [f"`method.{key}=` {choices(of.annotation)}".rstrip() for key, of in own.items()]
    return "; ".join(said) or "–"


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


def method_lines() -> str:
    """One line per method: name, tasks, needs, what it does."""
    from transfer.registry import find, names

    lines = []
    for name in names("methods"):
        module = find("methods", name)
        needs = module.NEEDS
        wants = "shared users" if needs.shared_users else "texts" if needs.texts else "a source" if needs.source else "-"
        summary = (module.__doc__ or "").strip().splitlines()[0]
        lines.append(f"  {name:<20} {'/'.join(needs.tasks):<29} needs {wants:<13} {summary}")
    return "\n".join(lines)
