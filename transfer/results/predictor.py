"""A trained run that scores and recommends, with ids and titles in place of indices."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import repeat
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from transfer.data.examples.world import Inputs, LoadedExamples
from transfer.data.interactions.world import Loaded, World, at_inference
from transfer.errors import TransferError
from transfer.program import Done, Program
from transfer.results.new_readers import History, Told, told, with_readers, without_padding

CHUNK = 256
SIZES = (1, 16, CHUNK)  # of new readers at once: each is a program


class Recommendation(NamedTuple):
    """One line of a list: rank from 1, the item's id and title (null where unknown), and the score."""

    rank: int
    item: str
    title: str | None
    score: float


class Because(NamedTuple):
    """What an item of a reader's history adds to the score of a recommended one: its domain, id, title, and how much."""

    domain: str
    item: str
    title: str | None
    adds: float


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

    def recommend(
        self,
        users: Sequence[str],
        k: int = 10,
        candidates: Collection[str] | Mapping[str, Collection[str]] | None = None,
        exclude: Collection[str] = (),
    ) -> dict[str, list[Recommendation]]:
        """The k best target items for each user, without those that she is known to have or to have rated, liked or not.

        candidates: ids of the only items that may be recommended (None: all), or those of each user; exclude: ids of those
        that may not. Raises TransferError for a user or an item that is unknown, and for a user without candidates.
        """
        table = self.score(users)
        parts = [part for part in (self._world.target.train, self._world.rated) if part is not None]
        known = [(np.asarray(part.starts), np.asarray(part.items)) for part in parts]
        places = [self._user_index[user] for user in users]
        seen = [np.concatenate([items[starts[u] : starts[u + 1]] for starts, items in known]) for u in places]
        of_each: Iterable[np.ndarray]
        if isinstance(candidates, Mapping):
            if without := [user for user in users if user not in candidates]:
                raise TransferError(f"candidates: there are none for user {without[0]!r} ({len(without):,} such users)")
            of_each = (self._candidates(candidates[user], exclude) for user in users)
        else:
            of_each = repeat(self._candidates(candidates, exclude), len(users))
        lists = [self._best(row, k, open_to, of) for row, open_to, of in zip(table, of_each, seen, strict=True)]
        return dict(zip(users, lists, strict=True))

    def score_new(self, histories: Sequence[History]) -> np.ndarray:
        """Scores float32 [readers, target items] of readers who were not there, by {domain: ids, or (id, rating)}.

        Raises TransferError where the method knows its readers by name alone, and for what it does not know.
        """
        return self._new(histories)[0]

    def recommend_new(
        self,
        histories: Sequence[History],
        k: int = 10,
        candidates: Collection[str] | None = None,
        exclude: Collection[str] = (),
    ) -> list[list[Recommendation]]:
        """The k best target items for readers who were not there, without those of their histories; see `recommend`."""
        table, known = self._new(histories)
        open_to = self._candidates(candidates, exclude)
        return [self._best(row, k, open_to, sorted(of)) for row, of in zip(table, known, strict=True)]

    def because(self, history: History, items: Sequence[str]) -> list[list[Because]]:
        """What each item of a new reader's history adds to the scores of target items, the largest first: her score less
        that of a reader who has all but it."""
        sides = [self.loaded.summary["target"], *self.loaded.summary["sources"]]
        events = [(side["name"], event) for side in sides for event in history.get(side["name"], ())]
        without = [
            {domain: [e for e in of if (domain, e) != left_out] for domain, of in history.items()} for left_out in events
        ]
        places = [_known(item, self._item_index, "item") for item in items]
        scores = self.score_new([history, *without])[:, places]
        titles = dict(zip([side["name"] for side in sides], [self.loaded.titles, *self.loaded.source_titles], strict=True))
        ids = [(domain, event if isinstance(event, str) else event[0]) for domain, event in events]
        found = [
            [
                Because(domain, own, titles[domain].get(own), float(more))
                for (domain, own), more in zip(ids, adds, strict=True)
            ]
            for adds in (scores[:1] - scores[1:]).T
        ]
        return [sorted(of_item, key=lambda one: -one.adds) for of_item in found]

    @cached_property
    def _indices(self) -> list[dict[str, int]]:
        """Where the items of every domain stand, the target first."""
        return [self._item_index, *({item: i for i, item in enumerate(ids)} for ids in self.loaded.source_items)]

    @cached_property
    def _open_world(self) -> World:
        return without_padding(self._world)

    @cached_property
    def _scores_of_new(self) -> Callable[[World, Done, list[Told]], jax.Array]:
        def scores(world: World, done: Done, new: list[Told]) -> jax.Array:
            wider = with_readers(world, new)
            return self.program.scores(wider, done, self.hp)(jnp.arange(world.n_users, wider.n_users, dtype=jnp.int32))

        return jax.jit(scores)

    def _new(self, histories: Sequence[History]) -> tuple[np.ndarray, list[set[int]]]:
        """Scores of new readers, and which target items each of them knows."""
        if not self.program.folds_in:
            raise TransferError(
                "this method knows its readers by name and has no scores for new ones; use one that reads histories: "
                "ease, item_knn, ials, graph_filter, user_knn, ridge_map, residual_map, history_map, or model=sasrec"
            )
        count = len(histories)
        size = next((size for size in SIZES if count <= size), CHUNK)
        tables: list[np.ndarray] = []
        known: list[set[int]] = []
        for first in range(0, count, size):
            some = [*histories[first : first + size]]
            new, seen = told(self.loaded, self._indices, [*some, *([{}] * (size - len(some)))])
            tables.append(np.asarray(self._scores_of_new(self._open_world, self.parameters, new))[: len(some)])
            known += seen[: len(some)]
        return np.concatenate(tables) if tables else np.zeros((0, self.loaded.world.n_items), np.float32), known

    def _candidates(self, candidates: Collection[str] | None, exclude: Collection[str]) -> np.ndarray:
        """Which items may be recommended, bool [items]. Raises TransferError for an unknown candidate."""
        open_to = np.full(len(self.loaded.items), candidates is None)
        open_to[[_known(item, self._item_index, "item") for item in candidates or ()]] = True
        open_to[[self._item_index[item] for item in exclude if item in self._item_index]] = False
        return open_to

    def _best(self, row: np.ndarray, k: int, open_to: np.ndarray, seen: Sequence[int] | np.ndarray) -> list[Recommendation]:
        row = np.where(open_to, row, -np.inf)
        row[seen] = -np.inf
        near = np.flatnonzero(row >= np.partition(row, -k)[-k]) if k < len(row) else np.arange(len(row))
        best = [i for i in near[np.argsort(-row[near], kind="stable")][:k] if np.isfinite(row[i])]
        names, titles = [self.loaded.items[i] for i in best], self.loaded.titles
        return [
            Recommendation(rank, name, titles.get(name), float(row[i]))
            for rank, (name, i) in enumerate(zip(names, best, strict=True), start=1)
        ]


class LabelPredictor:
    """Classes of one replica, or numbers: parameters by stage, and the world they were trained on.

    Target examples are given as the domain's reader has them: `texts` (strings), `images` float32 [n, ...] or `vectors`
    float32 [n, d], `counts` (a sparse matrix of words [n, words]), texts and images together where the domain joins them;
    or as features `x` float32 [n, ...], as in `loaded.world`. Raises TransferError where these are not what the run was
    trained on.
    """

    def __init__(self, loaded: LoadedExamples, program: Program, parameters: Done, hp: dict[str, float]):
        self.loaded, self.parameters = loaded, parameters
        numbers = {name: jnp.float32(value) for name, value in hp.items()}
        squash = jax.nn.sigmoid if loaded.world.multi_label else jax.nn.softmax

        def outputs(world: Any, done: Done, inputs: Inputs) -> jax.Array:
            scores = program.scores(world, done, numbers)(inputs)
            return scores * world.test.scale[1] + world.test.scale[0] if world.numeric else squash(scores)

        compiled = jax.jit(outputs)
        self._of_chunk = lambda inputs: compiled(loaded.world, parameters, inputs)

    def features(
        self,
        texts: Sequence[str] | None = None,
        images: np.ndarray | None = None,
        counts: Any = None,
        vectors: np.ndarray | None = None,
    ) -> np.ndarray:
        """Features float32 [n, ...] of raw target examples, by what was learnt from the training examples."""
        if self.loaded.featuriser is None:
            raise TransferError("this world was made of features: give x=FEATURES")
        return self.loaded.featuriser(texts, images if vectors is None else vectors, counts)

    def probabilities(self, x: np.ndarray | None = None, **raw: Any) -> np.ndarray:
        """P of every class, float32 [n, classes], of raw examples or of features x."""
        self._check(numeric=False)
        return self._outputs(x, raw)

    def values(self, x: np.ndarray | None = None, **raw: Any) -> np.ndarray:
        """The number of each example in its own unit, float32 [n], of raw examples or of features x."""
        self._check(numeric=True)
        return self._outputs(x, raw)[:, 0]

    def _check(self, numeric: bool) -> None:
        if self.loaded.world.numeric != numeric:
            raise TransferError(
                "this run classifies: ask for probabilities or classify"
                if numeric
                else "this run predicts numbers: use values"
            )

    def _outputs(self, x: np.ndarray | None, raw: dict[str, Any]) -> np.ndarray:
        x = self.features(**raw) if x is None else x
        known = self.loaded.world.unlabelled
        wanted = known.shape[1:]
        if x.shape[1:] != wanted:
            raise TransferError(f"examples of shape {list(x.shape[1:])}: this run has inputs of shape {list(wanted)}")
        padded = np.resize(x, (-(-len(x) // CHUNK) * CHUNK, *wanted)).astype(known.dtype).reshape(-1, CHUNK, *wanted)
        target = jnp.zeros(CHUNK, jnp.int32)
        return np.concatenate([np.asarray(self._of_chunk(Inputs(chunk, target))) for chunk in padded])[: len(x)]

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
