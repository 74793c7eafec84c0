"""One folder a study: the paper, and our own experiments."""
