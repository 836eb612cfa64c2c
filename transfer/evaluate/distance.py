"""How far apart two domains are: MMD, the distance of their covariances, and how well a classifier tells them apart."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from transfer.data.examples import ExamplesWorld, Inputs
from transfer.models import classifiers
from transfer.models.softmax import flat

MOST = 500  # examples of each domain that are compared
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)


def gaussians(x: jax.Array, y: jax.Array) -> jax.Array:
    """Kernel matrix of x [n, d] and y [m, d] together [n + m, n + m]: the mean of five Gaussian kernels.

    Bandwidths are 1/4, 1/2, 1, 2, 4 times the median squared distance, which no gradient passes through.
    """
    both = jnp.concatenate([x, y])
    distance = classifiers.squared_distances(both, both)
    median = jax.lax.stop_gradient(median_of_some(distance)) + 1e-12
    return sum(jnp.exp(-distance / (median * scale)) for scale in (0.25, 0.5, 1.0, 2.0, 4.0)) / 5  # type: ignore[return-value]


def median_of_some(distance: jax.Array) -> jax.Array:
    """The median of at most 8,192 evenly spaced entries: large sorts are slow on CPUs."""
    flat = distance.ravel()
    return jnp.median(flat[:: max(1, flat.shape[0] // 4096 | 1)])


def discrepancy(kernel: jax.Array, n: int) -> jax.Array:
    """MMD² = mean k(x, x') + mean k(y, y') - 2 mean k(x, y) of a joint kernel matrix whose first n rows are x."""
    return jnp.mean(kernel[:n, :n]) + jnp.mean(kernel[n:, n:]) - 2 * jnp.mean(kernel[:n, n:])


def mmd(x: jax.Array, y: jax.Array) -> jax.Array:
    """Squared maximum mean discrepancy (Gretton et al. 2012), biased, 0 for equal samples: [n, d], [m, d] -> scalar."""
    return discrepancy(gaussians(x, y), x.shape[0])


def coral_distance(x: jax.Array, y: jax.Array) -> jax.Array:
    """|C_x - C_y|²_F / 4d² (Sun, Saenko 2016): [n, d], [m, d] -> scalar. For n, m < d from Gram matrices."""
    a, b = ((z - jnp.mean(z, axis=0)[None, :]) / jnp.sqrt(jnp.float32(z.shape[0] - 1)) for z in (x, y))
    if max(x.shape[0], y.shape[0]) < x.shape[1]:
        total = jnp.sum(jnp.square(a @ a.T)) + jnp.sum(jnp.square(b @ b.T)) - 2 * jnp.sum(jnp.square(a @ b.T))
    else:
        total = jnp.sum(jnp.square(a.T @ a - b.T @ b))
    return total / (4 * x.shape[1] ** 2)


def proxy_a_distance(x: jax.Array, y: jax.Array) -> jax.Array:
    """2 (1 - 2 ε), ε the held-out error of a linear classifier of the domain (Ben-David et al. 2007), within 0 ... 2.

    Fixed protocol: rows alternate between two halves; in each half a ridge classifier's strength is chosen among five by
    its error between quarters, fitted on the half and scored on the other. Columns are scaled by both domains' std.
    """
    n = min(x.shape[0], y.shape[0]) // 4 * 4
    both = jnp.concatenate([x[:n], y[:n]])
    both = (both - jnp.mean(both, axis=0)[None, :]) / (jnp.std(both, axis=0)[None, :] + 1e-6)
    both = both / jnp.sqrt(jnp.float32(x.shape[1]))
    is_target = jnp.repeat(jnp.array([0.0, 1.0]), n)[:, None]
    xs, ys = (part.reshape(n // 2, 4, -1).swapaxes(0, 1) for part in (both, is_target))  # four folds, rows alternating

    def error(train: jax.Array, test: jax.Array, l2: jax.Array) -> jax.Array:
        """Error on the folds `test` after a fit on the folds `train`."""
        (x, y), (x_test, y_test) = ((xs[f].reshape(-1, xs.shape[2]), ys[f].reshape(-1, 1)) for f in (train, test))
        fitted = classifiers.fit("ridge", x, y, jnp.ones(x.shape[0]), l2, multi_label=True)
        return jnp.mean(jnp.abs((classifiers.logits(fitted, x_test) > 0).astype(jnp.float32) - y_test))

    strengths, inner = jnp.array(STRENGTHS), jnp.array([[0, 1], [1, 0], [2, 3], [3, 2]])
    tried = jax.lax.map(
        lambda fold: jax.lax.map(lambda l2: error(fold[:1], fold[1:], l2), strengths), inner
    )  # loops, for batches of factorisations can wait for ever on few CPU cores (jaxlib 0.10)
    best = strengths[jnp.argmin(tried[0::2] + tried[1::2], axis=1)]
    halves = jnp.array([[0, 1], [2, 3]])
    errors = jax.lax.map(lambda row: error(*row), (halves, halves[::-1], best))
    return jnp.clip(2 * (1 - errors[0] - errors[1]), 0.0, 2.0)


def distances(world: ExamplesWorld, features: Callable[[Inputs], jax.Array] | None) -> dict[str, dict[str, jax.Array]]:
    """Distance of the first source and the target before and (in the method's features) after the map.

    {"before": {"mmd", "coral", "proxy_a"}, "after": {...}}, scalars; at most 500 examples of each, evenly spaced.
    """
    source, target = _some(world.sources[0].train.x, MOST), _some(world.unlabelled, MOST)
    spaces = {"before": (flat(source), flat(target))}
    if features is not None:
        spaces["after"] = tuple(  # type: ignore[assignment]
            features(Inputs(x, jnp.full(x.shape[0], domain))) for x, domain in ((source, 1), (target, 0))
        )
    measures = {"mmd": mmd, "coral": coral_distance, "proxy_a": proxy_a_distance}
    return {space: {name: measure(*pair) for name, measure in measures.items()} for space, pair in spaces.items()}


def _some(x: jax.Array, most: int) -> jax.Array:
    """At most `most` rows, evenly spaced."""
    return x[:: max(1, -(-x.shape[0] // most))][:most]
