"""Parameters carried from the source to the target: shared, or pre-trained and tuned. No map between features."""
