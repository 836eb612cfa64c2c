"""Domain-adversarial network: a representation that does not tell the domains, min_z,f loss - w r · min_D loss_D.

loss_D = ½ [E_s -log D(z) + E_t -log (1 - D(z))] of a discriminator D; w = hp.weight; r rises from 0 to 1 by
2 / (1 + exp(-hp.gamma · progress)) - 1. D learns with hp.discriminator_rate times the learning rate; what z gets of its
gradient is reversed. hp.smoothing is the share of wrong labels that D is given.

Paper: Ganin, Ustinova, Ajakan, Germain, Larochelle, Laviolette, Marchand, Lempitsky (2016), DANN.
"""

from __future__ import annotations

from transfer.config.schema import Config
from transfer.data.examples.world import ExamplesWorld
from transfer.learning import adaptation, discriminator, game
from transfer.learning.adaptation import adapted
from transfer.learning.discriminator import discriminated
from transfer.program import Classifier, Needs, Program, Task

NEEDS = Needs(tasks=("classification", "regression"), source=True, same_labels=True, representation=True)
HP = {**adaptation.HP, **adaptation.MOMENTUM, **game.HP, **discriminator.HP}
DEFAULTS = {
    "model": "mlp",
    "train": {"keep": "last"},
}  # a representation that learns; labels of the source do not see how the target fares


class Settings(discriminator.Settings):
    pass


def build(config: Config, world: ExamplesWorld, task: Task, model: Classifier) -> Program:
    return adapted(config, world, task, model, discriminated(config.method))
