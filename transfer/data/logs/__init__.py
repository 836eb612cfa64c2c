"""Logs of impressions: who was shown what, where, how likely, and what came of it. No worlds, no splits, no estimates."""
