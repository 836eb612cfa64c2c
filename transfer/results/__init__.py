"""What a run leaves and what can be made of it: the run folder, a command that holds it, copies, predictor, explanations.

Nothing here trains.
"""
