"""Two inter-twinning moons in the plane; of the domain `rotated` they are turned by an angle about their centre.

The toy of the paper on domain-adversarial networks (Ganin et al. 2016): 300 points of each domain, half of each moon; the
authors' code has 150.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from transfer.config.domains import ExampleDomains
from transfer.data.examples.sets.raw import Raw, one_hot

DOMAINS = ("upright", "rotated")
FEATURES = ("points",)
NOISE = 0.05


def read(name: str, settings: ExampleDomains, data_dir: Path) -> Raw:
    """x float32 [domain.points, 2] with the centre at the mean of the upright ones; each domain has a draw of its own."""
    from sklearn.datasets import make_moons

    draws = [make_moons(settings.points, noise=NOISE, random_state=1 + i) for i in range(len(DOMAINS))]
    x, moon = draws[DOMAINS.index(name)]
    x = 2 * (x - draws[0][0].mean(axis=0))
    if name == "rotated":
        x = x @ rotation(settings.angle).T
    return Raw(name, one_hot(moon, 2), ("upper", "lower"), np.zeros(len(moon), bool), arrays=x.astype(np.float32))


def rotation(angle: float) -> np.ndarray:
    """The matrix [2, 2] that turns a point by so many degrees, counterclockwise."""
    cosine, sine = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    return np.array([[cosine, -sine], [sine, cosine]])
