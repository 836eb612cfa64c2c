"""The life of a run: world -> program -> fit -> evaluate -> write (`run`), its parts (`build`), what fits what (`checks`).

Nothing here computes: no equation, no loop over steps, no table.
"""

from transfer.experiment.run import Result, load_run, run_batch

__all__ = ["Result", "load_run", "run_batch"]
