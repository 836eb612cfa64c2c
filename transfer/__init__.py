"""Transfer learning across domains, for books first. `run(["method=emcdr"])` is the command line from Python."""

import os
import sys
from importlib.abc import MetaPathFinder
from types import ModuleType
from typing import Any

# Before JAX starts: with two threads (one per core) programs with batches of factorisations were seen to wait for ever
# (jaxlib 0.10); with eight they end.
os.environ.setdefault("NPROC", str(max(8, os.cpu_count() or 1)))

# Modules that had another place before the rooms: NEW PLACE -> old names, as old or old:new where the name changed too.
_MOVED = {
    "config": "domains selection",
    "data": "data.examples.cache",
    "data.examples": "data.encoded data.featurise data.label_split data.msda data.tokens",
    "data.interactions": "data.clean data.domain data.events data.near_duplicates data.read data.sequences data.simulate "
    "data.split data.world",
    "data.features": "data.text:words data.interactions.text:words",
    "evaluate": "evaluate.labels:label_metrics evaluate.ranks:rank_metrics",
    "learning": "adapt:alignment adversarial:discriminator embed:nested game guard mixing:source_mixture sequences "
    "strategies supervised models.autorec",
    "results": "describe explain predictor track:run_folder",
    "solvers": "models.biases models.classifiers models.cocluster models.evidence models.histories models.joint "
    "models.maps models.perceptron models.ratios models.spectra models.transport",
    "results.trackers": "wandb_copy:copies results.wandb_copy:copies",
    "storage": "checkpoint:trees packaged models.weights solvers.memory",
    "training": "begin:warm_start compiler reuse stages train:loop",
    "": "progress:console",
}


class _Moved(MetaPathFinder):
    """Says in one line where a module went."""

    def find_spec(self, name: str, *_: object) -> None:
        for place, words in _MOVED.items():
            for old, _colon, new in (word.partition(":") for word in words.split()):
                if name == f"transfer.{old}":
                    now = ".".join(part for part in ("transfer", place, new or old.rpartition(".")[2]) if part)
                    raise ModuleNotFoundError(f"{name} is now {now}")  # without its name, or `from … import` hides it


sys.meta_path.append(_Moved())

from transfer import methods, sweep  # noqa: E402, the order is meant
from transfer.api import domain, evaluate_log, load, online_test, run  # noqa: E402


class _Room(ModuleType):
    """A room whose name is also what people call: `transfer.sweep([...])`, `transfer.methods()`."""

    def __call__(self, *args: Any, **settings: Any) -> Any:
        from transfer import api

        return getattr(api, self.__name__.rpartition(".")[2])(*args, **settings)


for _room in (methods, sweep):
    _room.__class__ = _Room

__all__ = ["domain", "evaluate_log", "load", "methods", "online_test", "run", "sweep"]
