"""The learning curve of one run."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def learning_curve(records: list[dict[str, Any]], result: dict[str, Any], path: Path) -> None:
    """Draw loss and validation metric by step, one row per gradient stage, the selected step marked."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    stages = list(dict.fromkeys(record["stage"] for record in records))
    metric, sign = result["select"]["metric"], result["select"]["sign"]
    figure, axes = plt.subplots(
        len(stages), 2, figsize=(9, 2.6 * len(stages) + 0.5), squeeze=False, sharex="row", layout="constrained"
    )
    for (left, right), stage in zip(axes, stages, strict=True):
        rows = [record for record in records if record["stage"] == stage]
        steps = [record["step"] for record in rows]
        left.plot(steps, [record["loss"] for record in rows], color="#4c6a92")
        left.set(ylabel="training loss", title=f"stage {stage}")
        values = [record[metric] for record in rows]
        right.plot(steps, values, color="#b5543c")
        chosen = result["selected"].get(stage) or max(rows, key=lambda record: sign * record[metric])
        right.plot(chosen["step"], chosen[metric], "o", color="#b5543c", label=f"selected: {chosen[metric]:.4f}")
        right.set(ylabel=f"validation {metric}", title=f"stage {stage}")
        right.legend(frameon=False)
        for axis in (left, right):
            axis.set_xlabel("step")
            axis.grid(alpha=0.25)
    figure.suptitle(f"{result['method']} on {result['domain']}, {result['task']}, seed {result['seed']}")
    figure.savefig(path, dpi=110)
    plt.close(figure)
