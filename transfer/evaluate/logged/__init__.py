"""What logs of impressions say: rates as they were, and values of policies that did not make them. No files."""
