"""Task priors, one file a family: a sampler and its exact predictive.

Each module has `make(**kwargs) -> types.TaskPrior` and `EXAMPLES`, a tuple of
keyword arguments of `make` on which the contract tests run. Modules whose name
starts with `_` are helpers.
"""
