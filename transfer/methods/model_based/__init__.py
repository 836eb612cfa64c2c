"""Carry parameters from the source to the target: shared, or pre-trained and tuned."""
