"""What a run leaves and what can be made of it: the run folder, its copies, predictor, explanations.

Nothing here trains.
"""
