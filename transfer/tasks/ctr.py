"""task=ctr: the chance that an event is chosen; log loss, AUC and calibration over hidden and not chosen events."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from transfer.config import schema
from transfer.data.interactions.events import Heldout
from transfer.data.interactions.world import World, asked_users
from transfer.errors import TransferError
from transfer.evaluate.chances import Asked, asked
from transfer.evaluate.feedback import auc_by_row
from transfer.evaluate.label_metrics import calibration_error
from transfer.program import Scores, Task
from transfer.tasks.ranking import LOSSES, batch

METRICS = ("log_loss", "auc", "user_auc", "calibration_error")
SIGN = {"log_loss": -1, "calibration_error": -1}


def build(settings: schema.Task, world: World) -> Task:
    """The task; what gradient methods learn from are batches and losses of a ranking. Raises TransferError for an unknown
    loss or metric, for ratings, and where there are no dislikes and none are sampled."""
    if settings.loss not in LOSSES:
        raise TransferError(f"task.loss={settings.loss}: task=ctr knows {', '.join(LOSSES)}")
    if settings.select not in METRICS:
        raise TransferError(f"task.select={settings.select}: task=ctr measures {', '.join(METRICS)}")
    if not settings.positives:
        raise TransferError("task.positives=false: task=ctr asks what is chosen or liked; leave it out")
    if not settings.sampled and world.test.disliked_row is None:
        raise TransferError(
            "task.sampled=0 sets likes against dislikes, and no dislikes are hidden: declare `scale` and `positive`, with "
            "split=cold_start or few_shot, or set them against sampled candidates with task.sampled=4"
        )
    every = settings.loss == "full_softmax"
    if settings.negatives < 1 and not every:
        raise TransferError("task.negatives=0: every event needs at least one negative")
    return Task(
        select=settings.select,
        sign=SIGN.get(settings.select, 1),
        batch=partial(batch, negatives=0 if every else settings.negatives),
        loss=LOSSES[settings.loss],
        evaluate=partial(evaluate, sampled=settings.sampled),
        predict=partial(asked, sampled=settings.sampled),
        measure=measure,
        rows=asked_users,
        every_item=every,
        negatives=0 if every else settings.negatives,
    )


def protocol(settings: schema.Config) -> dict[str, Any]:
    """What result.json says about how figures came to be."""
    count = settings.task.sampled
    return {
        "not chosen": f"{count} uniform candidates for each hidden event, the same for all" if count else "hidden dislikes",
        "positives": settings.task.positives,
        "chances": "sigmoid of slope and intercept on the score, fitted on the validation part",
        "calibration": "15 bins of equal width",
    }


def evaluate(scores: Scores, heldout: Heldout, sampled: int) -> dict[str, jax.Array]:
    """The figures of `measure`."""
    return measure(asked(scores, heldout, sampled), heldout)[0]


def measure(events: Asked, heldout: Heldout, beyond: bool = True) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """log_loss and calibration_error of sigmoid(score), auc over all events, and the mean of the users' own, user_auc; and
    the user_auc of each user, float32 [users, padding last], NaN without events of both kinds."""
    width = heldout.users.shape[1]
    flat = Asked(*(part.reshape(-1) for part in events))
    loss = optax.sigmoid_binary_cross_entropy(flat.score, flat.chosen)
    of_users = jax.lax.map(lambda one: auc_by_row(one.score, one.chosen, one.row, width), events)
    there, one = ~jnp.isnan(of_users), jnp.where(flat.weight > 0, 0, 1)
    return {
        "log_loss": jnp.sum(jnp.where(flat.weight > 0, loss, 0.0)) / jnp.sum(flat.weight),
        "auc": auc_by_row(flat.score, flat.chosen, one, 1)[0],
        "user_auc": jnp.sum(jnp.where(there, of_users, 0.0)) / jnp.sum(there).astype(jnp.float32),
        "calibration_error": calibration_error(jax.nn.sigmoid(flat.score), flat.chosen, flat.weight),
    }, {"user_auc": of_users.reshape(-1)}
