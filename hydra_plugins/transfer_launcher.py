"""The launcher of `-m`: jobs that differ only in `seed` and `hp.*` train together in one compiled program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class TransferLauncher(Launcher):
    """Hands the jobs to transfer.sweep.launch (imported late: Hydra loads its plugins at every start)."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from transfer.sweep.launch import launch

        results: Any = launch(self, job_overrides, initial_job_idx)
        return results
