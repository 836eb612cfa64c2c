"""The life of a run: world -> program -> fit -> evaluate -> write (`run`), its parts (`build`), what fits what (`checks`).

No equation, loop or table belongs here.
"""

from transfer.experiment.run import Result, load_run, run_batch

__all__ = ["Result", "load_run", "run_batch"]
