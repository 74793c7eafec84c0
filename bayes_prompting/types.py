"""The types that cross rooms: episodes, task priors, predictors, tuners.

Axis letters: `B` batch of sequences, `N` sequence length, `V` vocabulary, `K`
prefix length, `E` embedding width, `R` repetitions. Everything here is written
for one sequence unless a shape says otherwise; `vmap` happens at the edge.

All of these are frozen dataclasses of pure functions. They hash by identity of
those functions, so that one object can be a static argument of `jax.jit`.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
import math
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from bayes_prompting import checks
from bayes_prompting import errors

Array = chex.Array
Key = chex.PRNGKey  # A typed key, as made by `jax.random.key`.
PyTree = Any
Params = PyTree  # A predictor's weights; {} for a Bayesian predictor.
State = PyTree  # All that a predictor remembers of what it has seen.
Context = PyTree  # What all sequences of a batch share.
Carry = PyTree  # What is carried from token to token, of one shape.
Offset = PyTree  # What is added to a memory wherever it is read.
Tunable = PyTree  # The only thing that an optimizer ever updates.


class Episode(NamedTuple):
  """One sequence, and what the source that generated it knew.

  Attributes:
    tokens: int32 [N].
    oracle_log_probs: float32 [N, V], log probability in nats that the source
      gave to each next token, before it drew it; None where nobody knows the
      source (`Recorded`).
  """

  tokens: Array
  oracle_log_probs: Array | None


@dataclasses.dataclass(frozen=True, eq=False)
class Statistic:
  """A sufficient statistic of fixed size: what exact sums run over.

  Histories with the same value have the same probability under the prior, and
  leave the same posterior. A value is a vector of D numbers: counts, and labels
  such as the last token.

  Attributes:
    start: D whole numbers, the value before anything is seen.
    counts: D bools, which entries are counts. Those may be raised by any amount
      that is not negative (pseudo-counts); the others are labels.
    update: (values int64 [S, D], tokens int64 [S]) -> int64 [S, D], after one
      more token. What it adds to counts, and new labels, depend on labels and
      tokens alone. In NumPy.
    log_predictive: (values [..., D]) -> [..., V], log posterior predictive in
      nats, -inf everywhere after what is impossible. In JAX, and at the
      precision of the values, float32 or float64.
    log_evidence: (values [..., D]) -> [...], log probability in nats of one
      history with this value; -inf if it is impossible. In JAX, as above.
    source_entropy: (values [..., D]) -> [...], posterior mean of the entropy in
      nats that the next token has given the source. In JAX, as above.
    concentration: D numbers where each row of a source's table is drawn from a
      Dirichlet of its own, and the statistic is the counts of all rows, in
      order, then labels: the concentrations, 0 for a token that never occurs
      and for labels. The posterior after a value has these plus its counts.
      None for other priors.
  """

  start: tuple[int, ...]
  counts: tuple[bool, ...]
  update: Callable[[np.ndarray, np.ndarray], np.ndarray]
  log_predictive: Callable[[Array], Array]
  log_evidence: Callable[[Array], Array]
  source_entropy: Callable[[Array], Array]
  concentration: tuple[float, ...] | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Support:
  """The sources that a prior holds possible, as tables of probabilities.

  A table [V^k, V] has a row for each context of the last k tokens (in base V,
  the most recent token last), the distribution of the next token; k = 0 is a
  memoryless source.

  Attributes:
    points: float64 tables. All sources if there are finitely many, each once,
      else one of each part of the support, in general position: where another
      prior covers it, it covers that part. It is likely in that part.
    finite: Whether `points` are all sources.
    covers: (table) -> bool. Whether a source is in the topological support: as
      near as one likes to it there is mass. Tables of any k.
  """

  points: tuple[np.ndarray, ...]
  finite: bool
  covers: Callable[[np.ndarray], bool]


# The parts of what was recorded, by what they are for.
SPLITS = ('tuning', 'validation', 'evaluation')


@dataclasses.dataclass(frozen=True, eq=False)
class Recorded:
  """What a task has whose sequences were recorded, in place of an oracle.

  There is no source that knows the sequences, and no prior whose posterior
  predictive is exact. Losses are compared with universal predictors, which know
  no more than the sequence so far. They are no bound: who has seen other
  sequences of the task may do better.

  Attributes:
    references: (tokens int32 [N]) -> float32 [N, V], log probabilities in nats
      of each universal predictor, by its name; the headline's first.
    count: (split, N) -> how many windows of N tokens a part has, at least 1.
      UserError if it has none.
    window: (split, number int32 [], N) -> int32 [N], one of them; NumPy's, if
      the number is. Parts share no sequence.
    about: What was read, in some words: how many symbols, of which kind.
    too_short: (split, N) -> how many sequences of a part have no window.
  """

  references: Mapping[str, Callable[[Array], Array]]
  count: Callable[[str, int], int]
  window: Callable[[str, Array, int], Array]
  about: str = ''
  too_short: Callable[[str, int], int] = lambda split, length: 0

  def draw(self, key: Key, split: str, num: int, length: int) -> Array:
    """Draws windows int32 [S, N] of a part, each once, inside a program.

    Args:
      key: Consumed.
      split: One of `SPLITS`.
      num: S, or less if there are fewer.
      length: N.
    """
    count = self.count(split, length)
    numbers = jax.random.permutation(key, jnp.arange(count, dtype=jnp.int32))
    return jax.vmap(lambda x: self.window(split, x, length))(numbers[:num])

  def check(self, num: int, length: int) -> None:
    """Checks that so many windows of N tokens were recorded for evaluation.

    A window that came twice would make standard errors too small.

    Raises:
      UserError: If there are fewer.
    """
    count = self.count('evaluation', length)
    if count < num:
      raise errors.UserError(
        f'path: its part for evaluation has {count} windows of {length} '
        f'tokens, fewer than evaluation.num_sequences={num}; ask for at most '
        f'{count}, for a smaller evaluation.length, or for a larger share for '
        'evaluation (split)'
      )


@dataclasses.dataclass(frozen=True)
class TaskPrior:
  """A distribution over sources, with its exact posterior predictive.

  Attributes:
    vocab_size: V.
    sample: (key, N) -> Episode. Draws a source, then N tokens from it. The
      function consumes the key. N is static.
    prefill: (rows [K, V]) -> state. The sufficient statistic after a prefix of
      token rows; a one-hot row is one observed token. K may be 0.
    predict: (state, tokens int32 [N]) -> float32 [N, V]. Log posterior
      predictive before each token, in nats. A history that is impossible under
      the prior leaves no predictive mass: every entry is -inf, never NaN. Here
      as in `prefill`, what is called checks its arguments first, see
      `Predictor.predict`.
    statistic: For exact sums over all sequences; None where there is none of a
      fixed, small size.
    exchangeable: Whether that statistic is the counts [V] of the tokens.
    support: Which sources are possible; None where sources are no tables.
    sample_table: (key) -> float32 [V^k, V], log probabilities of a drawn
      source as a table; None where sources are no tables. Consumes the key.
    observe: (state, token int32 []) -> state, after one more token, of the same
      shape. It makes the work of `generate` linear in the length. None where a
      state grows.
    scored: (N) -> N positions, increasing. Of an episode that is asked for with
      N tokens these are the ones that are scored: `sample(key, N)` then has M >
      N tokens, the last of which is scored, and log probabilities for all of
      them. None if all N are. Such a prior has neither `statistic` nor
      `sample_table`: what is made of these knows nothing of other tokens.
    recorded: What a task has whose sequences were recorded: several parts of
      them, and universal predictors. `sample` then draws a window of the part
      for tuning, `oracle_log_probs` of an episode are None, and `prefill` and
      `predict` are of a universal predictor. None where sources are drawn.

  Raises:
    UserError: If a prior with `scored` has one of those two.
  """

  vocab_size: int
  sample: Callable[[Key, int], Episode]
  prefill: Callable[[Array], State]
  predict: Callable[[State, Array], Array]
  statistic: Statistic | None = None
  exchangeable: bool = False
  support: Support | None = None
  sample_table: Callable[[Key], Array] | None = None
  observe: Callable[[State, Array], State] | None = None
  scored: Callable[[int], tuple[int, ...]] | None = None
  recorded: Recorded | None = None

  def __post_init__(self):
    """Has every function check the tokens or rows that it is given."""
    for name in ('statistic', 'sample_table'):
      if self.scored is not None and getattr(self, name) is not None:
        raise errors.UserError(
          f'scored: a prior of which not all tokens are scored has no {name}; '
          'leave it None'
        )
    vocab_size, observe = self.vocab_size, self.observe
    prefill, predict = self.prefill, self.predict

    def checked_prefill(rows):
      return prefill(_checked_rows(rows, vocab_size))

    def checked_predict(state, tokens):
      return predict(state, _checked_tokens(tokens, vocab_size, 1))

    def checked_observe(state, token):
      return observe(state, _checked_tokens(token, vocab_size, 0, 'token'))

    object.__setattr__(self, 'prefill', checked_prefill)
    object.__setattr__(self, 'predict', checked_predict)
    if observe is not None:
      object.__setattr__(self, 'observe', checked_observe)

  def positions(self, length: int) -> tuple[int, ...] | None:
    """Returns the positions that are scored of N tokens; None if all are."""
    return None if self.scored is None else tuple(self.scored(length))

  def num_tokens(self, length: int) -> int:
    """Returns how many tokens an episode has of which N are scored."""
    positions = self.positions(length)
    return length if positions is None else positions[-1] + 1

  def of_split(self, split: str) -> 'TaskPrior':
    """Returns the prior whose `sample` draws from one of `SPLITS`.

    Where sources are drawn that is this prior: all of its sequences are new.
    The same split gives the same object.
    """
    checks.one_of('split', split, SPLITS)
    return self if self.recorded is None else _of_split(self, split)


def recorded_prior(
  vocab_size: int,
  prefill: Callable[[Array], State],
  predict: Callable[[State, Array], Array],
  recorded: Recorded,
) -> TaskPrior:
  """Returns the prior of sequences that were recorded.

  Args:
    vocab_size: V.
    prefill: Of a universal predictor, see `TaskPrior`.
    predict: Of the same.
    recorded: Their parts.
  """
  sample = _sampler(recorded, SPLITS[0])
  return TaskPrior(vocab_size, sample, prefill, predict, recorded=recorded)


def _sampler(recorded, split):
  def sample(key, length):
    count = recorded.count(split, length)
    number = jax.random.randint(key, (), 0, count, jnp.int32)
    return Episode(recorded.window(split, number, length), None)

  return sample


@functools.lru_cache(maxsize=64)
def _of_split(prior, split):
  if split == SPLITS[0]:
    return prior
  return dataclasses.replace(prior, sample=_sampler(prior.recorded, split))


@dataclasses.dataclass(frozen=True)
class Predictor:
  """A sequence predictor, neural or Bayesian, as pure functions.

  `predict` is in two parts, so that what sequences share is done once.

  Attributes:
    vocab_size: V.
    init: (key) -> params. Consumes the key.
    embed: (params, rows [K, V]) -> [K, E]. Token-space rows to the form that a
      prefix has inside the predictor; the identity for a Bayesian predictor.
    prefill: (params, prefix [K, E]) -> state. No batch axis: a prefix is
      processed once and shared by all sequences. K may be 0.
    prepare: (params, state, N) -> context. All that sequences of length N have
      in common, computed once for any number of them. N is static.
    read: (context, tokens int32 [B, N]) -> float32 [B, N, V]. Log
      probabilities in nats; row n is the prediction of token n, made before
      seeing it. It checks tokens as `predict` does.
    sequence_block: (N) -> how many sequences it likes to read at once on a CPU;
      a matter of speed only.
    trace: (params, state, rows [N, E]) -> [1 + N, D]. What it remembers of one
      sequence, at `state` and after each further row; None if that is no vector
      of a fixed size.
    begin: (params, state, history int32 [N], T) -> (carry, log_probs [V]). What
      is expected after a history, and all that is needed to go on for T more
      tokens. N may be 0; T is static. None: `read` has to do.
    step: (params, carry, token int32 []) -> (carry, log_probs [V]). The same
      after one more token. More than T of them are NaN, or simply right.
    empty_offset: (params) -> offset, zeros: what may be added to its memory
      wherever it reads it, without changing what it remembers. No leaves, or
      None: it reads no memory in such a way.
    prefill_with_offset: (params, prefix [K, E], offset) -> state. As `prefill`,
      of a predictor that adds the offset from the first position on; the state
      holds it.
    load: () -> params, weights that were learnt elsewhere and are read from a
      file; `init` then says no more than their shapes. None: they are drawn.
  """

  vocab_size: int
  init: Callable[[Key], Params]
  embed: Callable[[Params, Array], Array]
  prefill: Callable[[Params, Array], State]
  prepare: Callable[[Params, State, int], Context]
  read: Callable[[Context, Array], Array]
  sequence_block: Callable[[int], int] = lambda length: 128
  trace: Callable[[Params, State, Array], Array] | None = None
  begin: Callable[[Params, State, Array, int], tuple[Carry, Array]] | None = (
    None
  )
  step: Callable[[Params, Carry, Array], tuple[Carry, Array]] | None = None
  empty_offset: Callable[[Params], Offset] | None = None
  prefill_with_offset: Callable[[Params, Array, Offset], State] | None = None
  load: Callable[[], Params] | None = None

  def __post_init__(self):
    """Has every function check the tokens or rows that it is given."""
    vocab_size, embed, read = self.vocab_size, self.embed, self.read
    begin, step = self.begin, self.step

    def checked_embed(params, rows):
      return embed(params, _checked_rows(rows, vocab_size))

    def checked_read(context, tokens):
      return read(context, _checked_tokens(tokens, vocab_size, 2))

    def checked_begin(params, state, history, length):
      history = _checked_tokens(history, vocab_size, 1, 'history')
      length = checks.integer('length', length, 0)
      return begin(params, state, history, length)

    def checked_step(params, carry, token):
      return step(params, carry, _checked_tokens(token, vocab_size, 0, 'token'))

    object.__setattr__(self, 'embed', checked_embed)
    object.__setattr__(self, 'read', checked_read)
    if begin is not None:
      object.__setattr__(self, 'begin', checked_begin)
    if step is not None:
      object.__setattr__(self, 'step', checked_step)

  def predict(
    self, params: Params, state: State, tokens: Array | Sequence[Sequence[int]]
  ) -> Array:
    """Returns log probabilities [B, N, V] of tokens [B, N], in nats.

    Inside `jax.jit` and the like only shape and type of tokens can be checked.

    Raises:
      UserError: If they are no whole numbers from 0 to V - 1, or not [B, N].
    """
    tokens = _checked_tokens(tokens, self.vocab_size, 2)
    return self.read(self.prepare(params, state, tokens.shape[1]), tokens)

  def start(self, params: Params, offset: Offset | None = None) -> State:
    """Returns the state after no prefix at all, and with an offset if given.

    Raises:
      UserError: If there is an offset, and nothing that it could be added to.
    """
    none = jnp.zeros((0, self.vocab_size), jnp.float32)
    rows = self.embed(params, none)
    if offset is None:
      return self.prefill(params, rows)
    if self.prefill_with_offset is None:
      raise errors.UserError(
        'offset: this predictor reads no memory that one could be added to'
      )
    return self.prefill_with_offset(params, rows, offset)


@dataclasses.dataclass(frozen=True, eq=False)
class Search:
  """A search among more tunables than can be scored, as pure functions.

  A round proposes P candidates for one repetition. `training.search` scores
  them on a few of the draws, those that lose least on more, at last C of them
  on all (successive halving), and the search learns these losses. Everything
  has a fixed shape, so that a round is one program.

  Attributes:
    name: What the search is called in results.
    rounds: T, how often it proposes.
    stages: ((P, share), ..., (C, 1.0)), how many candidates of a round are
      scored on which share of the draws; fewer, and on more, from stage to
      stage. Where a share is less than one draw, the first ones go on.
    start: (key) -> memory, all that it remembers. Consumes the key.
    propose: (key, memory, slopes) -> (memory, tunables [P]). Consumes the key.
      `slopes` is None without `relax`.
    learn: (memory, tunables [C], losses [C]) -> memory. Losses in nats; inf is
      legal, NaN never comes.
    relax: (memory) -> a tree of floats, where it wants to know how the loss
      changes; None if nowhere. `slopes` is the gradient there, of the mean loss
      on a quarter of the draws, finite; with less than four draws it is zero.
    bind_relaxed: (predictor, params, tree of floats) -> (params, state), what
      the gradient goes through; None without `relax`.
  """

  name: str
  rounds: int
  stages: tuple[tuple[int, float], ...]
  start: Callable[[Key], PyTree]
  propose: Callable[[Key, PyTree, PyTree], tuple[PyTree, Tunable]]
  learn: Callable[[PyTree, Tunable, Array], PyTree]
  relax: Callable[[PyTree], PyTree] | None = None
  bind_relaxed: (
    Callable[[Predictor, Params, PyTree], tuple[Params, State]] | None
  ) = None

  @property
  def pool(self) -> int:
    """P, how many candidates a round proposes."""
    return self.stages[0][0]

  @property
  def block(self) -> int:
    """C, how many candidates of a round are scored on all draws."""
    return self.stages[-1][0]

  @property
  def num_candidates(self) -> int:
    """M, how many candidates are scored for a repetition."""
    return self.rounds * self.block

  @property
  def cost(self) -> int:
    """What a repetition takes, in scores of one candidate on all draws.

    A stage adds to the draws of the one before, but for the last, which scores
    anew. A gradient counts as one: it takes three predictions of each sequence,
    of a quarter of them.
    """
    of_round, before = float(self.block + (self.relax is not None)), 0.0
    for count, share in self.stages[:-1]:
      of_round += count * (share - before)
      before = share
    return math.ceil(self.rounds * of_round - 1e-6)  # But for rounding.


@dataclasses.dataclass(frozen=True)
class Tuner:
  """A way to adapt a predictor: what is tuned, and what then runs.

  Attributes:
    init: (key, predictor, params) -> tunable. Consumes the key.
    bind: (predictor, params, tunable) -> (params, state), what the predictor
      runs with. Never writes to `params`: the frozen leaves that it returns are
      the ones that it was given.
    candidates: (predictor) -> tunables with a leading axis [M], for tuners that
      choose the best of a finite set instead of following a gradient; or a
      `Search`, which proposes them where there are too many, the same object
      for the same predictor.
    trainable: False if no gradient is followed: `init` is already the result
      (NoTuning, RandomPF), or one of the candidates is.
    random: False if the key makes no difference, so that one repetition says
      all there is to say.
    rows: (predictor, params, tunable) -> [K, E], the prefix itself, for tuners
      that have one: the rows that `bind` shows to the predictor. None for
      others.
    penalty: (tunable, log_probs [B, N, V], untuned [B, N, V]) -> [B] in nats,
      what a fit adds to the log loss of each sequence, by what the predictor
      says of it with and without what is tuned. Where not all positions are
      scored, it gets those that are. None for nothing.
  """

  init: Callable[[Key, Predictor, Params], Tunable]
  bind: Callable[[Predictor, Params, Tunable], tuple[Params, State]]
  candidates: Callable[[Predictor], Tunable | Search] | None = None
  trainable: bool = True
  random: bool = True
  rows: Callable[[Predictor, Params, Tunable], Array] | None = None
  penalty: Callable[[Tunable, Array, Array], Array] | None = None


_TOKEN_SHAPES = '[]', '[N]', '[B, N]'


def _checked_tokens(tokens, vocab_size, ndim, field='tokens'):
  """Returns one token, [N] or [B, N] (`ndim`) as an array, checked.

  One embedding or table row stands for each token. Indexing would take the
  nearest for a number without one, and not say so.
  """
  if not _has_values(tokens):
    is_integer = jnp.issubdtype(tokens.dtype, jnp.integer)
    if tokens.ndim == ndim and is_integer:
      # As below: a narrow type may not count all that a predictor counts.
      return tokens.astype(jnp.int32)
    raise errors.UserError(
      f'{field}: must be whole numbers of shape {_TOKEN_SHAPES[ndim]}, got '
      f'{tokens.dtype} of shape {list(tokens.shape)}'
    )
  if ndim == 0:
    return checks.tokens(field, [tokens], vocab_size)[0]
  check = checks.tokens if ndim == 1 else checks.sequences
  array = check(field, tokens, vocab_size)
  is_ready = isinstance(tokens, jax.Array) and tokens.dtype == jnp.int32
  return tokens if is_ready and tokens.ndim == ndim else array


def _has_values(array):
  """Returns whether there are values that this process can look at."""
  if isinstance(array, jax.core.Tracer):
    return False
  return getattr(array, 'is_fully_addressable', True)


def _checked_rows(rows, vocab_size):
  """Returns rows [K, V] as an array; their numbers may be any."""
  if not hasattr(rows, 'shape'):
    try:
      rows = np.asarray(rows, np.float32)
    except (TypeError, ValueError):
      rows = np.asarray(None)  # Of a shape that is refused.
  if rows.ndim != 2 or rows.shape[1] != vocab_size:
    raise errors.UserError(
      f'rows: must have shape [K, {vocab_size}], one number for each token of '
      f'the vocabulary, got shape {list(rows.shape)}'
    )
  return rows
