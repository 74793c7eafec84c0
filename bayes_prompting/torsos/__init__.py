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

Weights of two axes are matrices [in, out] that activations are multiplied with;
LoRA adapts these, and the estimate of memory counts what they make. All other
weights have one axis: the scales of several heads, or the kernel of a
convolution of each channel, are kept flat.

Tokens take few values, so that much of the first layer can be done once for
every token instead of once for every sequence. A torso may do so, by

    prepare(rows [V, E], state, length) -> table   once for a batch
    read(table, tokens [B, N]) -> activations [B, N, D]

where `rows` are the embeddings of all tokens, N <= length, and the result is
that of `__call__` on each sequence's embeddings, within rounding. A torso that
has `sequence_block(length, width)` says with it how many sequences it likes to
process at once on a CPU. Neither changes what it is: tests compare the two.

A sequence that is sampled token by token is run over one row at a time. This
costs the same for each token where the state keeps its shape. A torso whose
state grows makes room at first, by

    reserve(state, length) -> carry        for so many more positions
    step(x [E], carry) -> (activations [D], carry of the same shape)

which is again what `__call__` gives, within rounding; NaN if there is no room
left. Without both, every token costs a run over all of them.

Who looks inside a network (`dynamics`) sees the torso's activations, unless it
says of its state what its memory is, by

    memory(state) -> [D]

for torsos whose state keeps its shape; without, `__call__` is all there is.

A torso that reads its memory by a linear map may let an offset be added to the
memory wherever it is read, and not to what is remembered, by

    empty_offset(width) -> offset            zeros, a pytree
    with_offset(state, offset) -> state      of a run that adds it

where both states have the same memory. Zeros change nothing, to the bit.

`ELSEWHERE`, by the name of an argument that other torsos have, says what to set
in its place.
"""
