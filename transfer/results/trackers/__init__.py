"""Copies of runs for other people's tools, a file each: what a tracker is told is an Entry. Nothing here is read back."""
