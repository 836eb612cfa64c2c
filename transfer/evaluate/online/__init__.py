"""Simulated online tests of lists: readers arrive, click and buy, and a test says when it is sure. No training."""
