"""What Hydra gives to a job, for jobs that ran together: folder, .hydra files, log, callbacks, return value."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from transfer.config import selection
from transfer.results import run_folder
from transfer.sweep.plan import Job, Static

log = logging.getLogger(__name__)
NUMBER, FOLDER, WORDS, NAME = "__job_number__", "__job_folder__", ["__job_overrides__"], "__job_dirname__"


class Reporter:
    """Reports ended jobs to Hydra one after another.

    Hydra's own run_job copies the whole configuration twice and writes three YAML files by a slow path: 0.1 s a job. Here
    the files of a static part are rendered once and filled in, and its one configuration is set to each job in turn: what
    callbacks are given is right while they run.
    """

    def __init__(self, launcher: Any):
        self._callbacks = launcher.hydra_context.callbacks
        self._function = launcher.task_function
        self._master = launcher.config
        self._templates: dict[int, dict[str, str]] = {}

    def __call__(self, job: Job) -> JobReturn:
        """Write the job's Hydra files, call the callbacks, and return what a sweeper maximises (NaN without it)."""
        composed = job.static.composed
        result = JobReturn(overrides=list(job.overrides), status=JobStatus.COMPLETED)
        result.return_value = objective(job.folder)
        result.working_dir = str(Path.cwd())
        result.task_name = self._master.hydra.job.name
        if "hydra" not in composed:  # it could not be composed: there is nothing to show to anybody
            return result
        self._set(composed, job)
        self._write(job)
        state: Any = HydraConfig.instance()
        before, state.cfg = state.cfg, composed  # its own set_config would copy it
        try:
            result.hydra_cfg = result.cfg = composed
            self._callbacks.on_job_start(config=composed, task_function=self._function)
            self._callbacks.on_job_end(config=composed, job_return=result)
        finally:
            state.cfg = before
        return result

    def _set(self, composed: DictConfig, job: Job) -> None:
        """Make the configuration of a static part that of one of its jobs."""
        with open_dict(composed), read_write(composed.hydra):
            composed.hydra.job.id = job.number
            composed.hydra.job.num = job.number
            composed.hydra.overrides.task = list(job.overrides)
            composed.hydra.runtime.output_dir = str(job.folder.resolve())
            if job.config:
                composed.seed = job.config.seed
                for name, value in job.config.hp.items():
                    composed.hp[name] = value

    def _write(self, job: Job) -> None:
        folder = job.folder / ".hydra"
        folder.mkdir(parents=True, exist_ok=True)
        texts = self._templates.get(id(job.static)) or self._render(job.static)
        numbers = {"seed": job.config.seed, "hp": job.config.hp} if job.config else {}
        words = json.dumps(list(job.overrides))  # JSON is YAML
        filled = texts["hydra"].replace(NUMBER, str(job.number)).replace(FOLDER, json.dumps(str(job.folder.resolve())))
        filled = filled.replace(WORDS[0], words).replace(NAME, json.dumps(",".join(job.overrides)))
        (folder / "config.yaml").write_text(texts["config"] + (_dump(numbers) if numbers else ""))
        (folder / "hydra.yaml").write_text(filled)
        (folder / "overrides.yaml").write_text("".join(f"- {json.dumps(word)}\n" for word in job.overrides))
        with (job.folder / run_folder.LOG).open("a") as file:
            file.write(
                f"[{time.strftime('%Y-%m-%d %H:%M:%S')}] {run_folder.status(job.folder)}: {' '.join(job.overrides)}\n"
            )

    def _render(self, static: Static) -> dict[str, str]:
        """The texts of config.yaml and hydra.yaml of a static part, with marks where its jobs differ."""
        everything = OmegaConf.to_container(static.composed, enum_to_str=True)
        assert isinstance(everything, dict)
        hydra = everything.pop("hydra")
        if static.config:
            del everything["seed"], everything["hp"]
        hydra["job"] |= {"id": NUMBER, "num": NUMBER, "override_dirname": NAME}
        hydra["runtime"]["output_dir"] = FOLDER
        hydra["overrides"]["task"] = WORDS[0]
        texts = {"config": _dump(everything), "hydra": _dump({"hydra": hydra})}
        self._templates[id(static)] = texts
        return texts


def objective(folder: Path) -> float:
    """What a run gives a sweeper to maximise; NaN for a run without it."""
    return selection.score(run_folder.read_result(folder))


def _dump(value: Any) -> str:
    return yaml.dump(value, Dumper=run_folder.Dumper, sort_keys=False)
