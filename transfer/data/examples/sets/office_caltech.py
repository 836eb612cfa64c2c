"""Office-Caltech-10: ten kinds of objects seen by four cameras, 800 SURF visual words (Gong, Shi, Sha, Grauman 2012)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from transfer.config.domains import ExampleDomains
from transfer.data.examples.sets.raw import Raw, existing, one_hot

FILES = {"amazon": "amazon", "caltech": "Caltech10", "dslr": "dslr", "webcam": "webcam"}
DOMAINS = tuple(FILES)
FEATURES = ("surf",)
CLASSES = (
    *("back-pack", "touring-bike", "calculator", "headphones", "computer-keyboard"),
    *("laptop", "computer-monitor", "computer-mouse", "coffee-mug", "video-projector"),
)


def read(name: str, settings: ExampleDomains, data_dir: Path) -> Raw:
    from scipy.io import loadmat
    from scipy.sparse import csr_matrix

    path = existing(data_dir / "office-caltech" / f"{FILES[name]}_SURF_L10.mat", "domain=office_caltech")
    content = loadmat(path, variable_names=["fts", "labels"])
    y = one_hot(content["labels"].ravel().astype(np.int64) - 1, 10)
    counts = csr_matrix(content["fts"].astype(np.float32))
    return Raw(name, y, CLASSES, np.zeros(len(y), bool), counts=counts)
