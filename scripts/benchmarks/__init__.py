"""The parts of `python scripts/benchmark.py`, a module each: measure(arguments) -> rows of the table."""
