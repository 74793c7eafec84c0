"""Is it Bayesian? The question, asked of any predictor."""

from collections.abc import Callable, Sequence

import numpy as np

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import predictors
from bayes_prompting import types
from bayes_prompting.dynamics import dirichlet_fit
from bayes_prompting.dynamics.audit import measure
from bayes_prompting.dynamics.audit import readers
from bayes_prompting.dynamics.audit import verdicts

# Fewer sequences have no interval worth its name; shorter ones no history.
LEAST_SEQUENCES, LEAST_LENGTH = 16, 6


def audit(
  predictor: types.Predictor | Callable[[np.ndarray], np.ndarray],
  params: types.Params | None = None,
  state: types.State | None = None,
  *,
  prior: types.TaskPrior | None = None,
  task: types.TaskPrior | Sequence[Sequence[int]] | types.Array | None = None,
  vocab_size: int | None = None,
  length: int = 50,
  num_sequences: int = 256,
  tolerance: float = verdicts.TOLERANCE,
  seed: int = 0,
  prior_name: str = 'the prior',
) -> verdicts.Audit:
  """Asks of any predictor whether it is Bayesian.

      print(bp.audit(predictor, params, prior=bp.task_prior(...)))

  Without a prior it asks whether what is expected can be that of any Bayesian
  predictor of exchangeable data: whether it is a martingale, and the order of
  tokens does not count. With one, whether it is exact Bayes of that prior.
  docs/audit.md has the formulas, and their sources.

  Args:
    predictor: One of ours; or a function of one's own from histories int32
      [B, n] to probabilities [B, V] of the next token, called with any n from 0
      on. It may be written in anything, and is not traced.
    params: Weights of a predictor of ours; None for a Bayesian one, and for a
      language model, which has its own.
    state: Where a predictor of ours starts; behind no prompt by default.
    prior: That of which it might be exact Bayes.
    task: Where sequences come from: a task prior, or sequences int [S, N] of
      one's own. Without it they are those of the prior, and without either the
      predictor's own samples, on which it cannot fail to be calibrated.
    vocab_size: V, for a function without prior and task.
    length: N, of sequences. Histories have half of it.
    num_sequences: S.
    tolerance: In nats a token: what a check may miss before it fails. The
      default is little more than rounding; with 0.001 it is the question
      whether a predictor is Bayesian for all practical purposes.
    seed: Of everything that is drawn.
    prior_name: What sentences call the prior.

  Returns:
    What was found: `print` shows it; `passes`, `verdict`, `checks` and others
    are its attributes.

  Raises:
    UserError: If an argument cannot be used, or if what the predictor returns
      are no probabilities.
  """
  for name, value in (('prior', prior), ('task', task)):
    _check_source(name, value)
  sequences = _sequences(task)
  if sequences is None:
    length = checks.integer('length', length, LEAST_LENGTH)
    num = checks.integer('num_sequences', num_sequences, LEAST_SEQUENCES)
  else:
    num, length = sequences.shape
  tolerance = checks.positive('tolerance', tolerance)
  seed = checks.integer('seed', seed, 0)
  if not isinstance(prior_name, str) or not prior_name.isprintable():
    raise errors.UserError(
      f'prior_name: must be printable, got {checks.show(prior_name)}'
    )
  reader = _reader(predictor, params, state, vocab_size, (prior, task), length)
  for name, value in (('prior', prior), ('task', task)):
    if isinstance(value, types.TaskPrior):
      _same_vocabulary(name, value.vocab_size, reader.vocab_size)
  source = task if task is not None else prior
  own = source is None
  if sequences is not None:
    tokens = checks.sequences('task', task, reader.vocab_size)
    # What follows after a change are the beginnings of other sequences.
    others = np.roll(tokens, 1, axis=0)
  elif own:
    nothing = np.zeros((2 * num, 0), np.int32)
    both = reader.go_on(nothing, length, seed + 1)
    if (both < 0).any():
      raise errors.UserError(
        'predictor: it holds everything impossible after some of its own '
        'samples; give a task to take sequences from'
      )
    tokens, others = both[:num], both[num:]
  elif source.recorded is not None:
    tokens = readers.of_source(source, length, num, seed)
    others = np.roll(tokens, 1, axis=0)
  else:
    both = readers.of_source(source, length, 2 * num, seed)
    tokens, others = both[:num], both[num:]
  reference = concentration = None
  if prior is not None:
    reference = readers.of_predictor(
      predictors.bayesian(prior), {}, length=length
    )
    concentration = dirichlet_fit.concentration(prior)
  measured = measure.measure(reader, tokens, others, seed, reference, own)
  return verdicts.judge(
    measured,
    tolerance,
    prior_name if prior is not None else '',
    concentration,
    of_prior=prior is not None and source is prior,
  )


def _check_source(name, value):
  """Refuses what is no task prior, and one of which not all is scored."""
  if not isinstance(value, types.TaskPrior):
    if value is None or name == 'task':  # That may be sequences.
      return
    raise errors.UserError(
      f'{name}: must be a task prior, as bp.task_prior(name) makes one, got '
      f'{checks.show(value)}'
    )
  if value.scored is not None:
    raise errors.UserError(
      f'{name}: has tokens that are not scored; an audit is of sequences that '
      'are scored as a whole'
    )
  if name == 'prior' and value.recorded is not None:
    raise errors.UserError(
      'prior: was recorded, so that there is no exact Bayes of it; give it as '
      'the task'
    )


def _sequences(task):
  """Returns sequences of one's own as an array [S, N]; None if it is none."""
  if task is None or isinstance(task, types.TaskPrior):
    return None
  try:
    array = np.asarray(task)
  except ValueError:  # Sequences of several lengths.
    array = np.zeros(0)
  if (
    array.ndim != 2
    or array.dtype.kind not in 'iu'
    or len(array) < LEAST_SEQUENCES
    or array.shape[1] < LEAST_LENGTH
  ):
    raise errors.UserError(
      'task: must be a task prior, or sequences [S, N] of whole numbers with '
      f'S of at least {LEAST_SEQUENCES} and N of at least {LEAST_LENGTH}, got '
      f'{checks.show(task)}'
    )
  return array


def _same_vocabulary(name, vocab_size, ours):
  if vocab_size != ours:
    raise errors.UserError(
      f'{name}: has {vocab_size} tokens, and the predictor {ours}'
    )


def _reader(predictor, params, state, vocab_size, sources, length):
  """Returns the reader of a predictor of any kind."""
  if isinstance(predictor, types.Predictor):
    if vocab_size is not None:
      _same_vocabulary('vocab_size', vocab_size, predictor.vocab_size)
    return readers.of_predictor(predictor, params, state, length)
  if not callable(predictor):
    raise errors.UserError(
      'predictor: must be a predictor, or a function from histories [B, n] to '
      f'probabilities [B, V], got {checks.show(predictor)}'
    )
  for name, value in (('params', params), ('state', state)):
    if value is not None:
      raise errors.UserError(
        f'{name}: a function has none, give it by functools.partial'
      )
  known = [x.vocab_size for x in sources if isinstance(x, types.TaskPrior)]
  if vocab_size is None and not known:
    raise errors.UserError(
      'vocab_size: missing; a function has none, nor is there a task prior'
    )
  vocab_size = known[0] if vocab_size is None else vocab_size
  return readers.of_function(
    predictor, checks.integer('vocab_size', vocab_size, 2)
  )
