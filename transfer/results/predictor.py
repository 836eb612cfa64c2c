"""A trained run that scores and recommends, with ids and titles in place of indices."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from transfer.data.examples.world import Inputs, LoadedExamples
from transfer.data.interactions.world import Loaded, at_inference
from transfer.errors import TransferError
from transfer.program import Done, Program

CHUNK = 256


class Recommendation(NamedTuple):
    """One line of a list: rank from 1, the item's id and title (null where unknown), and the score."""

    rank: int
    item: str
    title: str | None
    score: float


class Predictor:
    """Scores of one replica: parameters by stage, and the world they were trained on."""

    def __init__(self, loaded: Loaded, program: Program, parameters: Done, hp: dict[str, float]):
        self.loaded, self.program, self.parameters = loaded, program, parameters
        self.hp = {name: jnp.float32(value) for name, value in hp.items()}
        compiled = jax.jit(lambda world, done, users: program.scores(world, done, self.hp)(users))
        self._world = at_inference(loaded.world)
        self._scores = lambda users: compiled(self._world, parameters, users)

    @cached_property
    def _user_index(self) -> dict[str, int]:
        return {user: i for i, user in enumerate(self.loaded.users)}

    @cached_property
    def _item_index(self) -> dict[str, int]:
        return {item: i for i, item in enumerate(self.loaded.items)}

    def score(self, users: Sequence[str], items: Sequence[str] | None = None) -> np.ndarray:
        """Scores float32 [users, items] for ids; all target items by default. Raises TransferError for an unknown id."""
        rows = np.array([_known(user, self._user_index, "user") for user in users], np.int32)
        padded = np.resize(rows, -(-len(rows) // CHUNK) * CHUNK).reshape(-1, CHUNK)
        table = np.concatenate([np.asarray(self._scores(chunk)) for chunk in padded])[: len(rows)]
        if items is None:
            return table
        return table[:, [_known(item, self._item_index, "item") for item in items]]

    def recommend(self, users: Sequence[str], k: int = 10) -> dict[str, list[Recommendation]]:
        """The k best target items for each user, without those that she is known to have or to have rated, liked or not."""
        table = self.score(users).copy()
        parts = [part for part in (self._world.target.train, self._world.rated) if part is not None]
        known = [(np.asarray(part.starts), np.asarray(part.items)) for part in parts]
        result = {}
        for row, user in zip(table, users, strict=True):
            u = self._user_index[user]
            for starts, items in known:
                row[items[starts[u] : starts[u + 1]]] = -np.inf
            best = [i for i in np.argsort(-row, kind="stable")[:k] if np.isfinite(row[i])]
            names = [self.loaded.items[i] for i in best]
            titles = self.loaded.titles
            result[user] = [
                Recommendation(rank, name, titles.get(name), float(row[i]))
                for rank, (name, i) in enumerate(zip(names, best, strict=True), start=1)
            ]
        return result


class LabelPredictor:
    """Classes of one replica: parameters by stage, and the world they were trained on.

    Target examples are given as the domain's reader has them: `texts` (strings), `images` float32 [n, ...], `counts` (a
    sparse matrix of words [n, words]), texts and images together where the domain joins them; or as features `x` float32
    [n, ...], as in `loaded.world`. Raises TransferError where these are not what the run was trained on.
    """

    def __init__(self, loaded: LoadedExamples, program: Program, parameters: Done, hp: dict[str, float]):
        self.loaded, self.parameters = loaded, parameters
        numbers = {name: jnp.float32(value) for name, value in hp.items()}
        squash = jax.nn.sigmoid if loaded.world.multi_label else jax.nn.softmax
        compiled = jax.jit(lambda world, done, inputs: squash(program.scores(world, done, numbers)(inputs)))
        self._probabilities = lambda inputs: compiled(loaded.world, parameters, inputs)

    def features(
        self, texts: Sequence[str] | None = None, images: np.ndarray | None = None, counts: Any = None
    ) -> np.ndarray:
        """Features float32 [n, ...] of raw target examples, by what was learnt from the training examples."""
        if self.loaded.featuriser is None:
            raise TransferError("this world was made of features: give x=FEATURES")
        return self.loaded.featuriser(texts, images, counts)

    def probabilities(self, x: np.ndarray | None = None, **raw: Any) -> np.ndarray:
        """P of every class, float32 [n, classes], of raw examples or of features x."""
        x = self.features(**raw) if x is None else x
        known = self.loaded.world.unlabelled
        wanted = known.shape[1:]
        if x.shape[1:] != wanted:
            raise TransferError(f"examples of shape {list(x.shape[1:])}: this run has inputs of shape {list(wanted)}")
        padded = np.resize(x, (-(-len(x) // CHUNK) * CHUNK, *wanted)).astype(known.dtype).reshape(-1, CHUNK, *wanted)
        target = jnp.zeros(CHUNK, jnp.int32)
        return np.concatenate([np.asarray(self._probabilities(Inputs(chunk, target))) for chunk in padded])[: len(x)]

    def classify(self, x: np.ndarray | None = None, **raw: Any) -> list[Any]:
        """The likeliest class of each example by name, or the list of those with P > 1/2 where it may have several."""
        p, classes = self.probabilities(x, **raw), self.loaded.classes
        if self.loaded.world.multi_label:
            return [[classes[c] for c in np.flatnonzero(row > 0.5)] for row in p]
        return [classes[c] for c in p.argmax(1)]


def predictor_of(
    loaded: Loaded | LoadedExamples, program: Program, parameters: Done, hp: dict[str, float]
) -> Predictor | LabelPredictor:
    """The predictor for what the world holds: interactions, or labelled examples."""
    if isinstance(loaded, LoadedExamples):
        return LabelPredictor(loaded, program, parameters, hp)
    return Predictor(loaded, program, parameters, hp)


def _known(name: Any, index: dict[str, int], what: str) -> int:
    if name not in index:
        raise TransferError(
            f"{what} {name!r} is unknown: no training event has it; {len(index):,} are known, such as {next(iter(index))}"
        )
    return index[name]
