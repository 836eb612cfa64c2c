"""How one program is divided among devices: its replicas, its batches, or its batches and tables, over one mesh.

Batches and tables are divided by what is said of their arrays; the compiler finds the rest and the exchange between
devices, so that a step computes what it computes on one device, to rounding. A parameter with two axes or more is divided
along the first axis that the number of devices divides: a table by its rows, or else by its columns. The mesh has the
devices of all processes (jax.distributed).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from transfer.config.schema import Train
from transfer.errors import TransferError

AXIS = "devices"


@cache
def mesh() -> Mesh:
    """All devices of all processes."""
    return jax.make_mesh((jax.device_count(),), (AXIS,), (AxisType.Auto,))


def divided(train: Train) -> str:
    """What is divided: `replicas`, `batch` or `tables`; by itself batches where there are several processes."""
    if train.shard == "auto":
        return "batch" if jax.process_count() > 1 else "replicas"
    return train.shard


def check(train: Train, replicas: int, alone: bool) -> None:
    """Raise TransferError where train.shard has no effect or cannot be had. alone: not a sweep, which has what is left."""
    count, what = jax.device_count(), divided(train)
    if train.shard != "auto" and count == 1:
        raise TransferError(f"train.shard={train.shard} has no effect on one device; write train.shard=auto")
    if train.shard == "replicas" and replicas == 1 and alone:
        raise TransferError("train.shard=replicas has no effect on one run; write train.shard=batch, tables or auto")
    if what == "replicas" and jax.process_count() > 1:
        raise TransferError(
            "train.shard=replicas: several processes share one run; write train.shard=batch, tables or auto"
        )
    if what != "replicas" and train.replicas == "loop":
        raise TransferError(f"train.replicas=loop runs on one device; beside train.shard={what} write train.replicas=auto")


def along(shape: tuple[int, ...]) -> int | None:
    """The axis along which an array with a leading replica axis is divided; None where it is whole on every device."""
    if len(shape) < 3:
        return None
    return next((axis for axis, size in enumerate(shape) if axis and size % jax.device_count() == 0), None)


def place(shape: tuple[int, ...], tables: bool) -> NamedSharding:
    """Where an array lies: whole on every device, or with `tables` divided as `along` says."""
    axis = along(shape) if tables else None
    return NamedSharding(mesh(), PartitionSpec() if axis is None else PartitionSpec(*[None] * axis, AXIS))


def places(tree: Any, tables: bool) -> Any:
    """Where each array of a tree lies."""
    return jax.tree.map(lambda leaf: place(leaf.shape, tables), tree)


def placed(tree: Any, tables: bool = False) -> Any:
    """The same arrays where a divided program expects them; every process has the same ones."""

    def put(leaf: Any) -> Any:
        wanted = place(leaf.shape, tables)
        if isinstance(leaf, jax.Array):
            if leaf.sharding.is_equivalent_to(wanted, leaf.ndim):
                return leaf
            if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
                return jax.random.wrap_key_data(put(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf))
            if jax.process_count() == 1 or not leaf.is_fully_addressable:
                return jax.device_put(leaf, wanted)
        host = np.asarray(leaf)
        return jax.make_array_from_callback(host.shape, wanted, lambda at: host[at])

    return jax.tree.map(put, tree)


def batches(train: Train, tree: Any) -> Any:
    """Batches of several steps [steps, B, ...], in a divided program every device with its share of each."""
    if divided(train) == "replicas" or jax.device_count() == 1:
        return tree
    sharding = NamedSharding(mesh(), PartitionSpec(None, AXIS))

    def shared(leaf: jax.Array) -> jax.Array:
        return jax.lax.with_sharding_constraint(leaf, sharding) if divides(leaf.shape[1:]) else leaf

    return jax.tree.map(shared, tree)


def divides(shape: tuple[int, ...]) -> bool:
    """Whether a batch of this shape has an equal share for every device."""
    return bool(shape) and shape[0] % jax.device_count() == 0


def fetched(tree: Any) -> Any:
    """Arrays of the host, whole; every process has to ask."""
    from jax.experimental import multihost_utils

    def whole(leaf: Any) -> Any:
        if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable or leaf.is_fully_replicated:
            return jax.device_get(leaf)
        return multihost_utils.process_allgather(leaf, tiled=True)

    return jax.tree.map(whole, tree)
