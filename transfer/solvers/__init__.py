"""Closed forms and linear algebra: arrays in, arrays out. No network, no gradient stage."""
