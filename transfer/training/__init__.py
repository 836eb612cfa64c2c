"""The one training loop, its stages over replicas, their reuse, warm starts. Nothing here knows a method."""
