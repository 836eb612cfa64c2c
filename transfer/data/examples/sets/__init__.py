"""Readers of public data sets, one file each: DOMAINS, FEATURES and read(name, settings, data_dir) -> Raw.

Nothing here makes features.
"""
