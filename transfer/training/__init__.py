"""The one training loop, stages over replicas, devices, processes; reuse and warm starts. Nothing here knows a method."""
