"""Names to objects: `method.name: coral` is the module coral in a room of transfer.methods, or one that a package declares.

Other packages add theirs through the entry-point groups transfer.methods, transfer.models, transfer.tasks and
transfer.domains (readers of labelled examples); nothing is ever imported by a path that stands in a configuration.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import sys
from functools import cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from transfer.config.declared import Needs
from transfer.errors import TransferError, unknown

# Where our own modules of a kind lie, whatever the room, and the function that each of them has.
PLACES = {
    "methods": ("transfer.methods", "build"),
    "models": ("transfer.models", "build"),
    "tasks": ("transfer.tasks", "build"),
    "domains": ("transfer.data.examples.sets", "read"),
}
# What was called otherwise before: the old name is still understood, in commands, run folders and sweeps.
RENAMED = {"methods": {"softmax": "log_linear"}}
KEYS = {"methods": "method.name", "models": "model.name", "tasks": "task.name", "domains": "domain.reader"}


class Outline(NamedTuple):
    """What the source of a module says without being run: its docstring, the functions it defines and its NEEDS."""

    doc: str
    functions: frozenset[str]
    needs: Needs


def names(kind: str) -> list[str]:
    """All names of a kind that can be built, ours and those of installed packages, sorted."""
    made_by = PLACES[kind][1]
    own = {name for name in ours(kind) if made_by in outline(kind, name).functions}
    return sorted(own | set(_theirs(kind)))


def find(kind: str, name: str) -> ModuleType:
    """The module behind a name. Raises TransferError naming what there is, or what is wrong with somebody's module."""
    known, name = names(kind), current(kind, name)
    if name not in known:
        raise TransferError(unknown(KEYS[kind], name, known))
    if name not in _theirs(kind):
        return importlib.import_module(ours(kind)[name])
    point = _theirs(kind)[name]
    try:
        return point.load()
    except Exception as error:  # somebody else's file: it costs that name, and no more
        line = (str(error) or type(error).__name__).splitlines()[0]
        raise TransferError(f"{KEYS[kind]}={name}: its module {point.module} does not load: {line}") from error


@cache
def current(kind: str, name: str) -> str:
    """What a name is called now, with a line on the console where that is another."""
    now = RENAMED.get(kind, {}).get(name, name)
    if now != name:
        from transfer.console import console  # late: `--help` has no time for it

        console.print(f"{kind.removesuffix('s')}={name} is now called {now}", markup=False, highlight=False)
    return now


@cache
def outline(kind: str, name: str) -> Outline:
    """What a module says of itself, read from its source so that nothing has to be imported or run."""
    name = current(kind, name)
    module = _theirs(kind)[name].module if name in _theirs(kind) else ours(kind)[name]
    try:
        spec = find_spec(module)
        tree = ast.parse(Path((spec and spec.origin) or "").read_bytes())
    except (ImportError, OSError, SyntaxError, ValueError) as error:
        return Outline(f"(cannot be read: {str(error).splitlines()[0]})", frozenset(), Needs(tasks=()))
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    return Outline(ast.get_docstring(tree) or "", frozenset(functions), _needs(tree))


def _needs(tree: ast.Module) -> Needs:
    """NEEDS = Needs(key=literal, ...) of a module; the defaults where it has none, or one that is no literal."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and ast.unparse(node.targets[0]) == "NEEDS":
            try:
                given: dict[str, Any] = {word.arg or "": ast.literal_eval(word.value) for word in node.value.keywords}
                return Needs(**given)
            except (ValueError, TypeError):
                break
    return Needs()


@cache
def ours(kind: str) -> dict[str, str]:
    """Modules of this package by name: {"coral": "transfer.methods.feature_based.coral"}."""
    place = PLACES[kind][0]
    folder = find_spec(place)
    found = pkgutil.walk_packages(folder.submodule_search_locations, f"{place}.") if folder else ()
    return {module.name.rpartition(".")[2]: module.name for module in found if not module.ispkg}


@cache
def _declared() -> EntryPoints:
    """The entry points of all installed packages, asked once: that reads the metadata of every one."""
    return entry_points()


@cache
def _theirs(kind: str) -> dict[str, EntryPoint]:
    """What installed packages declare, by name."""
    return {point.name: point for point in _declared().select(group=f"transfer.{kind}")}


def imported(kind: str) -> dict[str, ModuleType]:
    """The modules of a kind that this process has, as they are now: a notebook may have changed or reloaded one."""
    places = ours(kind) | {name: point.module for name, point in _theirs(kind).items()}
    return {name: sys.modules[place] for name, place in places.items() if place in sys.modules}


@cache
def configuration_folders() -> list[tuple[str, Path]]:
    """Installed packages that declare something, each with a `conf` folder of its own."""
    packages = {point.module.split(".")[0] for kind in PLACES for point in _theirs(kind).values()}
    folders = []
    for package in sorted(packages - {"transfer"}):
        spec = find_spec(package)
        for place in (spec.submodule_search_locations if spec else None) or []:
            if (folder := Path(place) / "conf").is_dir():
                folders.append((package, folder))
    return folders
