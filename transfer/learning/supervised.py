"""Fit a model to the data of one domain, whatever the model is of: interactions, labelled examples or sequences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from transfer.config.declared import L2, RATE
from transfer.data.examples.world import Examples, ExamplesWorld
from transfer.data.interactions.events import Interactions
from transfer.data.interactions.world import World
from transfer.errors import TransferError
from transfer.learning import sequences
from transfer.learning.sequences import Reading
from transfer.program import (
    AnyWorld,
    Batch,
    Classifier,
    Done,
    Fit,
    Hp,
    Model,
    Params,
    Rate,
    Scores,
    SequenceModel,
    Task,
    stream,
)

LEARNER_HP = {"learning_rate": RATE, "l2": L2}
AnyModel = Model | Classifier | SequenceModel
Start = Callable[[AnyWorld, Done, Params, jax.Array], Params]
Data = Callable[[Any], Any]  # world -> the Interactions, Examples or Reading to learn from


class Learner(NamedTuple):
    """How a model learns from data of its kind.

    body(world, key) and head(world, body, key) -> params;  adapted(world, body) -> the body that a fit starts from;
    batch(world, key);  loss(params, batch, key, hp) -> scalar;
    scores(world, params) -> Scores;  size(world) -> events or examples.
    """

    body: Callable[[AnyWorld, jax.Array], Params]
    head: Callable[[AnyWorld, Params, jax.Array], Params]
    batch: Callable[[AnyWorld, jax.Array], Any]
    loss: Callable[[Params, Any, jax.Array, Hp], jax.Array]
    scores: Callable[[AnyWorld, Params], Scores]
    size: Callable[[AnyWorld], int]
    adapted: Callable[[AnyWorld, Params], Params] = lambda world, body: body


def supervised(
    name: str,
    task: Task,
    model: AnyModel,
    batch_size: int,
    *,
    data: Data,
    heldout: Callable[[Any], Any],
    init: Start = lambda world, done, fresh, key: fresh,
    rates: Callable[[Params], Any] | None = None,
    penalty: Callable[[Params, Done, Hp], jax.Array] | None = None,
) -> Fit:
    """Fit {"body", "head"} of a model to the data of one domain.

    init(world, done, fresh {"body", "head"}, key) -> where the fit starts: what earlier stages learnt in place of what is
    drawn afresh. rates, penalty: as those of Fit.
    """
    learner = learner_of(task, model, batch_size, data)

    def start(world: AnyWorld, done: Done, key: jax.Array) -> Params:
        body = learner.body(world, stream(key, "body"))
        fresh = {"body": body, "head": learner.head(world, body, stream(key, "head"))}
        params = init(world, done, fresh, key)
        return {**params, "body": learner.adapted(world, params["body"])}

    return Fit(
        name=name,
        init=start,
        batch=lambda world, done, key: learner.batch(world, key),
        loss=lambda params, batch, key, hp, progress: learner.loss(params, batch, key, hp),
        size=learner.size,
        scores=lambda world, done, hp: learner.scores(world, done[name]),
        heldout=heldout,
        rates=rates_without_fixed(model, rates),
        penalty=penalty,
    )


def rates_without_fixed(model: AnyModel, rates: Callable[[Params], Any] | None = None) -> Callable[[Params], Any] | None:
    """The rates of {"body", ...} with a factor of 0 for what never trains in the model's body."""
    if not isinstance(model, Classifier) or model.fixed is None:
        return rates
    fixed = model.fixed

    def of(params: Params) -> Any:
        given = rates(params) if rates else jax.tree.map(lambda _: Rate(), params)
        still = fixed(params["body"])
        return {**given, "body": jax.tree.map(lambda is_still, rate: Rate(0.0) if is_still else rate, still, given["body"])}

    return of


Part = Literal["target", "source", "both", "inference"]


def data_of(model: AnyModel, part: Part) -> Data:
    """What a model learns from: the target, the first source, both, or the target told what happened in both.

    Raises TransferError for `both` with a model that is not of sequences.
    """
    if isinstance(model, SequenceModel):
        return {"target": _target, "source": _source, "both": _both, "inference": _inference}[part]
    if part in ("both", "inference"):
        raise TransferError("method.pretrain=both is for next-item models; write pretrain=source, or method=cmf")
    if isinstance(model, Model):
        return {"target": lambda world: world.target.train, "source": lambda world: world.sources[0].fit}[part]
    return {"target": lambda world: world.labelled, "source": lambda world: world.sources[0].train}[part]


def _target(world: World) -> Reading:
    assert world.target.sequence
    return Reading(world.target.sequence, world.n_items, world.n_items)


def _source(world: World) -> Reading:
    sequence = world.sources[0].sequence
    assert sequence
    return Reading(sequence, sequence.n_items, sequence.n_items)


def _both(world: World) -> Reading:
    assert world.merged
    return Reading(world.merged, world.merged.n_items, world.n_items)  # validation asks for the target's items alone


def _inference(world: World) -> Reading:
    assert world.merged
    return Reading(world.merged, world.n_items, world.n_items)


def learner_of(task: Task, model: AnyModel, batch_size: int, data: Data) -> Learner:
    """The learner for a model's kind."""
    if isinstance(model, Model):
        return _interactions(task, model, batch_size, data)
    if isinstance(model, SequenceModel):
        return _sequences(task, model, batch_size, data)
    return _examples(task, model, batch_size, data)


def _interactions(task: Task, model: Model, batch_size: int, data: Callable[[World], Interactions]) -> Learner:
    def loss(params: Params, batch: Batch, key: jax.Array, hp: Hp) -> jax.Array:
        z = model.features(params["body"], batch.users)
        outputs = model.outputs(params["head"], z, batch.items)
        if task.every_item:
            outputs = jnp.concatenate([outputs, model.scores(params["head"], z)], axis=1)
        return jnp.mean(task.loss(outputs, batch)) + hp["l2"] * model.penalty(params, batch)

    return Learner(
        body=lambda world, key: model.body(key, world.n_users),
        head=lambda world, body, key: model.head(key, data(world)),
        batch=lambda world, key: task.batch(data(world), key, batch_size),
        loss=loss,
        scores=lambda world, params: model_scores(model, params),
        size=lambda world: data(world).users.shape[0],
    )


def _examples(task: Task, model: Classifier, batch_size: int, data: Callable[[ExamplesWorld], Examples]) -> Learner:
    def head(world: ExamplesWorld, body: Params, key: jax.Array) -> Params:
        own = data(world)
        return model.head(key, jax.eval_shape(model.features, body, own.x[:1]).shape[1], own.y.shape[1])

    def logits(params: Params, x: jax.Array) -> jax.Array:
        return model.logits(params["head"], model.features(params["body"], x))

    def adapted(world: ExamplesWorld, body: Params) -> Params:
        if model.adapt is None:
            return body
        own = data(world)  # of the target all inputs are known, not those of the labelled examples alone
        return model.adapt(body, world.unlabelled if own is world.labelled else own.x)

    return Learner(
        body=lambda world, key: model.body(key, world.unlabelled.shape[1:], world.pretrained),
        head=head,
        batch=lambda world, key: task.batch(data(world), key, batch_size),
        loss=lambda params, batch, key, hp: (
            jnp.mean(task.loss(logits(params, batch.x), batch)) + hp["l2"] / 2 * squares(params)
        ),
        scores=lambda world, params: lambda inputs: logits(params, inputs.x),
        size=lambda world: data(world).x.shape[0],
        adapted=adapted,
    )


def _sequences(task: Task, model: SequenceModel, batch_size: int, data: Callable[[World], Reading]) -> Learner:
    def loss(params: Params, batch: sequences.Windows, key: jax.Array, hp: Hp) -> jax.Array:
        value = sequences.loss(task, model, batch, params, key, hp["dropout"])
        return value + hp["l2"] / 2 * squares(params["body"])

    def head(world: World, body: Params, key: jax.Array) -> Params:
        """Biases begin with log(1 + how often an item was chosen): what is best to say without a history."""
        of = data(world).sequences
        counts = jax.ops.segment_sum(jnp.ones(of.items.shape), of.items, of.n_items)
        return {**model.head(key, of.n_items), "bias": jnp.log1p(counts)}

    return Learner(
        body=lambda world, key: model.body(key, None),
        head=head,
        batch=lambda world, key: sequences.draw(data(world), key, batch_size, model.length, task.negatives),
        loss=loss,
        scores=lambda world, params: sequences.scores(model, data(world), params),
        size=lambda world: data(world).sequences.learners.shape[0],
    )


def model_scores(model: Model, params: Params) -> Scores:
    """Scores of every item from a body and a head."""
    return lambda users: model.scores(params["head"], model.features(params["body"], users))


def squares(params: Params) -> jax.Array:
    """|W|² of all weights, without intercepts."""
    return sum((jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(params) if leaf.ndim > 1), jnp.float32(0.0))
