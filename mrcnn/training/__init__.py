"""Training: the optimizer and its schedule, the layers that train, the run and its files."""
