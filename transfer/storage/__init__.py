"""Files written so that a crash leaves the old or the new one, locks, weights of others. Nothing here knows a run."""
