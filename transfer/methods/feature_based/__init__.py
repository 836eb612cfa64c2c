"""Extract features of both domains, learn a map between them or a space in common, then predict.

No game and no pre-training.
"""
