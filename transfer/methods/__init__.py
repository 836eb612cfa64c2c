"""The methods, one file per idea, in rooms by family: NEEDS, HP, Settings and build.

No method holds more than its idea: what several need goes to `transfer.learning`.
"""
