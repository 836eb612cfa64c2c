"""Transfer learning across domains, for books first. `run(["method=emcdr"])` is the command line from Python."""

import os

# Before JAX starts: with two threads (one per core) programs with batches of factorisations were seen to wait for ever
# (jaxlib 0.10); with eight they end.
os.environ.setdefault("NPROC", str(max(8, os.cpu_count() or 1)))

from transfer.api import run

__all__ = ["run"]
