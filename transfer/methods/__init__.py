"""The methods, one file per idea, in rooms by family: NEEDS, HP, Settings and build.

What several of them need goes to `transfer.learning`.
"""
