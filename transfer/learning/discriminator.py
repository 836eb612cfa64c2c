"""Domain discriminators, min_D ½ [E_s -log D(z) + E_t -log (1 - D(z))]: gradient reversal, network and game."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Literal

import jax
import jax.numpy as jnp
from pydantic import Field

from transfer.config.schema import Method
from transfer.learning.adaptation import Descent
from transfer.learning.game import Game, View
from transfer.program import Hp, Params, Turn, stream

ROUNDS = 8  # of power iteration for a spectral norm


class Discriminator(Method):
    """A discriminator: `depth` hidden layers of `width` units, updated `steps` times a step, held smooth or not."""

    width: int = Field(ge=1)
    depth: int = Field(ge=0)
    steps: int = Field(ge=1)
    lipschitz: Literal["none", "spectral", "gradient"]


class Settings(Discriminator, Descent):
    """Settings of a network of examples that plays against a discriminator."""


@jax.custom_vjp
def reverse(x: jax.Array, weight: jax.Array) -> jax.Array:
    """x as it is, with -weight times its gradient: who descends behind it makes who is before it ascend."""
    return x


def _forward(x: jax.Array, weight: jax.Array) -> tuple[jax.Array, jax.Array]:
    return x, weight


def _backward(weight: jax.Array, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    return -weight.astype(gradient.dtype) * gradient, jnp.zeros_like(weight)


reverse.defvjp(_forward, _backward)


def init(key: jax.Array, inputs: int, width: int, depth: int, outputs: int = 1, silent: bool = False) -> Params:
    """A perceptron with `depth` hidden layers; 0 is a linear model. silent: what it says at first is 0 everywhere."""
    sizes = [inputs, *[width] * depth, outputs]
    normal = jax.nn.initializers.lecun_normal()
    pairs = enumerate(pairwise(sizes))
    layers = [{"kernel": normal(stream(key, "layer", i), pair), "bias": jnp.zeros(pair[1])} for i, pair in pairs]
    return [*layers[:-1], jax.tree.map(jnp.zeros_like, layers[-1])] if silent else layers


def apply(layers: Params, z: jax.Array, spectral: bool = False) -> jax.Array:
    """z [B, inputs] -> [B, outputs]; relu between layers. spectral: kernels are divided by their largest singular value."""
    for i, layer in enumerate(layers):
        kernel = layer["kernel"] / largest_singular_value(layer["kernel"]) if spectral else layer["kernel"]
        z = (jax.nn.relu(z) if i else z) @ kernel + layer["bias"][None, :]
    return z


def largest_singular_value(kernel: jax.Array) -> jax.Array:
    """uᵀ W v by power iteration (Miyato et al. 2018), no gradient through u and v: [n, m] -> scalar."""
    still = jax.lax.stop_gradient(kernel)
    v = jax.random.normal(jax.random.key(0), (kernel.shape[1],))
    for _ in range(ROUNDS):
        u = still @ v
        u = u / (jnp.linalg.norm(u) + 1e-12)
        v = still.T @ u
        v = v / (jnp.linalg.norm(v) + 1e-12)
    return u @ kernel @ v + 1e-12


def domain_loss(
    source: jax.Array, target: jax.Array, smoothing: jax.Array, weights: tuple[jax.Array, jax.Array] | None = None
) -> jax.Array:
    """½ [mean -log P(source | s) + mean -log P(target | t)] of logits [B]; smoothing is the share of labels that are wrong.

    weights: of the examples of each domain, with mean 1.
    """
    losses = jax.nn.softplus(-source) + smoothing * source, jax.nn.softplus(target) - smoothing * target
    means = [jnp.mean(part * w) for part, w in zip(losses, weights, strict=True)] if weights else map(jnp.mean, losses)
    return sum(means, jnp.float32(0.0)) / 2


def domain_accuracy(source: jax.Array, target: jax.Array) -> jax.Array:
    """The mean over both domains of the share that is told right by the sign of logits [B]; no sign is half right."""
    right = [jnp.mean((1 + jnp.sign(logits)) / 2) for logits in (source, -target)]
    return sum(right, jnp.float32(0.0)) / 2


def slopes(critic: Callable[[jax.Array], jax.Array], z: jax.Array) -> jax.Array:
    """|∂critic/∂z|² at every row of z [B, d] -> [B]; critic maps [B, d] to [B]."""
    gradient = jax.grad(lambda z: jnp.sum(critic(z)))(z)
    return jnp.sum(jnp.square(gradient), axis=1)


def between(source: jax.Array, target: jax.Array, key: jax.Array) -> jax.Array:
    """Points on the lines between rows of both [B, d], uniformly drawn; fixed in the gradient."""
    share = jax.random.uniform(key, (source.shape[0], 1))
    return jax.lax.stop_gradient(share * source + (1 - share) * target)


def discriminated(
    settings: Method,
    seen: Callable[[View], jax.Array] = lambda view: view.z,
    inputs: Callable[[int, int], int] = lambda width, classes: width,
    weigh: Callable[[View], jax.Array] | None = None,
    shares: Callable[[jax.Array, jax.Array, jax.Array, Hp], jax.Array] | None = None,
    one_head: bool = False,
) -> Game:
    """The game against a discriminator D of source and target: min_D max_z ½ [E -log D(seen) + E -log (1 - D(seen))].

    seen: what of a batch D sees [B, inputs(width of z, classes)];  weigh: of each example [B];  shares, one_head: as those
    of Game. With method.lipschitz=gradient D also pays hp.gradient_penalty · E |∇D|² on the lines between the domains.
    """
    spectral = settings.lipschitz == "spectral"

    def logits(own: Params, x: jax.Array) -> jax.Array:
        return apply(own, x, spectral)[:, 0]

    def weights(*views: View) -> tuple[jax.Array, jax.Array] | None:
        if weigh is None:
            return None
        source, target = (jax.lax.stop_gradient(weigh(view)) for view in views)
        return source / jnp.mean(source), target / jnp.mean(target)

    def loss(own: Params, source: View, target: View, weight: jax.Array, hp: Hp, key: jax.Array) -> jax.Array:
        here, there = (reverse(seen(view), weight) for view in (source, target))
        value = domain_loss(logits(own, here), logits(own, there), hp["smoothing"], weights(source, target))
        if settings.lipschitz == "gradient":
            on = between(here, there, key)
            value += hp["gradient_penalty"] * jnp.mean(slopes(lambda points: logits(own, points), on))
        return value

    def watch(own: Params, source: View, target: View, hp: Hp) -> dict[str, jax.Array]:
        here, there = (logits(own, seen(view)) for view in (source, target))
        value = domain_loss(here, there, jnp.float32(0.0), weights(source, target))
        return {"domain_loss": value, "domain_accuracy": domain_accuracy(here, there)}

    return Game(
        init=lambda key, width, classes: init(
            key, inputs(width, classes), settings.width, settings.depth, silent=not spectral
        ),
        loss=loss,
        watch=watch,
        turns=(Turn(loss, ("game",), settings.steps - 1),) if settings.steps > 1 else (),
        shares=shares,
        one_head=one_head,
    )
