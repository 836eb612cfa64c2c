"""The contracts: what a task, a model, a stage and a method are. Pure functions in NamedTuples, no state."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from transfer.config.declared import Needs as Needs
from transfer.config.declared import Range as Range
from transfer.data.interactions.events import Interactions
from transfer.data.interactions.world import Side, World
from transfer.errors import TransferError, nearest

Params = Any  # a pytree of float32 arrays: nested dicts
Hp = Mapping[str, jax.Array]
Done = Mapping[str, Params]  # parameters of earlier stages, by stage name
AnyWorld = Any  # a World, or for classification an ExamplesWorld
# users int32 [B] -> scores float32 [B, items]; for classification Inputs of B examples -> logits float32 [B, classes]
Scores = Callable[[Any], jax.Array]


class Batch(NamedTuple):
    """Events of one step: users int32 [B]; items int32 [B, 1 + negatives], the observed one first; ratings float32 [B].

    user_weights float32 [B] and item_weights float32 [B, 1 + negatives]: how strongly the prior (hp.l2) holds each row.
    log_q float32 [B, 1 + negatives]: log of how often each item is drawn in expectation; 0 for the observed one.
    """

    users: jax.Array
    items: jax.Array
    ratings: jax.Array
    user_weights: jax.Array
    item_weights: jax.Array
    log_q: jax.Array


class Task(NamedTuple):
    """What is predicted: batches drawn on the device, a loss per example, and metrics of a hidden part.

    batch(interactions, key, size) -> Batch;  loss(outputs [B, 1 + negatives], batch) -> [B];
    evaluate(scores, heldout) -> {name: value}, what training selects by;
    predict(scores, heldout) -> predicted, a pytree: as little of the scores as measures need;
    measure(predicted, heldout, beyond) -> ({name: value}, {name: float32 [rows]}): metrics, with `beyond` all that is
    measured, and what each row, a user or an example, has of it, padding last. It knows no method: all share what is
    compiled; rows(world, heldout) -> {column: int32 [rows]} says whose they are.
    `select` is the metric that validation maximises (sign 1) or minimises (sign -1). With `every_item` a loss wants the
    outputs of the observed item followed by those of all items; else it wants `negatives` of them.
    """

    select: str
    sign: int
    batch: Callable[[Any, jax.Array, int], Any]
    loss: Callable[[jax.Array, Any], jax.Array]
    evaluate: Callable[[Scores, Any], dict[str, jax.Array]]
    predict: Callable[[Scores, Any], Any]
    measure: Callable[[Any, Any, bool], tuple[dict[str, jax.Array], dict[str, jax.Array]]]
    rows: Callable[[Any, Any], dict[str, np.ndarray]]
    every_item: bool = False
    negatives: int = 0


class Model(NamedTuple):
    """A representation of users that can travel (the body) and a domain's own output on it (the head).

    body(key, n_users) -> params;  head(key, interactions) -> params;  features(body, users [B]) -> z, a pytree over B;
    of_items(head, items [B, K]) -> y, what the head holds of them;  outputs(z, y) -> [B, K];
    scores(head, z) -> [B, items];  penalty(z, y, batch) -> scalar, the prior of what the batch touches.
    `layers` names the body's parts from input to output.
    """

    body: Callable[[jax.Array, int], Params]
    head: Callable[[jax.Array, Interactions], Params]
    features: Callable[[Params, jax.Array], Any]
    of_items: Callable[[Params, jax.Array], Any]
    outputs: Callable[[Any, Any], jax.Array]
    scores: Callable[[Params, Any], jax.Array]
    penalty: Callable[[Any, Any, Batch], jax.Array]
    layers: tuple[str, ...] = ()


class Classifier(NamedTuple):
    """A representation of examples that can travel (the body) and a linear head of one domain's classes on it.

    body(key, shape of x, given) -> params, drawn or those that are given (None: none are);
    head(key, width, classes) -> params;  features(body, x [B, ...]) -> z [B, width];  logits(head, z) -> [B, classes].
    `layers` names the body's parts from input to output; dtype is that of x. fixed(body) -> pytree of bool, True for what
    never trains;  adapt(body, x [n, ...]) -> body with statistics of these inputs;  sparse: features takes a SparseBatch in
    place of x too.
    """

    body: Callable[[jax.Array, tuple[int, ...], Params | None], Params]
    head: Callable[[jax.Array, int, int], Params]
    features: Callable[[Params, jax.Array], jax.Array]
    logits: Callable[[Params, jax.Array], jax.Array]
    layers: tuple[str, ...] = ()
    dtype: Any = jnp.float32
    fixed: Callable[[Params], Any] | None = None
    adapt: Callable[[Params, jax.Array], Params] | None = None
    sparse: bool = False


class Steps(NamedTuple):
    """Vectors of items in rows of windows, in the order of time: float32 [B, L, d]; there bool [B, L], false for padding.

    position int32 [B, L]: a step's place in its window, from 0. A row may hold several windows, one after another; those of
    one window have the same `begins`.
    """

    vectors: jax.Array
    there: jax.Array
    position: jax.Array

    def begins(self) -> jax.Array:
        """Where in its row the window of each step begins: int32 [B, L]."""
        return jnp.arange(self.position.shape[1])[None] - self.position


class SequenceModel(NamedTuple):
    """An encoder of sequences that can travel (the body) and a domain's own items (the head: vectors and biases).

    body(key, None) -> params;  head(key, items) -> {"items" [items, d], "bias" [items]}, with "outputs" [items, d] where
    inputs and outputs have tables of their own;  features(body, Steps) -> z [B, L, d], the state after each step, from that
    step and those before it in its window. `length` is that of windows; `layers` names the body's parts from input to
    output; `in_batch` is the share of the negatives that are drawn from the items that a batch predicts.
    """

    body: Callable[[jax.Array, None], Params]
    head: Callable[[jax.Array, int], Params]
    features: Callable[[Params, Steps], jax.Array]
    dim: int
    length: int
    layers: tuple[str, ...] = ()
    in_batch: float = 0.0


def adam(hp: Hp) -> optax.GradientTransformation:
    """Adam with the traced `hp.learning_rate`."""
    return optax.adam(hp["learning_rate"])


def sgd(hp: Hp) -> optax.GradientTransformation:
    """Gradient descent with the traced `hp.learning_rate` and `hp.momentum` (heavy ball)."""
    return optax.sgd(hp["learning_rate"], momentum=hp["momentum"])


OPTIMIZERS = {"adam": adam, "sgd": sgd}


@dataclass(frozen=True)
class Rate:
    """How a parameter trains: its factor on the learning rate (0: it does not), and from which share of the budget on.

    by: the name of an hp that multiplies the factor.
    """

    factor: float = 1.0
    since: float = 0.0
    by: str | None = None


# The arguments of all that follows come in one order: (world or parameters, done, batch, hp, key, step or progress).


class Turn(NamedTuple):
    """A further update in a step: descends a loss of its own, with moments of its own, and moves some parameters only.

    loss: as that of Fit, in a Game a Term;  moves: the keys of the parameters that it moves;  times: how often it is made
    in a step;  rate(hp, progress) -> factor on the learning rate (None: 1).
    """

    loss: Callable[..., jax.Array]
    moves: tuple[str, ...]
    times: int = 1
    rate: Callable[[Hp, jax.Array], jax.Array] | None = None


class Fit(NamedTuple):
    """One gradient fit. Selection is by `task.evaluate(scores(world, done with these parameters, hp), heldout(world))`.

    init(world, done, key) -> params;  batch(world, done, key) -> batch;
    loss(params, done, batch, hp, key, progress) -> scalar, progress in 0 ... 1;  size(world) -> examples per epoch;
    rates(params) -> pytree with a Rate for every parameter (None: all train alike);  turns: further updates of a step on
    the same batch, after that of `loss`;  watch(world, done with these parameters, hp) -> {name: value}, figures for every
    evaluation that select nothing;  batch_at(world, done, key, step) -> batch, in place of `batch` where the order of
    examples matters: the key is then the same in every step;  revised(world, done with these parameters, hp) -> params, at
    the end of every block: what no gradient moves.
    """

    name: str
    init: Callable[[AnyWorld, Done, jax.Array], Params]
    batch: Callable[[AnyWorld, Done, jax.Array], Any]
    loss: Callable[[Params, Done, Any, Hp, jax.Array, jax.Array], jax.Array]
    size: Callable[[AnyWorld], int]
    scores: Callable[[AnyWorld, Done, Hp], Scores]
    heldout: Callable[[AnyWorld], Any] = lambda world: world.valid
    optimizer: Callable[[Hp], optax.GradientTransformation] = adam
    rates: Callable[[Params], Any] | None = None
    turns: tuple[Turn, ...] = ()
    watch: Callable[[AnyWorld, Done, Hp], dict[str, jax.Array]] | None = None
    batch_at: Callable[[AnyWorld, Done, jax.Array, jax.Array], Any] | None = None
    revised: Callable[[AnyWorld, Done, Hp], Params] | None = None


class Solve(NamedTuple):
    """One closed-form solution: solve(world, done, hp, key) -> params."""

    name: str
    solve: Callable[[AnyWorld, Done, Hp, jax.Array], Params]


class UnknownNumber(TransferError, KeyError):
    """A number was read that nobody declares; a KeyError too, so that hp.get has its default."""

    __str__ = Exception.__str__


@jax.tree_util.register_pytree_with_keys_class
class Given(dict[str, jax.Array]):
    """hp as a program sees it. owner: the method's module, named by the error for what is not there (UnknownNumber)."""

    def __init__(self, values: Mapping[str, jax.Array], owner: str):
        super().__init__(values)
        self.owner = owner

    def __missing__(self, name: str) -> jax.Array:
        known = ", ".join(f'"{other}"' for other in sorted(self)) or "none"
        raise UnknownNumber(
            f'{self.owner}: hp["{name}"] is read and not declared{nearest(name, self) or ";"} its HP and that of the model '
            f"have {known}"
        )

    def tree_flatten_with_keys(self) -> tuple[list[tuple[Any, jax.Array]], tuple[tuple[str, ...], str]]:
        names = tuple(sorted(self))  # the order of a dict
        return [(jax.tree_util.DictKey(name), self[name]) for name in names], (names, self.owner)

    @classmethod
    def tree_unflatten(cls, static: tuple[tuple[str, ...], str], leaves: Any) -> Given:
        return cls(dict(zip(static[0], leaves, strict=True)), static[1])


class Replicas(NamedTuple):
    """What differs between the replicas of a program: keys [R] and hp {name: float32 [R]}."""

    keys: jax.Array
    hp: Hp


# (name, function, shared, rows) -> function(shared, row) for every replica: a Compiler, or a mere trace for shapes.
Run = Callable[..., Any]


class Program(NamedTuple):
    """The stages in order, and scores(world, done, hp) -> (users [B] -> scores of the target's items [B, items]).

    folds_in: scores read all they know of a user from her histories in the world, so that they can be asked of new ones.
    For classification scores take Inputs and give logits, and features(world, done, hp) -> (Inputs -> z [B, d]) is the
    space where the method has brought the domains together.
    """

    stages: tuple[Fit | Solve, ...]
    scores: Callable[[AnyWorld, Done, Hp], Scores]
    features: Callable[[AnyWorld, Done, Hp], Callable[[Any], jax.Array]] | None = None
    folds_in: bool = False


def stream(key: jax.Array, name: str, step: jax.Array | int = 0) -> jax.Array:
    """The random key of a named stream at a step; adding a stream changes no other."""
    return jax.random.fold_in(jax.random.fold_in(key, zlib.crc32(name.encode())), step)


def adamw(rate: jax.Array, decay: jax.Array) -> optax.GradientTransformation:
    """Adam whose weights also shrink by rate · decay per step (Loshchilov & Hutter 2019); both numbers may be traced."""
    return optax.chain(optax.adam(rate), optax.add_decayed_weights(-rate * decay))


def target(world: World) -> Side:
    return world.target


def first_source(world: World) -> Side:
    return world.sources[0]


SIDES: dict[str, Callable[[World], Side]] = {"source": first_source, "target": target}


def target_data(world: World) -> Interactions:
    """All that is visible of the target."""
    return world.target.train
