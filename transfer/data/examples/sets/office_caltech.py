"""Office-Caltech-10: ten kinds of objects seen by four cameras, 800 SURF visual words (Gong, Shi, Sha, Grauman 2012)."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from transfer.config.domains import ExampleDomains
from transfer.data.examples.sets.raw import Raw, existing, one_hot
from transfer.storage.damaged import check_size, reading

FILES = {"amazon": "amazon", "caltech": "Caltech10", "dslr": "dslr", "webcam": "webcam"}
DOMAINS = tuple(FILES)
FEATURES = ("surf",)
WORDS = 800
CLASSES = (
    *("back-pack", "touring-bike", "calculator", "headphones", "computer-keyboard"),
    *("laptop", "computer-monitor", "computer-mouse", "coffee-mug", "video-projector"),
)


def read(name: str, settings: ExampleDomains, data_dir: Path) -> Raw:
    from scipy.io import loadmat, whosmat
    from scipy.sparse import csr_matrix

    path = existing(data_dir / "office-caltech" / f"{FILES[name]}_SURF_L10.mat", "domain=office_caltech")
    with reading(path, f"a MATLAB 5 file with fts [n, {WORDS}] and labels"):
        sizes = {variable: math.prod(shape) for variable, shape, _ in whosmat(path)}
        check_size(8 * (sizes["fts"] + sizes["labels"]), "bytes")
        content = loadmat(path, variable_names=["fts", "labels"])
        y = one_hot(content["labels"].ravel().astype(np.float64) - 1, 10)
        counts = csr_matrix(content["fts"].astype(np.float32).reshape(-1, WORDS))
    return Raw(name, y, CLASSES, np.zeros(len(y), bool), counts=counts, path=path)
