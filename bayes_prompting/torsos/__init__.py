"""Torsos, one file an architecture: what sits between the embeddings.

Each module has `make(**kwargs)`, which returns a Flax Linen module, and
`EXAMPLES`, a tuple of keyword arguments of `make` on which the contract tests
run. The module works on one sequence and has two methods:

    empty_state(width) -> state           before anything was seen; width is E
    __call__(x [N, E], state) -> (activations [N, D], state)

It must be causal, and running it over x and then over y from the state that
this left must equal one run over their concatenation. Everything that it
remembers is in the state, a pytree of float arrays: a prompt acts through it,
and StatePT tunes it. N may be 0.
"""
