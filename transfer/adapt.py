"""Two ways to adapt a classifier to a domain without labels, into which methods put their idea: a map, or a penalty."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from transfer import config
from transfer.config import Config
from transfer.data.examples import Examples, ExamplesWorld, Inputs
from transfer.models import classifiers
from transfer.models.softmax import flat
from transfer.program import Classifier, Done, Fit, Hp, Params, Program, Scores, Solve, Task, stream
from transfer.supervised import rates_without_fixed, squares

Alone = Callable[[Params, jax.Array], jax.Array]  # (map, x [B, d]) -> z [B, k]
Each = Callable[[Inputs], list[jax.Array]]  # the logits that the classifier of each source gives
ROUNDS = 50  # of expectation-maximisation for the weights of several sources


class Settings(config.Method):
    """Settings of every method with a closed-form map: which classifier learns on the mapped source."""

    classifier: Literal["ridge", "softmax", "svm", "svm_ovo", "nn"]


def aligned(
    config: Config,
    world: ExamplesWorld,
    solve: Callable[[Examples, jax.Array, Examples | None, Hp, jax.Array], Params],
    source: Alone,
    target: Alone,
    weigh: Callable[[Params, jax.Array], jax.Array] | None = None,
) -> Program:
    """Map every source towards the target, fit a classifier on it, and mix those of several sources.

    solve(source's flat examples, target's unlabelled x, its labelled examples or None, hp, key) -> map;
    source(map, x) and target(map, x) take either domain to the common space; weigh(map, x) is the importance of source
    examples. Labelled target examples, where there are some, join the training set with weight hp.target_weight each.
    """
    kind = config.method.classifier

    def maps(world: ExamplesWorld, done: Done, hp: Hp, key: jax.Array) -> Params:
        few = world.labelled and _flat(world.labelled)
        x = flat(world.unlabelled)
        return [solve(_flat(side.train), x, few, hp, jax.random.fold_in(key, i)) for i, side in enumerate(world.sources)]

    def classify(world: ExamplesWorld, done: Done, hp: Hp, key: jax.Array) -> Params:
        fitted = []
        for map_, side in zip(done["map"], world.sources, strict=True):
            x, y = flat(side.train.x), side.train.y
            z, weight = source(map_, x), weigh(map_, x) if weigh else jnp.ones(x.shape[0])
            if world.labelled is not None:
                few = target(map_, flat(world.labelled.x))
                z, y = jnp.concatenate([z, few]), jnp.concatenate([y, world.labelled.y])
                weight = jnp.concatenate([weight, jnp.full(few.shape[0], hp["target_weight"])])
            fitted.append(classifiers.fit(kind, z, y, weight, hp["l2"], world.multi_label))
        return fitted

    def common(map_: Params, inputs: Inputs) -> jax.Array:
        x = flat(inputs.x)
        return jnp.where((inputs.domain == 0)[:, None], target(map_, x), source(map_, x))

    def each(world: ExamplesWorld, done: Done, hp: Hp) -> Each:
        pairs = list(zip(done["map"], done["classifier"], strict=True))
        return lambda inputs: [classifiers.logits(fitted, common(map_, inputs)) for map_, fitted in pairs]

    stages = (Solve("map", maps), Solve("classifier", classify))
    return Program(
        (*stages, Solve("mix", partial(mix, each))) if len(world.sources) > 1 else stages,
        lambda world, done, hp: mixed(world, done, each(world, done, hp)),
        features=lambda world, done, hp: lambda inputs: common(done["map"][0], inputs),
    )


def mix(
    each: Callable[[ExamplesWorld, Done, Hp], Each], world: ExamplesWorld, done: Done, hp: Hp, key: jax.Array
) -> Params:
    """Shares of the sources' classifiers, learnt on validation; a source's own hidden examples do not speak for it."""
    hidden, of = world.valid, each(world, done, hp)
    classes = hidden.y.shape[-1]
    logits = jax.lax.map(lambda inputs: jnp.stack(of(inputs)), hidden.inputs)  # [chunks, sources, B, classes]
    flattened = jnp.moveaxis(logits, 1, 0).reshape(len(world.sources), hidden.weight.size, classes)
    foreign = hidden.inputs.domain.ravel()[None, :] != jnp.arange(1, len(world.sources) + 1)[:, None]
    likely = likelihood(flattened, hidden.y.reshape(hidden.weight.size, classes), world.multi_label)
    return {"shares": mixture(jnp.where(foreign, likely, 0.0), hidden.weight.ravel())}


def mixed(world: ExamplesWorld, done: Done, each: Each) -> Scores:
    """Logits of the mixture of the sources' classifiers, in equal shares before these are learnt."""

    def of(inputs: Inputs) -> jax.Array:
        logits = each(inputs)
        if len(logits) == 1:
            return logits[0]
        shares = done["mix"]["shares"] if done["mix"] else jnp.full(len(logits), 1 / len(logits))
        return pooled(jnp.stack(logits), shares, world.multi_label)

    return of


def likelihood(logits: jax.Array, y: jax.Array, multi_label: bool) -> jax.Array:
    """P(labels) by each source's classifier: logits [sources, n, classes], y [n, classes] -> [sources, n]."""
    if multi_label:
        return jnp.exp(-jnp.mean(jax.nn.softplus(logits) - y[None] * logits, axis=-1))
    return jnp.sum(jax.nn.softmax(logits, axis=-1) * y[None], axis=-1)


def mixture(likelihood: jax.Array, weight: jax.Array) -> jax.Array:
    """Shares of a mixture that maximise Σ_n weight_n log Σ_i share_i likelihood_in, by EM: [sources, n] -> [sources]."""

    def round_(shares: jax.Array, _: None) -> tuple[jax.Array, None]:
        joint = shares[:, None] * likelihood + 1e-12
        mine = weight[None, :] * joint / jnp.sum(joint, axis=0, keepdims=True)
        return jnp.sum(mine, axis=1) / jnp.sum(mine), None

    shares, _ = jax.lax.scan(round_, jnp.full(likelihood.shape[0], 1 / likelihood.shape[0]), None, length=ROUNDS)
    return shares


def pooled(logits: jax.Array, shares: jax.Array, multi_label: bool) -> jax.Array:
    """Logits of the mixed probabilities: [sources, B, classes], [sources] -> [B, classes]."""
    if multi_label:
        p = jnp.einsum("s,sbc->bc", shares, jax.nn.sigmoid(logits))
        return jnp.log(p + 1e-7) - jnp.log1p(1e-7 - p)
    return jnp.log(jnp.einsum("s,sbc->bc", shares, jax.nn.softmax(logits, axis=-1)) + 1e-12)


class View(NamedTuple):
    """A batch of one domain as the network sees it: x, z [B, d], logits [B, classes], y (None where unlabelled)."""

    x: jax.Array
    z: jax.Array
    logits: jax.Array
    y: jax.Array | None


def adapted(
    config: Config,
    world: ExamplesWorld,
    task: Task,
    model: Classifier,
    penalty: Callable[[View, View, Hp], jax.Array],
    normalise: bool = False,
) -> Program:
    """Fit one representation to the labelled sources, a head for each, and let `penalty` bring the domains together.

    min mean_i [loss(source i) + hp.weight · r · penalty(source i, target)] + hp.target_weight · loss(labelled target), with
    r = 2 / (1 + exp(-10 progress)) - 1 (Ganin, Lempitsky 2015). With `normalise`, representations are standardised by
    domain: by the batch in training, by all of the domain's examples later.
    """
    size = config.train.batch_size

    def init(world: ExamplesWorld, done: Done, key: jax.Array) -> Params:
        body = model.body(stream(key, "body"), world.unlabelled.shape[1:], world.given)
        body = model.adapt(body, world.unlabelled) if model.adapt else body
        width = jax.eval_shape(model.features, body, world.unlabelled[:1]).shape[1]
        heads = [model.head(stream(key, "head", i), width, world.n_classes) for i in range(len(world.sources))]
        return {"body": body, "heads": heads}

    def batch(world: ExamplesWorld, done: Done, key: jax.Array) -> Any:
        sources = [task.batch(side.train, stream(key, "source", i), size) for i, side in enumerate(world.sources)]
        few = task.batch(world.labelled, stream(key, "few"), size) if world.labelled is not None else None
        rows = jax.random.randint(stream(key, "target"), (size,), 0, world.unlabelled.shape[0])
        return sources, few, world.unlabelled[rows]

    def represent(body: Params, x: jax.Array) -> jax.Array:
        z = model.features(body, x)
        return _standard(z, jnp.mean(z, axis=0), jnp.std(z, axis=0)) if normalise else z

    def loss(params: Params, batch: Any, key: jax.Array, hp: Hp, progress: jax.Array) -> jax.Array:
        sources, few, x = batch
        ramp = 2 / (1 + jnp.exp(-10 * progress)) - 1
        there = represent(params["body"], x)
        here = represent(params["body"], few.x) if few is not None else None
        total = jnp.float32(0.0)
        for examples, head in zip(sources, params["heads"], strict=True):
            z = represent(params["body"], examples.x)
            source = View(examples.x, z, model.logits(head, z), examples.y)
            target = View(x, there, model.logits(head, there), None)
            total += jnp.mean(task.loss(source.logits, examples)) + hp["weight"] * ramp * penalty(source, target, hp)
            if here is not None:
                total += hp["target_weight"] * jnp.mean(task.loss(model.logits(head, here), few))
        return total / len(sources) + hp["l2"] / 2 * squares(params)

    def features(world: ExamplesWorld, done: Done, hp: Hp) -> Callable[[Inputs], jax.Array]:
        body = done["network"]["body"]
        if not normalise:
            return lambda inputs: model.features(body, inputs.x)
        domains = [world.unlabelled, *(side.train.x for side in world.sources)]
        moments = [(jnp.mean(z, axis=0), jnp.std(z, axis=0)) for z in (model.features(body, x) for x in domains)]
        mean, std = (jnp.stack(part) for part in zip(*moments, strict=True))
        return lambda inputs: _standard(model.features(body, inputs.x), mean[inputs.domain], std[inputs.domain])

    def each(world: ExamplesWorld, done: Done, hp: Hp) -> Each:
        of, heads = features(world, done, hp), done["network"]["heads"]
        return lambda inputs: [model.logits(head, z) for z in [of(inputs)] for head in heads]

    fit = Fit(
        "network",
        init=init,
        batch=batch,
        loss=loss,
        size=lambda world: max(side.train.x.shape[0] for side in world.sources),
        scores=lambda world, done, hp: mixed(world, {"mix": None, **done}, each(world, done, hp)),
        rates=rates_without_fixed(model),
    )
    return Program(
        (fit, Solve("mix", partial(mix, each))) if len(world.sources) > 1 else (fit,),
        lambda world, done, hp: mixed(world, done, each(world, done, hp)),
        features=features,
    )


def labelled(world: ExamplesWorld) -> Examples:
    """The target's labelled examples, for methods whose NEEDS say that there are some."""
    assert world.labelled is not None
    return world.labelled


def _standard(z: jax.Array, mean: jax.Array, std: jax.Array) -> jax.Array:
    """(z - mean) / std; both [d], or a row for each example."""
    mean, std = jnp.broadcast_to(mean, z.shape), jnp.broadcast_to(std, z.shape)
    return (z - mean) / jnp.sqrt(jnp.square(std) + 1e-5)


def _flat(examples: Examples) -> Examples:
    return Examples(flat(examples.x), examples.y, examples.multi_label)
