"""Metrics, distances, selectors, significance: pure functions of arrays. Nothing here trains, reads or writes."""
