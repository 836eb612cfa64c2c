"""Numbers of a sweep: runs, settings, gaps, verdicts, values by user. Nothing here draws or words anything."""
