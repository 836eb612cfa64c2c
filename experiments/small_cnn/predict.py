"""What a run of this study says of images: a line for each, with the class and its probability.

python experiments/small_cnn/predict.py RUN IMAGES FILE     RUN: the folder of a run; IMAGES: an idx file; FILE: .csv
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import polars as pl

from transfer.data.examples.idx import read_idx
from transfer.experiment import load_run
from transfer.results.predictor import LabelPredictor

MOST = 2000  # images at once


def predict(run: Path, images: Path) -> pl.DataFrame:
    """A row for every image of an idx file: its place from 0, the likelier class and what it has of P."""
    predictor, grey = load_run(run).predictor, read_idx(images, 3)[..., None]
    assert isinstance(predictor, LabelPredictor)
    blocks = [grey[first : first + MOST].astype(np.float32) / 255 for first in range(0, len(grey), MOST)]
    chances = np.concatenate([predictor.probabilities(images=block) for block in blocks])
    classes = np.array(predictor.loaded.classes)
    return pl.DataFrame({"image": range(len(grey)), "class": classes[chances.argmax(1)], "p": chances.max(1)})


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    predict(Path(sys.argv[1]), Path(sys.argv[2])).write_csv(Path(sys.argv[3]), float_precision=4)
