"""Handwritten digits of two collections, 16 x 16 pixels from 0 to 1: 2,000 of MNIST, 1,800 of USPS (Long et al. 2013)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from transfer.config.domains import ExampleDomains
from transfer.data.examples.sets.raw import Raw, existing, one_hot
from transfer.errors import missing
from transfer.storage.damaged import check_size, reading

DOMAINS = ("mnist", "usps")
FEATURES = ("pixels",)


def read(name: str, settings: ExampleDomains, data_dir: Path) -> Raw:
    try:
        import h5py
    except ImportError:
        raise missing("domain=digits", "h5py", "digits") from None

    path = existing(data_dir / "digits" / "MNIST_vs_USPS.mat", "domain=digits")
    part = {"mnist": "s", "usps": "t"}[name]
    with reading(path, f"a MATLAB 7.3 file with X{part} [n, 256] and Y{part}"):
        with h5py.File(path) as file:
            tables = file[f"X{part}"], file[f"Y{part}"]
            check_size(sum(table.nbytes for table in tables), "bytes")
            x, y = np.asarray(tables[0], np.float32), np.asarray(tables[1]).ravel()
        images = x.reshape(-1, 16, 16, 1)
        labels = one_hot(y.astype(np.float64) - 1, 10)  # the file's run from 1 (the digit 0) to 10
    return Raw(name, labels, tuple("0123456789"), np.zeros(len(y), bool), arrays=images, path=path)
