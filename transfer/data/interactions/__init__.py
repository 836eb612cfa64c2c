"""Users, items and events: read, clean, split, index, simulate. No labelled examples."""
