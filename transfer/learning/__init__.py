"""What methods are built from: fits of a model to a domain, alignment, games, tuning strategies, source mixtures, guard.

Nothing here is a method.
"""
