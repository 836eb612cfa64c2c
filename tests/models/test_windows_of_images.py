"""Depthwise convolutions as sums of shifted images equal those of XLA, and so do their gradients."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from transfer.models.windows_of_images import depthwise


@pytest.mark.parametrize(("size", "stride", "shape"), [(3, 1, (5, 4)), (3, 2, (6, 5)), (5, 2, (7, 6)), (5, 1, (2, 3))])
def test_a_depthwise_convolution_equals_that_of_xla(size: int, stride: int, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, *shape, 3)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(size, size, 3)), jnp.float32)

    def of_xla(x: jax.Array, kernel: jax.Array) -> jax.Array:
        how: Any = {"dimension_numbers": ("NHWC", "HWIO", "NHWC"), "feature_group_count": 3}
        return jax.lax.conv_general_dilated(x, kernel[:, :, None], (stride, stride), "SAME", **how)

    wanted = of_xla(x, kernel)
    np.testing.assert_allclose(depthwise(x, kernel, stride), wanted, rtol=1e-4, atol=1e-5)
    weight = jnp.asarray(rng.normal(size=wanted.shape), jnp.float32)
    ours = jax.grad(lambda x, kernel: jnp.sum(weight * depthwise(x, kernel, stride)), (0, 1))(x, kernel)
    theirs = jax.grad(lambda x, kernel: jnp.sum(weight * of_xla(x, kernel)), (0, 1))(x, kernel)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
