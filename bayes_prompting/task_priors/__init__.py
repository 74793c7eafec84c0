"""Task priors, one file a family: a sampler and its exact predictive.

Each module has `make(**kwargs) -> types.TaskPrior` and `EXAMPLES`, a tuple of
keyword arguments of `make` on which the contract tests run. Modules whose name
starts with `_` are helpers.

One that reads files has `reads(**kwargs)`, with the arguments of `make`, which
returns their paths: the content is then part of the identity of networks and
results, see `registry.reads`. Torsos and tuners may have it, too.
"""
