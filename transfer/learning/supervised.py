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
    """How a model learns from data of its kind: loss = mean(losses) + prior.

    body(world, key) and head(world, body, key) -> params;  adapted(world, body) -> the body that a fit starts from;
    batch(world, key);  losses(params, batch, hp, key) -> [B], one for each event or example, and a scalar, the prior;
    mean(losses [B], batch) -> scalar, over what counts;  scores(world, params) -> Scores;
    size(world) -> events or examples.
    """

    body: Callable[[AnyWorld, jax.Array], Params]
    head: Callable[[AnyWorld, Params, jax.Array], Params]
    batch: Callable[[AnyWorld, jax.Array], Any]
    losses: Callable[[Params, Any, Hp, jax.Array], tuple[jax.Array, jax.Array]]
    scores: Callable[[AnyWorld, Params], Scores]
    size: Callable[[AnyWorld], int]
    adapted: Callable[[AnyWorld, Params], Params] = lambda world, body: body
    mean: Callable[[jax.Array, Any], jax.Array] = lambda losses, batch: jnp.mean(losses)

    def loss(self, params: Params, batch: Any, hp: Hp, key: jax.Array) -> jax.Array:
        """mean(losses) + the prior."""
        losses, prior = self.losses(params, batch, hp, key)
        return self.mean(losses, batch) + prior


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
    drawn afresh. rates: as those of Fit. penalty(params, done, hp) -> scalar: a term beside the learner's own.
    """
    learner = learner_of(task, model, batch_size, data)

    def start(world: AnyWorld, done: Done, key: jax.Array) -> Params:
        body = learner.body(world, stream(key, "body"))
        fresh = {"body": body, "head": learner.head(world, body, stream(key, "head"))}
        params = init(world, done, fresh, key)
        return {**params, "body": learner.adapted(world, params["body"])}

    def loss(params: Params, done: Done, batch: Any, hp: Hp, key: jax.Array, progress: jax.Array) -> jax.Array:
        value = learner.loss(params, batch, hp, key)
        return value + penalty(params, done, hp) if penalty else value

    return Fit(
        name=name,
        init=start,
        batch=lambda world, done, key: learner.batch(world, key),
        loss=loss,
        size=learner.size,
        scores=lambda world, done, hp: learner.scores(world, done[name]),
        heldout=heldout,
        rates=rates_without_fixed(model, rates),
    )


def rates_without_fixed(model: AnyModel, rates: Callable[[Params], Any] | None = None) -> Callable[[Params], Any] | None:
    """The rates of {"body", ...} with a factor of 0 for what never trains in the model's body."""
    if not isinstance(model, Classifier) or model.fixed is None:
        return rates
    fixed = model.fixed

    def without_fixed(params: Params) -> Any:
        given = rates(params) if rates else jax.tree.map(lambda _: Rate(), params)
        body = jax.tree.map(lambda still, rate: Rate(0.0) if still else rate, fixed(params["body"]), given["body"])
        return {**given, "body": body}

    return without_fixed


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
    def losses(params: Params, batch: Batch, hp: Hp, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        z, y = model.features(params["body"], batch.users), model.of_items(params["head"], batch.items)
        return event_losses(task, model, params["head"], z, y, batch), hp["l2"] * model.penalty(z, y, batch)

    return Learner(
        body=lambda world, key: model.body(key, world.n_users),
        head=lambda world, body, key: model.head(key, data(world)),
        batch=lambda world, key: task.batch(data(world), key, batch_size),
        losses=losses,
        scores=lambda world, params: model_scores(model, params),
        size=lambda world: data(world).users.shape[0],
    )


def _examples(task: Task, model: Classifier, batch_size: int, data: Callable[[ExamplesWorld], Examples]) -> Learner:
    def head(world: ExamplesWorld, body: Params, key: jax.Array) -> Params:
        examples = data(world)
        return model.head(key, jax.eval_shape(model.features, body, examples.x[:1]).shape[1], examples.y.shape[1])

    def logits(params: Params, x: jax.Array) -> jax.Array:
        return model.logits(params["head"], model.features(params["body"], x))

    def adapted(world: ExamplesWorld, body: Params) -> Params:
        if model.adapt is None:
            return body
        examples = data(world)  # of the target all inputs are known, not those of the labelled examples alone
        return model.adapt(body, world.unlabelled if examples is world.labelled else examples.x)

    return Learner(
        body=lambda world, key: model.body(key, world.unlabelled.shape[1:], world.pretrained),
        head=head,
        batch=lambda world, key: task.batch(data(world), key, batch_size),
        losses=lambda params, batch, hp, key: (task.loss(logits(params, batch.x), batch), hp["l2"] / 2 * squares(params)),
        scores=lambda world, params: lambda inputs: logits(params, inputs.x),
        size=lambda world: data(world).x.shape[0],
        adapted=adapted,
    )


def _sequences(task: Task, model: SequenceModel, batch_size: int, data: Callable[[World], Reading]) -> Learner:
    if model.in_batch and not round(model.in_batch * task.negatives):
        why = "the loss takes every item" if task.every_item else f"it is none of task.negatives={task.negatives}"
        raise TransferError(f"model.in_batch={model.in_batch:g} has no effect: {why}; write task.loss=sampled_softmax")

    def head(world: World, body: Params, key: jax.Array) -> Params:
        """Biases begin with log(1 + how often an item was chosen): what is best to say without a history."""
        known = data(world).sequences
        counts = jax.ops.segment_sum(jnp.ones(known.items.shape), known.items, known.n_items)
        return {**model.head(key, known.n_items), "bias": jnp.log1p(counts)}

    def losses(params: Params, batch: Any, hp: Hp, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        of_events = sequences.losses(task, model, params, batch, hp["dropout"], key)
        return of_events, hp["l2"] / 2 * squares(params["body"])

    return Learner(
        body=lambda world, key: model.body(key, None),
        head=head,
        batch=lambda world, key: sequences.draw(data(world), key, batch_size, model.length, task.negatives, model.in_batch),
        losses=losses,
        mean=sequences.mean_over_predicted,
        scores=lambda world, params: sequences.scores(model, data(world), params),
        size=lambda world: data(world).sequences.learners.shape[0],
    )


def event_losses(task: Task, model: Model, head: Params, z: Any, y: Any, batch: Batch) -> jax.Array:
    """The task's loss of every event, from the features z of its user and what the head holds of its items, y -> [B]."""
    outputs = model.outputs(z, y)
    if task.every_item:
        outputs = jnp.concatenate([outputs, model.scores(head, z)], axis=1)
    return task.loss(outputs, batch)


def model_scores(model: Model, params: Params) -> Scores:
    """Scores of every item from a body and a head."""
    return lambda users: model.scores(params["head"], model.features(params["body"], users))


def squares(params: Params) -> jax.Array:
    """|W|² of all weights, without intercepts."""
    return sum((jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(params) if leaf.ndim > 1), jnp.float32(0.0))
