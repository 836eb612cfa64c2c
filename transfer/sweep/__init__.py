"""Many runs: planned, grouped into programs, run by an engine, found again. Nothing here compares figures."""
