"""Transfer learning across domains, for books first. `run(["method=emcdr"])` is the command line from Python."""

from transfer.api import run

__all__ = ["run"]
