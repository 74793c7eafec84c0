"""Tuners, one file a kind: what is adapted, and what the predictor then runs.

Each module has `make(**kwargs) -> types.Tuner` and `EXAMPLES`, a tuple of
keyword arguments of `make` on which the contract tests run. A tuner that sets
the predictor's state is a prompt; one that exchanges weights changes its map.
Modules whose name starts with `_` are helpers.
"""
