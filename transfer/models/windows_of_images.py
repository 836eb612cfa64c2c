"""Windows of images: what each place of one sees, and depthwise convolutions, y[p] = Σ_w k[w] x[stride · p + w].

They are sums of shifted images: on CPUs XLA's own convolutions of single channels take twenty times as long, and so do
their gradients, which are such sums as well.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp


def seen(x: jax.Array, size: int, stride: int) -> list[jax.Array]:
    """What each place of a size x size window sees of images [B, h, w, c]: size² times [B, ⌈h / stride⌉, ⌈w / stride⌉, c].

    Windows reach beyond the edge, where all is 0, as TensorFlow's "SAME" has it: the odd pixel is below and to the right.
    """
    (height, *_), (width, *_) = edges = [_edge(n, size, stride) for n in x.shape[1:3]]
    padded = jnp.pad(x, ((0, 0), *(beyond for _, *beyond in edges), (0, 0)))
    return _shifted(padded, size, stride, height, width)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def depthwise(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """A window [size, size, c] for each channel of images [B, h, w, c] -> [B, ⌈h / stride⌉, ⌈w / stride⌉, c]."""
    return _weighted(seen(x, kernel.shape[0], stride), kernel)


def _forward(x: jax.Array, kernel: jax.Array, stride: int) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return depthwise(x, kernel, stride), (x, kernel)


def _backward(stride: int, known: tuple[jax.Array, jax.Array], dy: jax.Array) -> tuple[jax.Array, jax.Array]:
    """dx[q] = Σ_w k[w] dy[(q - w) / stride], windows of dy spread out; dk[w] = Σ_p dy[p] x[stride · p + w]."""
    x, kernel = known
    size = kernel.shape[0]
    dk = jnp.stack([jnp.sum(part * dy, axis=(0, 1, 2)) for part in seen(x, size, stride)]).reshape(kernel.shape)
    spread: list[tuple[int, int, int]] = []
    for n in x.shape[1:3]:
        out, before, _ = _edge(n, size, stride)
        spread.append((size - 1 - before, n + before - 1 - (out - 1) * stride, stride - 1))
    apart = jax.lax.pad(dy, jnp.float32(0.0), ((0, 0, 0), *spread, (0, 0, 0)))
    return _weighted(_shifted(apart, size, 1, *x.shape[1:3]), kernel[::-1, ::-1]), dk


depthwise.defvjp(_forward, _backward)


def _edge(n: int, size: int, stride: int) -> tuple[int, int, int]:
    """Of a side of n pixels: places of the window, and pixels beyond the edge before and after."""
    out = -(-n // stride)
    beyond = max((out - 1) * stride + size - n, 0)
    return out, beyond // 2, beyond - beyond // 2


def _shifted(padded: jax.Array, size: int, stride: int, height: int, width: int) -> list[jax.Array]:
    h, w = (height - 1) * stride + 1, (width - 1) * stride + 1
    return [padded[:, i : i + h : stride, j : j + w : stride] for i in range(size) for j in range(size)]


def _weighted(parts: list[jax.Array], kernel: jax.Array) -> jax.Array:
    weights = kernel.reshape(len(parts), kernel.shape[-1])
    return sum((part * weights[i][None, None, None] for i, part in enumerate(parts)), jnp.float32(0.0))
