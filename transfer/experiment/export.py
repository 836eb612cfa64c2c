"""A run folder that serves new readers alone: what it needs of items is kept in it, and no reader's data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from transfer.config.schema import Config
from transfer.data.interactions.events import Catalogue, Heldout, Interactions
from transfer.data.interactions.sequences import Sequences
from transfer.data.interactions.world import Loaded, Side, World, at_inference
from transfer.errors import TransferError
from transfer.experiment.build import build_program, build_task, program_shapes, replicas_of
from transfer.experiment.checks import check_settings
from transfer.experiment.run import load_run
from transfer.program import Done
from transfer.results import run_folder
from transfer.results.new_readers import History
from transfer.results.predictor import Predictor
from transfer.storage import trees
from transfer.training.compiler import Compiler

ITEMS = "items.safetensors"  # counts and features of the items of every domain; with their ids and titles beside them
ASKED, AGREE = 8, 1e-4  # readers of the run who are scored both ways, and how near the scores have to be


def export(folder: Path) -> int:
    """Keep in the folder of a finished run what scores of new readers take; returns its bytes.

    Raises TransferError where the method's scores depend on the readers that it was trained on, or are by name alone.
    """
    predictor, config = load_with_data(folder), check_settings(run_folder.read_run(folder)[0])
    loaded = predictor.loaded
    arrays, facts = _kept(loaded)
    histories = _some_histories(loaded)
    before = predictor.score_new(histories)
    try:
        after = _predictor(config, arrays, facts, folder).score_new(histories)
        agrees = np.allclose(before, after, rtol=AGREE, atol=AGREE * float(np.abs(before).max()))
    except (TransferError, TypeError, ValueError) as error:
        raise TransferError(_depends(folder, config.method.name)) from error
    if not agrees:
        raise TransferError(_depends(folder, config.method.name))
    trees.save_tree(folder / ITEMS, arrays, facts)
    return (folder / ITEMS).stat().st_size + run_folder.parameters_of(folder).stat().st_size


def _depends(folder: Path, method: str) -> str:
    return (
        f"{folder}: method={method} scores new readers by those that it was trained on, so its run does not serve without "
        "their data; ease, item_knn, ials, graph_filter, history_map and next-item models do"
    )


def load_predictor(folder: Path) -> Predictor:
    """What scores new readers from a run folder: alone where it was exported, else with the run's data.

    Raises TransferError where the folder is no run of recommendations, or its data are not there.
    """
    if not (folder / ITEMS).exists():
        return load_with_data(folder)
    config = check_settings(run_folder.read_run(folder)[0])
    return _predictor(config, trees.load_arrays(folder / ITEMS), trees.load_facts(folder / ITEMS), folder)


def load_with_data(folder: Path) -> Predictor:
    """The predictor of a run folder and its data. Raises TransferError where the run has no readers."""
    predictor = load_run(folder).predictor
    if not isinstance(predictor, Predictor):
        raise TransferError(f"{folder} classifies examples and has no readers to recommend to")
    return predictor


def _kept(loaded: Loaded) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and facts of the items of all domains, the target first."""
    world = at_inference(loaded.world)
    sides = [world.target, *world.sources]
    arrays = {}
    for place, side in enumerate(sides):
        arrays[f"{place}/counts"] = np.asarray(side.train.item_counts)
        arrays |= {f"{place}/features/{name}": np.asarray(rows) for name, rows in side.features.items()}
        if side.target_items is not None:
            arrays[f"{place}/target_items"] = np.asarray(side.target_items)
    told = [loaded.summary["target"], *loaded.summary["sources"]]
    facts = {
        "domains": [{key: side[key] for key in ("name", "positive", "rated") if key in side} for side in told],
        "items": [loaded.items, *loaded.source_items],
        "titles": [loaded.titles, *loaded.source_titles],
        "scale": list(world.scale),
        "ordered": world.merged is not None,
    }
    return arrays, json.loads(json.dumps(facts))


def _some_histories(loaded: Loaded) -> list[History]:
    """Histories of a few readers of the run, evenly spaced, and one without any."""
    world = at_inference(loaded.world)
    names = [side["name"] for side in (loaded.summary["target"], *loaded.summary["sources"])]
    asked = np.unique(np.linspace(0, world.n_users - 1, ASKED).astype(int))
    every: list[dict[str, list[str]]] = [{} for _ in asked]
    for name, side, ids in zip(names, (world.target, *world.sources), (loaded.items, *loaded.source_items), strict=True):
        starts, items = np.asarray(side.train.starts), np.asarray(side.train.items)
        for history, user in zip(every, asked, strict=True):
            history[name] = [ids[item] for item in items[starts[user] : starts[user + 1]]]
    return [*every, {}]


def _predictor(config: Config, arrays: dict[str, np.ndarray], facts: dict[str, Any], folder: Path) -> Predictor:
    """The run's predictor on a world without readers."""
    ids, titles = facts["items"], facts["titles"]
    summary = {"target": facts["domains"][0], "sources": facts["domains"][1:]}
    world = _without_readers([len(own) for own in ids], arrays, tuple(facts["scale"]), facts["ordered"])
    loaded = Loaded(world, [""], ids[0], titles[0], ids[1:], titles[1:], summary, "")
    program = build_program(config, world, build_task(config, world))
    shapes = program_shapes(program, config.train, world, replicas_of([config]), Compiler("map", {}, {}))
    template = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), shapes)
    parameters: Done = trees.load_tree(run_folder.parameters_of(folder), template)
    return Predictor(loaded, program, parameters, config.hp)


def _without_readers(
    widths: Sequence[int], arrays: dict[str, np.ndarray], scale: tuple[float, float], ordered: bool
) -> World:
    """The world of these items, with the counts and features that they had, and one invented reader, who has the first of
    each domain: a program is not built where nobody has both."""
    sides = []
    for place, width in enumerate(widths):
        prefix = f"{place}/features/"
        features = {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
        events = Interactions(
            users=np.zeros(1, np.int32),  # type: ignore[arg-type]
            items=np.zeros(1, np.int32),  # type: ignore[arg-type]
            ratings=np.ones(1, np.float32),  # type: ignore[arg-type]
            starts=np.arange(2, dtype=np.int32),  # type: ignore[arg-type]
            item_counts=arrays[f"{place}/counts"],  # type: ignore[arg-type]
            n_users=1,
            n_items=width,
            longest=1,
        )
        nobody = _nobody(events.item_counts)
        target_items: Any = arrays.get(f"{place}/target_items")
        side = Side(events, events, nobody, features, _empty(width) if ordered else None, target_items)  # type: ignore[arg-type]
        sides.append(side)
    hidden = sides[0].stop
    bridges: Any = np.zeros(1, np.int32)
    world = World(sides[0], tuple(sides[1:]), hidden, hidden, scale, bridges=bridges)
    return jax.device_put(replace(world, merged=_empty(sum(widths)) if ordered else None))


def _nobody(popularity: Any) -> Heldout:
    """A hidden part in which nobody is asked; it counts as one event, for a program is not built without any."""
    empty: Any = np.zeros((1, 1), np.int32)
    beyond: Any = np.ones((1, 1), np.int32)
    rating: Any = np.zeros((1, 1), np.float32)
    one: Any = np.int32(1)
    liked: Any = np.zeros((1, 1), bool)
    priced = Catalogue(one, price=np.ones_like(popularity))
    nothing: Any = {"disliked_row": beyond, "disliked_item": empty, "catalogue": priced}
    return Heldout(empty, beyond, empty, rating, beyond, empty, popularity, one, one, liked, **nothing)


def _empty(width: int) -> Sequences:
    """The invented reader's sequence, without any item."""
    none: Any = np.zeros(0, np.int32)
    start: Any = np.zeros(2, np.int32)
    learner: Any = np.zeros(1, np.int32)
    return Sequences(none, none, start, learner, width)
