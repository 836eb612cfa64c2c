"""Files written so that a crash leaves the old or the new one, and weights that others wrote. Nothing here knows a run."""
