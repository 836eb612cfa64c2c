"""Ways to tune carried parameters: which of them train, at what rate and from when on, and what is added to them.

Carried is what an earlier stage learnt, or what was given: weights that others trained, or the parameters of another run.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from pydantic import Field

from transfer.config.schema import Method
from transfer.errors import TransferError
from transfer.learning.supervised import AnyModel, Data, Start, supervised
from transfer.program import Classifier, Done, Fit, Hp, Params, Rate, SequenceModel, Steps, Task, stream

# full: all train; probe: the body stays; lp_ft: a probe, then all; gradual: layers join from the top down; lora, adapter:
# the body stays, low-rank factors or a bottleneck are added
Strategy = Literal["full", "probe", "lp_ft", "gradual", "lora", "adapter"]


class Tuning(Method):
    """How a method tunes carried parameters."""

    strategy: Strategy = "full"
    decay: float = Field(default=1.0, gt=0, le=1)  # each layer further from the head learns at this factor of the one above
    until: float = Field(default=0.5, ge=0, le=1)  # gradual: share of the budget by which all layers train
    rank: int = Field(default=8, ge=1)  # lora, adapter: width of what is added


def tuned(settings: Method, model: AnyModel) -> AnyModel:
    """The model with what the strategy of a Tuning adds to its body."""
    addition = ADDITIONS.get(settings.strategy)
    return with_addition(model, addition(settings.rank)) if addition else model


def stages(
    settings: Method,
    task: Task,
    model: AnyModel,
    batch_size: int,
    data: Data,
    start: Start = lambda world, done, fresh, key: fresh,
    penalty: Callable[[Params, Done, Hp], jax.Array] | None = None,
) -> tuple[Fit, ...]:
    """The stages that tune, on the data of the target, a `tuned` model from `start`; the last one is called target.

    penalty: a term beside the loss, of the strategies that change what was carried.
    """
    until = settings.until if settings.strategy == "gradual" else 0.0

    def tune(name: str, start: Start, frozen: bool = False) -> Fit:
        return supervised(
            name,
            task,
            model,
            batch_size,
            data=data,
            heldout=lambda world: world.valid,
            init=start,
            rates=partial(rates, model, frozen=frozen, decay=settings.decay, until=until),
            penalty=None if frozen or settings.strategy in ADDITIONS else penalty,
        )

    if settings.strategy == "lp_ft":
        return tune("probe", start, frozen=True), tune("target", lambda world, done, fresh, key: done["probe"])
    return (tune("target", start, frozen=settings.strategy == "probe"),)


def rates(model: AnyModel, params: Params, frozen: bool = False, decay: float = 1.0, until: float = 0.0) -> Any:
    """A Rate for every parameter of {"body", "head"}: the head trains as it is, the body by its layers.

    frozen: the body stays. decay: the layer k places below the head learns at decay^k times the rate (Howard & Ruder 2018,
    discriminative fine-tuning). until: layers join from the top down at equal steps, the last one at this share of the
    budget (their gradual unfreezing).
    """
    body = params["body"]
    layers = [name for name in model.layers if name in body]
    depth = {name: len(layers) - i for i, name in enumerate(layers)} if layers else dict.fromkeys(body, 1)

    def rate(name: str) -> Rate:
        if frozen or name not in depth:
            return Rate(0.0)
        return Rate(decay ** depth[name], until * depth[name] / max(depth.values()))

    of_body = {name: jax.tree.map(lambda _, name=name: rate(name), part) for name, part in body.items()}
    return {"body": of_body, "head": jax.tree.map(lambda _: Rate(), params["head"])}


def towards(start: str, params: Params, done: Done, hp: Hp) -> jax.Array:
    """hp.l2_sp / 2 · |body - body of stage `start`|² (Li, Grandvalet, Davoine 2018, L2-SP)."""
    apart = jax.tree.map(lambda new, old: jnp.sum(jnp.square(new - old)), params["body"], done[start]["body"])
    return hp["l2_sp"] / 2 * sum(jax.tree.leaves(apart), jnp.float32(0.0))


class Addition(NamedTuple):
    """What a strategy adds to a body that stays.

    start(carried, z, key) -> added parameters, z the shapes of its features;  body(carried, added) -> the body to use;
    after(z, added) -> features in place of z.
    """

    start: Callable[..., Params]
    body: Callable[..., Params]
    after: Callable[[Any, Params], Any]


def with_addition(model: AnyModel, addition: Addition) -> Any:
    """The model with a body {"carried", "added"}, of which only `added` is for training."""

    def body(key: jax.Array, *about: Any) -> Params:
        carried = model.body(key, *about)
        z = jax.eval_shape(model.features, carried, _some_input(model, *about))
        return {"carried": carried, "added": addition.start(carried, z, stream(key, "added"))}

    def features(body: Params, x: Any) -> Any:
        return addition.after(model.features(addition.body(**body), x), body["added"])

    changed: dict[str, Any] = {"body": body, "features": features, "layers": ("added",)}
    if isinstance(model, Classifier):
        of_carried = model.adapt
        changed["adapt"] = of_carried and (lambda body, x: {**body, "carried": of_carried(body["carried"], x)})
        changed["fixed"] = None
    return model._replace(**changed)


def _some_input(model: AnyModel, shape: Any, *_: Any) -> Any:
    """An input of the body, for its shapes; `shape` is that of an example."""
    if isinstance(model, Classifier):
        return jnp.zeros((1, *shape), model.dtype)
    if isinstance(model, SequenceModel):
        shape = (1, model.length)
        return Steps(jnp.zeros((*shape, model.dim)), jnp.ones(shape, bool), jnp.zeros(shape, jnp.int32))
    return jnp.zeros(1, jnp.int32)


def _each(make: Callable[[Any, jax.Array], Params], tree: Any, key: jax.Array) -> Params:
    """make(leaf, a key of its own) in the place of every leaf."""
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(key, len(leaves))
    return jax.tree.unflatten(structure, [make(leaf, k) for leaf, k in zip(leaves, keys, strict=True)])


def lora(rank: int) -> Addition:
    """W + A B for every leaf with two axes or more: A [all but the last, rank] random, B [rank, last] zero at the start.

    Hu et al. (2022), LoRA.
    """

    def pair(leaf: jax.Array, key: jax.Array) -> Params:
        if leaf.ndim < 2:
            return {}
        rows, columns = leaf.size // leaf.shape[-1], leaf.shape[-1]
        return {"a": jax.random.normal(key, (rows, rank)) / jnp.sqrt(rank), "b": jnp.zeros((rank, columns))}

    def body(carried: Params, added: Params) -> Params:
        return jax.tree.map(lambda leaf, ab: leaf + (ab["a"] @ ab["b"]).reshape(leaf.shape) if ab else leaf, carried, added)

    return Addition(lambda carried, z, key: _each(pair, carried, key), body, lambda z, added: z)


def adapter(width: int) -> Addition:
    """z + relu(z D) U on the features, D [d, width] random, U [width, d] zero at the start.

    Houlsby et al. (2019), bottleneck adapters; here one after the body.
    """

    def layer(z: Any, key: jax.Array) -> Params:
        if z.ndim < 2:
            return {}
        d = z.shape[-1]
        return {"down": jax.random.normal(key, (d, width)) / jnp.sqrt(d), "up": jnp.zeros((width, d))}

    def after(z: Any, added: Params) -> Any:
        return jax.tree.map(lambda leaf, of: leaf + jax.nn.relu(leaf @ of["down"]) @ of["up"] if of else leaf, z, added)

    return Addition(lambda carried, z, key: _each(layer, z, key), lambda carried, added: carried, after)


ADDITIONS = {"lora": lora, "adapter": adapter}


def carried_head(fresh: Params, carried: Params) -> Params:
    """The source's head where it has the target's form. Raises TransferError where it has not."""
    if jax.tree.map(jnp.shape, fresh) != jax.tree.map(jnp.shape, carried):
        raise TransferError(
            "method.head=carried: source and target have other items or classes, so their heads differ; "
            "write method.head=fresh"
        )
    return carried
