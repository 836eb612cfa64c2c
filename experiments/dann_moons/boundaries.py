"""Draw where two runs of the study decide: `python experiments/dann_moons/boundaries.py SWEEPS [SEED]`, to boundaries.png.

SWEEPS is the folder of the study's sweeps (sweeps/studies/dann_moons, with network/ and dann/ in it).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np

from transfer.experiment import load_run

mpl.use("Agg")
from matplotlib import pyplot as plt

TITLES = {"network": "without adaptation", "dann": "domain-adversarial"}


def main(sweeps: Path, seed: int = 0) -> Path:
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.6), sharex=True, sharey=True, layout="constrained")
    for axis, (name, title) in zip(axes, TITLES.items(), strict=True):
        folders = [path.parent for path in (sweeps / name).glob("*/result.json")]
        (folder,) = [path for path in folders if json.loads((path / "hp.json").read_text())["seed"] == seed]
        run = load_run(folder)
        draw(axis, run.predictor)
        axis.set_title(f"{title}: target accuracy {run.metrics['test']['accuracy']:.3f} (seed {seed})")
    axes[0].legend(loc="upper left", frameon=False)
    place = sweeps / "boundaries.png"
    figure.savefig(place, dpi=120)
    return place


def draw(axis: plt.Axes, predictor: object) -> None:
    """P(lower moon) behind the points, its ½ as a line; source points in colour, unlabelled target points black."""
    world = predictor.loaded.world  # type: ignore[attr-defined]
    source, target = world.sources[0].train, np.asarray(world.unlabelled)
    grid = np.stack(np.meshgrid(np.linspace(-4, 4, 200), np.linspace(-4, 4, 200)), axis=-1).astype(np.float32)
    p = predictor.probabilities(grid.reshape(-1, 2))[:, 1].reshape(200, 200)  # type: ignore[attr-defined]
    axis.contourf(grid[..., 0], grid[..., 1], p, levels=np.linspace(0, 1, 11), cmap="RdBu", alpha=0.35)
    axis.contour(grid[..., 0], grid[..., 1], p, levels=[0.5], colors="black")
    for moon, colour in enumerate(("#b2182b", "#2166ac")):
        x = np.asarray(source.x)[np.asarray(source.y)[:, moon] > 0]
        axis.plot(x[:, 0], x[:, 1], "o", ms=4, color=colour, label=f"source, {('upper', 'lower')[moon]} moon")
    axis.plot(target[:, 0], target[:, 1], "k+", ms=5, label="target")
    axis.set_aspect("equal")


if __name__ == "__main__":
    print(main(Path(sys.argv[1]), *map(int, sys.argv[2:])))
