"""Flax NNX modules as pure functions: parameters are nested dicts, the module is put together again inside a call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx

from transfer.program import Params


def init(make: Callable[[nnx.Rngs], Any], key: jax.Array) -> Params:
    """The parameters of the module that `make` builds."""
    return nnx.to_pure_dict(nnx.state(make(nnx.Rngs(key)), nnx.Param))


def apply(make: Callable[[nnx.Rngs], Any], params: Params, *inputs: Any) -> Any:
    """That module with these parameters, called."""
    graph, state = nnx.split(nnx.eval_shape(lambda: make(nnx.Rngs(0))))
    nnx.replace_by_pure_dict(state, params)
    return nnx.merge(graph, state)(*inputs)
