"""Examples of several modalities: each is the domain read with settings of its own, and a block of columns of x."""

from __future__ import annotations

import numpy as np
from pydantic import ValidationError

from transfer.config.domains import LabelledDomains
from transfer.config.features import ByName
from transfer.config.schema import describe
from transfer.errors import TransferError, no_such_key

# what says which examples there are, and so is the same for all modalities
COMMON = ("kind", "name", "reader", "source", "target", "modalities")


def settings_of(domains: LabelledDomains, name: str) -> LabelledDomains:
    """The settings with which a modality is read. Raises TransferError, with the key, for one that does not fit."""
    own, usual = domains.modalities[name].model_dump(), domains.model_dump()
    place, known = f"domain.modalities.{name}.", [key for key in usual if key not in COMMON]
    if strange := sorted(set(own) - set(known)):
        raise TransferError(no_such_key(strange[0], known, place))
    try:
        return type(domains).model_validate({**usual, "modalities": ByName(), **own})
    except ValidationError as error:
        raise TransferError(describe(error, place)) from None


def joined(
    blocks: dict[str, list[np.ndarray]], fit: list[np.ndarray], where: str
) -> tuple[list[np.ndarray], tuple[tuple[str, int], ...]]:
    """Side by side [n, d] for each domain, blocks [domains][n, ...] by modality: x_m / (mean |x_m - mean|²)^½ over the
    `fit` rows of all domains, so that none outweighs another by its number of columns or its unit. Also their widths.

    Raises TransferError for ids of tokens, which are no measurements.
    """
    scaled, widths = [], []
    for name, xs in blocks.items():
        if not np.issubdtype(xs[0].dtype, np.floating):
            raise TransferError(f"{where}.{name}: tokens are no measurements; write features: encoded, with an encoder")
        flat = [x.reshape(len(x), -1) for x in xs]
        known = np.concatenate([x[rows] for x, rows in zip(flat, fit, strict=True)])
        length = np.sqrt(np.sum(known.var(axis=0, dtype=np.float64)))
        scaled.append([(x / (length or 1.0)).astype(np.float32) for x in flat])
        widths.append((name, flat[0].shape[1]))
    return [np.concatenate(of_domain, axis=1) for of_domain in zip(*scaled, strict=True)], tuple(widths)
