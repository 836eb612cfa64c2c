"""Feedback on items that a user has judged: whether likes stand above dislikes, and what share of a list's is a like."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from transfer.evaluate.list_metrics import Lists, sums


def judged_auc(score: jax.Array, row: jax.Array, disliked_row: jax.Array, width: int) -> jax.Array:
    """`auc_by_row` of likes [E] against dislikes [D] of the same user: float32 [width].

    score float32 [E + D], those of likes first; row = width for padding.
    """
    like = jnp.concatenate([jnp.ones(row.shape), jnp.zeros(disliked_row.shape)])
    return auc_by_row(score, like, jnp.concatenate([row, disliked_row]), width)


def auc_by_row(value: jax.Array, like: jax.Array, rows: jax.Array, width: int) -> jax.Array:
    """The chance that a like of a row scores above a dislike of the same row, ties count half: float32 [width].

    value, like (1 or 0), rows [n], row = width for padding; NaN for a row without both, or with a value that is none. The U
    statistic from mean ranks within each row, sorted once: no pair is looked at (Mann & Whitney 1947).
    """
    order = jnp.lexsort((value, rows))
    rows, like, value = rows[order], like[order], value[order]
    place = jnp.arange(len(rows))
    new_row = jnp.concatenate([jnp.ones(1, bool), rows[1:] != rows[:-1]])
    new_value = new_row | jnp.concatenate([jnp.ones(1, bool), value[1:] != value[:-1]])
    ends = jnp.concatenate([new_value[1:], jnp.ones(1, bool)])[::-1]
    bounds = jnp.where(jnp.stack([new_row, new_value, ends]), place[None, :], 0)
    start, first, last = jax.lax.cummax(bounds, axis=1)  # the ends of ties from behind
    last = len(rows) - 1 - last[::-1]
    below = ((first - start) + (last - start)).astype(jnp.float32) / 2  # of the row's, ties half
    zeros = jnp.zeros(width)
    likes, total = (zeros.at[rows].add(one, mode="drop") for one in (like, jnp.ones_like(like)))
    share = zeros.at[rows].add(like * below / jnp.maximum(total[jnp.minimum(rows, width - 1)], 1.0), mode="drop")
    above = share * total / jnp.maximum(likes, 1.0) - (likes - 1) / 2
    bad = zeros.at[rows].max(jnp.isnan(value).astype(jnp.float32), mode="drop")
    known = (likes > 0) & (total > likes) & (bad == 0)
    return jnp.where(known, above / jnp.maximum(total - likes, 1.0), jnp.nan)


def of_judged(lists: Lists, liked: jax.Array, disliked: jax.Array, ks: tuple[int, ...]) -> dict[str, jax.Array]:
    """By user and k [B, K]: judged, how many of a list's first k she has liked or disliked; like_share, likes / judged.

    liked, disliked bool [B, n]. A like_share is NaN where none of the list is judged; the mean over users is to be weighed
    by `judged`: all likes / all that is judged.
    """
    likes, judged = (sums(lists, of.astype(jnp.float32), ks) for of in (liked, liked | disliked))
    return {"judged": judged, "like_share": jnp.where(judged > 0, likes / jnp.maximum(judged, 1.0), jnp.nan)}
