"""Exact answers about priors, targets and prompts, without a network."""
