"""Transfer learning across domains, for books first. `run(["method=emcdr"])` is the command line from Python."""

import os

# Before JAX starts: on two cores XLA programs with convolutions or factorisations were seen to wait for ever on each
# other's threads (jaxlib 0.10); a pool of eight does not.
os.environ.setdefault("NPROC", str(max(8, os.cpu_count() or 1)))

from transfer.api import run

__all__ = ["run"]
