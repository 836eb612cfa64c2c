"""What is predicted and how it is scored: batches, losses, metrics of a hidden part. No task knows a method."""
