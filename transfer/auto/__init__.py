"""sweep=auto: whether to transfer, how, and what it brings, decided on held-out readers within a budget. No training, no
statistics of its own, and nothing of the test before the choice."""
