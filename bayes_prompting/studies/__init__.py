"""Studies, one in each folder: the paper, and our own experiments."""
