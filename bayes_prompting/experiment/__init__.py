"""A configuration, built and run: meta-train, tune, evaluate, load."""
