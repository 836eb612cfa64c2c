"""Handwritten digits of two collections, 16 x 16 pixels from 0 to 1: 2,000 of MNIST, 1,800 of USPS (Long et al. 2013)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from transfer.config.domains import ExampleDomains
from transfer.data.examples.sets.raw import Raw, existing, one_hot
from transfer.errors import TransferError

DOMAINS = ("mnist", "usps")
FEATURES = ("pixels",)


def read(name: str, settings: ExampleDomains, data_dir: Path) -> Raw:
    import h5py

    path = existing(data_dir / "digits" / "MNIST_vs_USPS.mat", "domain=digits")
    part = {"mnist": "s", "usps": "t"}[name]
    try:
        with h5py.File(path) as file:
            x, y = np.asarray(file[f"X{part}"], np.float32), np.asarray(file[f"Y{part}"]).ravel()
    except (OSError, KeyError) as error:
        raise TransferError(f"{path}: not a MATLAB 7.3 file with X{part} and Y{part} ({error})") from None
    images = x.reshape(-1, 16, 16, 1)
    # the file's labels run from 1 (the digit 0) to 10
    return Raw(name, one_hot(y - 1, 10), tuple("0123456789"), np.zeros(len(y), bool), arrays=images)
