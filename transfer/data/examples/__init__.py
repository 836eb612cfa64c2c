"""Labelled examples: read, split, make features. No users or items."""
