"""Rating patterns that do not tell the domains: ŷ_u^d = R_d(F(h_u^e)) for the domains d, e of source and target.

h_u^e codes the user's history in e by that domain's autoencoder (learning/autorec.py), which is fitted first and then held.
The shared F and a predictor R_d of each domain learn what is known of a user, whichever history speaks: min L_target +
hp.source_weight · L_source - w r · min_D loss_D, where D tells F(h^source) from F(h^target); loss_D, w and r as in dann.
Users without target history are scored by that of the source. L is the squared error, or the multinomial likelihood.
hp.dropout hides events from the autoencoders, hp.decay is the weight decay, hp.damping that of the item biases.

Paper: Yuan, Yao, Benatallah (2019), DARec (its U-DARec, with item biases).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from pydantic import Field

from transfer.config.schema import Config
from transfer.data.interactions.world import World
from transfer.learning import autorec, discriminator, game
from transfer.learning.discriminator import discriminated
from transfer.learning.game import View, with_game
from transfer.program import SIDES, Done, Fit, Hp, Model, Needs, Params, Program, Range, Scores, Task, stream
from transfer.solvers import histories

NEEDS = Needs(source=True, shared_users=True)
HP = {
    **game.HP,
    **discriminator.HP,
    "learning_rate": Range(0.01, low=0),
    "dropout": Range(0.3, low=0, high=1, below=True),  # of events, before the autoencoders
    "decay": Range(3.0, low=0),  # of weights
    "damping": Range(5.0, low=0),  # of the item biases
    "source_weight": Range(1.0, low=0),
    "weight": Range(10.0, low=0),
}


class Settings(discriminator.Discriminator):
    hidden: int = Field(default=64, ge=1)  # width of the shared extractor and of the predictors
    rows: int = Field(default=128, ge=1)  # users of each domain in a step


def build(config: Config, world: World, task: Task, model: Model) -> Program:
    settings, rating = config.method, config.task.name == "rating"
    widest = max(side(world).train.n_items for side in SIDES.values())
    histories.check_dense(settings.rows, widest, "method=darec")

    def extract(params: Params, h: jax.Array) -> jax.Array:
        return jax.nn.relu(discriminator.apply(params["extractor"], h))

    def predict(params: Params, name: str, h: jax.Array, base: jax.Array) -> jax.Array:
        return base[None, :] + discriminator.apply(params["predictor"][name], extract(params, h))

    def init(world: World, done: Done, key: jax.Array) -> Params:
        layers, hidden = partial(discriminator.init, width=settings.hidden), settings.hidden
        predictor = {
            name: layers(stream(key, name), hidden, depth=1, outputs=side(world).train.n_items, silent=True)
            for name, side in SIDES.items()
        }
        extractor = layers(stream(key, "extractor"), config.model.dim, depth=0, outputs=hidden)
        return {"extractor": extractor, "predictor": predictor}

    def batch(world: World, done: Done, key: jax.Array) -> Any:
        """Users of each domain: h and whether they have a history, by domain, and what is known of them here."""
        drawn = {}
        for name, side in SIDES.items():
            users = autorec.draw_users(side(world).train, stream(key, name), settings.rows)
            coded = {other: (part["h"][users], part["there"][users]) for other, part in done["codes"].items()}
            drawn[name] = (coded, autorec.known_rows(side(world).train, users))
        return drawn

    def loss(params: Params, done: Done, batch: Any, hp: Hp, key: jax.Array, progress: jax.Array) -> jax.Array:
        total = jnp.float32(0.0)
        for name, weight in (("target", jnp.float32(1.0)), ("source", hp["source_weight"])):
            (coded, known), base = batch[name], done["codes"][name]["base"]
            for h, there in coded.values():
                total += weight * jnp.mean(there * autorec.misfit(predict(params, name, h, base), known, rating))
        return total

    def views(params: Params, batch: Any) -> list[tuple[View, View]]:
        source, target = (extract(params, batch[name][0][name][0]) for name in ("source", "target"))
        return [(View(source, source, source, None), View(target, target, target, None))]

    def scores(world: World, done: Done, hp: Hp) -> Scores:
        source, target = done["codes"]["source"], done["codes"]["target"]

        def score(users: jax.Array) -> jax.Array:
            known = target["there"][users][:, None] > 0
            h = jnp.where(known, target["h"][users], source["h"][users])
            return predict(done["patterns"], "target", h, target["base"])

        return score

    fit = Fit(
        "patterns",
        init=init,
        batch=batch,
        loss=loss,
        size=lambda world: world.target.train.users.shape[0],
        scores=scores,
        optimizer=autorec.optimizer,
    )
    fit = with_game(fit, discriminated(settings), views)
    return Program((*autorec.stages(rating, config.model.dim, settings.rows), fit), scores)
