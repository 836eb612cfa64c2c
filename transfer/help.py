"""The text of `transfer --help`, made from the code: groups, methods with what they need, examples."""

from __future__ import annotations

from omegaconf import OmegaConf

EXAMPLES = """\
  transfer                                                     the embedded default, seconds
  transfer domain=amazon_movies_books data_dir=DATA task=ranking split=cold_start split.beta=0.2 method=user_knn
  transfer domain=files domain.source=A/movies.inter domain.target=A/books.inter task=rating method=source_bias
  transfer domain=simulated domain.correlation=0.9 method=emcdr method.map=mlp seed=3 hp.learning_rate=1e-3
  transfer -m method=target_only,cmf,emcdr seed=0,1,2 split.seed=0,1,2"""


def register() -> None:
    """Make ${transfer_help:} known to OmegaConf."""
    OmegaConf.register_new_resolver("transfer_help", help_text, replace=True)


def help_text() -> str:
    """What `--help` prints; Hydra fills in the names that begin with a dollar sign."""
    return f"""\
transfer: train and compare methods that carry knowledge from one domain (movies) to another (books).

usage: transfer [-m] [GROUP=CHOICE ...] [KEY=VALUE ...]

Groups and choices
$APP_CONFIG_GROUPS
Methods
{method_lines()}

Examples
{EXAMPLES}

A run prints its figures and leaves a folder (hydra.run.dir=FOLDER chooses it); -m runs every combination and ends with a
table. `transfer ... --cfg job` shows the whole configuration of a command without running it.
"""


def method_lines() -> str:
    """One line per method: name, tasks, needs, what it does."""
    from transfer.registry import find, names

    lines = []
    for name in names("methods"):
        module = find("methods", name)
        needs = module.NEEDS
        wants = "shared users" if needs.shared_users else "texts" if needs.texts else "a source" if needs.source else "-"
        summary = (module.__doc__ or "").strip().splitlines()[0]
        lines.append(f"  {name:<12} {'/'.join(needs.tasks):<15} needs {wants:<13} {summary}")
    return "\n".join(lines)
