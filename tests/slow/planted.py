"""Bugs of usual kinds, and the tests that must notice each.

`tests.slow.mutations` plants them, one at a time, in a copy of the repository.
A bug is a text of a module, which stands there exactly once, and another text
for it. Tests are arguments of pytest, chosen small: a bug that the rest of the
suite would notice, too, is to be noticed where the module is tested.

`tests/test_numerics.py` is in no selection. It notices nearly everything, but
only says that something moved.
"""

import hashlib
import itertools
from typing import NamedTuple


class Bug(NamedTuple):
  """One bug.

  Attributes:
    module: Its name, within the package.
    number: Which of this module's, from 1.
    kind: What went wrong, in two or three words.
    old: The text that is replaced; it stands in the module exactly once.
    new: What replaces it.
    tests: Arguments of pytest that say which tests cover it.
  """

  module: str
  number: int
  kind: str
  old: str
  new: str
  tests: str

  @property
  def name(self) -> str:
    """How it is called: by its module, number and kind."""
    return f'{self.module} {self.number}: {self.kind}'

  @property
  def digest(self) -> str:
    """What it is, whatever its number."""
    text = '\0'.join((self.module, self.old, self.new, self.tests))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _of(module, tests, *bugs):
  """Returns a module's bugs: (kind, old, new), and tests of its own, or not."""
  return [
    Bug(module, number, kind, old, new, own[0] if own else tests)
    for number, (kind, old, new, *own) in enumerate(bugs, 1)
  ]


_TORSOS = 'tests/torsos/test_torsos.py'
_LSTM = (
  f'{_TORSOS} -k "lstm and not mlstm and (equations or parts or fast_path_is)"'
)
_TRANSFORMER = (
  f'{_TORSOS} -k "scores or transformer and '
  '(equations or parts or steps or fast_path_is)"'
)
_EQUATIONS = f'{_TORSOS} -k "transformer and equations"'
_GRU = f'{_TORSOS} -k "gru and fast_path_is"'
_CHUNKS = 'tests/torsos/test_chunks.py -k'
_ATTENTION = 'tests/torsos/test_linear_attention.py -k'
_RECURRENCE = 'tests/torsos/test_linear_recurrence.py -k'
_GRADIENTS = f'{_RECURRENCE} gradients'
_HYBRID = 'tests/torsos/test_hybrid.py -k'
_SELECTIVE = 'tests/torsos/test_selective_ssm.py -k equations'
_MLSTM = 'tests/torsos/test_mlstm.py -k'
_PREDICTORS = (
  'tests/test_predictors.py -k "zero_row or affine or bayesian or normalised"'
)
_TUNERS = 'tests/tuners/test_tuners.py'
_FIT = 'tests/training/test_fit.py'
_PRIORS = 'tests/task_priors/test_task_priors.py'
_LONG = 'tests/task_priors/test_long_sequences.py'
_STRUCTURED = 'tests/task_priors/test_structured_priors.py'
_CLAIMS = 'tests/claims/test_judge.py'
_STOPPED = 'tests/results/test_stopped.py'
_RUN = 'tests/experiment/test_run.py'
_EXACTLY = 'tests/experiment/test_exactly.py -k'


def _contract(name):
  """Returns the contract tests of the examples of one task prior."""
  tests = 'mass or sampled or one_pass or statistic or entropy or fit_each'
  return f'{_PRIORS} -k "{name} and ({tests})"'


BUGS = tuple(
  itertools.chain(
    _of(
      'keys',
      'tests/test_keys.py',
      (
        'dropped term',
        'jax.random.fold_in(key, np.uint32(high)) if high else key',
        'key',
      ),
      ('wrong unit', 'divmod(int(seed), 2**32)', 'divmod(int(seed), 2**31)'),
      ('wrong key', 'zlib.crc32(part.encode())', 'len(part)'),
      ('wrong order', 'for part in path:', 'for part in path[::-1]:'),
      (
        'ignored argument',
        "root = stream(key, 'sample', repetition)",
        "root = stream(key, 'sample')",
      ),
      (
        'key used twice',
        'jax.random.fold_in(root, number))(numbers)',
        'jax.random.fold_in(root, 0 * number))(numbers)',
      ),
    ),
    _of(
      'regret',
      'tests/test_regret.py',
      (
        'mean for sum',
        'return at(losses, positions, axis=-1).sum(-1)',
        'return at(losses, positions, axis=-1).mean(-1)',
      ),
      (
        'ignored argument',
        'return at(losses, positions, axis=-1).sum(-1)',
        'return losses.sum(-1)',
        'tests/training/test_scored.py -k gradients',
      ),
      (
        'sign',
        '  loss = -token_log_probs(log_probs, tokens)',
        '  loss = token_log_probs(log_probs, tokens)',
      ),
      (
        'swapped arguments',
        'kl(oracle_log_probs, log_probs)',
        'kl(log_probs, oracle_log_probs)',
      ),
      (
        'wrong reference',
        'kl(oracle_log_probs, log_probs)',
        'kl(bayes_log_probs, log_probs)',
      ),
      (
        'wrong reference',
        'loss + token_log_probs(bayes_log_probs, tokens)',
        'loss + token_log_probs(oracle_log_probs, tokens)',
      ),
      (
        'dropped term',
        'bayes_oracle_regret, exact_bayes.shape)\n          + exact_bayes,',
        'bayes_oracle_regret, exact_bayes.shape),',
      ),
      (
        'sign',
        'exact = -kl(oracle_log_probs, bayes_log_probs)',
        'exact = kl(oracle_log_probs, bayes_log_probs)',
      ),
      (
        'lost digits',
        'near = difference > -1',
        'near = difference > 1e9',
      ),
      (
        'dropped term',
        'jnp.where(allowed, summand, q).sum(-1)',
        'jnp.where(allowed, summand, 0.0).sum(-1)',
      ),
      ('wrong freedom', 'axis=axis, ddof=1)', 'axis=axis, ddof=0)'),
      (
        'wrong unit',
        'jnp.sqrt(jnp.float32(count))',
        'jnp.float32(count)',
      ),
    ),
    _of(
      'claims.intervals',
      'tests/claims/test_intervals.py -k "not cover"',
      (
        'wrong freedom',
        'error = values.std(ddof=1)',
        'error = values.std(ddof=0)',
      ),
      (
        'one side for two',
        'stats.t.isf((1 - LEVEL) / 2, len(values) - 1) * error',
        'stats.t.isf(1 - LEVEL, len(values) - 1) * error',
      ),
      (
        'off by one',
        'stats.t.isf((1 - LEVEL) / 2, len(values) - 1) * error',
        'stats.t.isf((1 - LEVEL) / 2, len(values)) * error',
      ),
      (
        'min for max',
        'logs = np.log(np.maximum(values, LEAST))',
        'logs = np.log(np.minimum(values, LEAST))',
      ),
      (
        'wrong unit',
        'ends = np.exp((mean, mean - half, mean + half))',
        'ends = (np.exp(mean), mean - half, mean + half)',
      ),
      (
        'wrong mean',
        'return Estimate(*map(float, ends), arithmetic, len(values))',
        'return Estimate(*map(float, ends), float(ends[0]), len(values))',
      ),
      (
        'off by one',
        'freedoms = np.array([len(x) - 1 for x in groups])',
        'freedoms = np.array([len(x) for x in groups])',
      ),
      (
        'dropped term',
        'np.array([x.var(ddof=1) / len(x) for x in groups])',
        'np.array([x.var(ddof=1) for x in groups])',
      ),
      (
        'wrong index',
        'leading = means[1] ** 2 - square * parts[1]',
        'leading = means[1] ** 2 - square * parts[0]',
      ),
      (
        'dropped term',
        'last = means[0] ** 2 - square * parts[0]',
        'last = means[0] ** 2',
      ),
      ('wrong side', '  if leading <= 0:', '  if leading >= 0:'),
      (
        'dropped term',
        '((x - x.mean()) ** 2).sum() for x in groups',
        '(x**2).sum() for x in groups',
      ),
      (
        'off by one',
        'freedom = sum(len(x) - 1 for x in groups)',
        'freedom = sum(len(x) for x in groups)',
      ),
      (
        'swapped arguments',
        'tail, of = (1 - LEVEL) / 2, (len(values) - 1, freedom)',
        'tail, of = (1 - LEVEL) / 2, (freedom, len(values) - 1)',
      ),
      (
        'dropped term',
        'np.array((ratio, low, high)) - 1, 0.0)',
        'np.array((ratio, low, high)), 0.0)',
      ),
      (
        'wrong unit',
        'counts - 1) / np.sqrt(counts)',
        'counts - 1) / counts',
      ),
      (
        'wrong unit',
        '    bound = np.log(max(bound, LEAST))\n',
        '',
      ),
      (
        'sign',
        'abs(values.mean() - bound)',
        '(values.mean() - bound)',
      ),
    ),
    _of(
      'claims.judge',
      f'{_CLAIMS} -k "not planned and not figure and not reads and not breaks"',
      ('min for max', '    if high < number:', '    if low < number:'),
      (
        'min for max',
        'return FAILS if low >= number',
        'return FAILS if high >= number',
      ),
      ('sign', 'low, high = -high, -low', 'low, high = -low, -high'),
      ('wrong step', '      step=self.step,\n', ''),
      ('wrong task', '      task=self.task,\n', ''),
      ('wrong index', '      experiment=self.experiment,\n', ''),
      (
        'wrong reference',
        "reference: str = 'bayes'\n  estimator: str | None = 'exact'",
        "reference: str = 'oracle'\n  estimator: str | None = 'paired'",
      ),
      (
        'wrong mask',
        'x[x.repetitions > 0] for name',
        'x[x.repetitions >= 0] for name',
      ),
      (
        'count for sum',
        'sum(int(x.stopped.sum()) for x in rows.values())',
        'sum(len(x) for x in rows.values())',
      ),
      (
        'wrong index',
        "x.loc[shared]['mean'].to_numpy()",
        "x['mean'].to_numpy()[: len(shared)]",
      ),
      (
        'ignored argument',
        'intervals.over_networks(values, claim.scale)',
        'intervals.over_networks(values)',
      ),
      (
        'min for max',
        'min(repetitions, default=0)',
        'max(repetitions, default=0)',
      ),
      (
        'min for max',
        'max(networks, len(self.values) + 1)',
        'min(networks, len(self.values) + 1)',
      ),
      (
        'dropped term',
        'estimate = estimate._replace(low=np.nan, high=np.nan)',
        'estimate = estimate._replace()',
      ),
    ),
    _of(
      'studies.paper.claims',
      f'{_CLAIMS} -k "not figure"',
      ('min for max', 'np.minimum.reduce', 'np.maximum.reduce'),
      ('wrong step', 'LAST = 50, 100, 200', 'LAST = 50, 100, 100'),
      ('wrong step', 'LAST = 50, 100, 200', 'LAST = 200, 100, 200'),
      (
        'wrong task',
        "_SINGLE, PRETRAINING, 'random_coins')",
        '_SINGLE, PRETRAINING)',
      ),
      (
        'swapped arguments',
        "value=lambda m: m['it'] - m['other']",
        "value=lambda m: m['other'] - m['it']",
      ),
      (
        'swapped arguments',
        'return lost / untuned',
        'return untuned / lost',
      ),
      (
        'wrong index',
        "for x in (tuner, 'NoTuning')",
        'for x in (tuner, tuner)',
      ),
      (
        'wrong unit',
        "(m['short'] - m['long']) / m['short']",
        "(m['short'] - m['long']) / m['long']",
      ),
      (
        'dropped term',
        "lambda m: 1 - m['it'] / m['none']",
        "lambda m: m['it'] / m['none']",
      ),
      (
        'sign',
        "value=lambda m: m['it'] - best",
        "value=lambda m: m['it'] + best",
      ),
      (
        'wrong task',
        "_best_hard_prefix('single_coin', settings.base_config())",
        "_best_hard_prefix('two_coin_mixture', settings.base_config())",
      ),
      (
        'ignored argument',
        '_best_hard_prefix(target, config, 0)',
        '_best_hard_prefix(target, config)',
      ),
      ('dropped term', '  narrow = np.abs(narrow)\n', ''),
      (
        'wrong mask',
        'if not intervals.over_networks(wide).low > REACHES:',
        'if False:',
      ),
      (
        'wrong mask',
        "rows['once'].drop(rows['tunings'].index, errors='ignore')",
        "rows['once']",
      ),
      (
        'dropped term',
        "m[f'SoftPT {LAST}'] - m[f'SoftPT {TUNING}']",
        "m[f'SoftPT {LAST}']",
      ),
      ('wrong bound', 'REACHES = 0.05 ', 'REACHES = 0.5 '),
      ('wrong bound', 'LITTLE = 0.25', 'LITTLE = 0.5'),
      ('off by one', '      _PROMPTS[:-1],', '      _PROMPTS,'),
      ('wrong mask', '    and claim.groups is None\n', ''),
      (
        'wrong index',
        "'it': _mean('SoftPT', _SINGLE)},\n    value=lambda m: m['it'] -",
        "'it': _mean('HardPT', _SINGLE)},\n    value=lambda m: m['it'] -",
      ),
    ),
    _of(
      'studies.paper.fidelity',
      'tests/studies/test_fidelity.py -k compares',
      ('wrong step', 'paper_claims.TUNING', 'paper_claims.LAST'),
      ('any for all', 'if sides.all() else', 'if sides.any() else'),
    ),
    _of(
      'studies.architectures.claims',
      'tests/studies/test_architectures.py -k "hold or own_number"',
      (
        'dropped term',
        "return means[f'{tuner} {LAST}'] - means[f'{tuner} {TUNING}']",
        "return means[f'{tuner} {LAST}']",
      ),
      (
        'wrong index',
        "_lost_later(means) / _lost_later(means, 'NoTuning')",
        "_lost_later(means) / _lost_later(means, 'SoftPT')",
      ),
      (
        'wrong task',
        "'NoTuning', f'{{network}}-{world}'",
        "'NoTuning', COINS",
      ),
      (
        'wrong bound',
        "judging.Bound('<', IS_BAYES[world])",
        "judging.Bound('<', IS_BAYES['coins'])",
      ),
      (
        'wrong sign',
        "judging.Bound('<', -REACHES)",
        "judging.Bound('<', REACHES)",
      ),
      (
        'wrong index',
        "'other': _target('StatePT')}",
        "'other': _target('HardPT')}",
      ),
    ),
    _of(
      'studies.study',
      'tests/studies/test_study.py',
      (
        'stale state',
        'judged = study.judge(current)',
        'judged = study.judge(table)',
      ),
      (
        'stale state',
        "study.draw(into / 'figures', current,",
        "study.draw(into / 'figures', table,",
      ),
    ),
    _of(
      'results.selection',
      'tests/results/test_selection.py -k "not figure"',
      ('wrong unit', 'losses.shape[-1] // 10', 'losses.shape[-1] // 5'),
      ('wrong index', 'losses[..., -count:]', 'losses[..., :count]'),
      (
        'swapped arguments',
        'key=lambda i: (lost[i], mean[i])',
        'key=lambda i: (mean[i], lost[i])',
      ),
      (
        'wrong mask',
        'sound = ran & ~np.asarray(stopped, bool)',
        'sound = ran & np.asarray(stopped, bool)',
        f'{_STOPPED} -k fewest',
      ),
      (
        'wrong mask',
        'sound = np.isfinite(losses).all(-1)',
        'sound = np.isfinite(losses[..., -1])',
        f'{_STOPPED} -k fewest',
      ),
      (
        'dropped term',
        'total / np.maximum(count - lost, 1)',
        'total / np.maximum(count, 1)',
        f'{_STOPPED} -k fewest',
      ),
      (
        'min for max',
        'choice.learning_rate == tried.min()',
        'choice.learning_rate == tried.max()',
      ),
      (
        'ignored argument',
        'ran = restrict(ran, method, labels, (learning_rate, prefix_init))',
        'ran = restrict(ran, method, labels, (learning_rate, None))',
      ),
    ),
    _of(
      'results.stopped',
      f'{_STOPPED} -k "alone or exact_bayes or statistics or tables"',
      ('off by one', 'wrong.argmax(-1) + 1', 'wrong.argmax(-1)'),
      (
        'wrong mask',
        '(dataset.judged == 1) & ~stopped(dataset)',
        '(dataset.judged == 1)',
      ),
      (
        'dropped term',
        'dataset.pretraining_stopped.notnull() & uses_network(dataset)\n'
        '  return',
        'dataset.pretraining_stopped.notnull()\n  return',
      ),
      (
        'dropped term',
        'return dataset.stopped.notnull() | on_stopped',
        'return dataset.stopped.notnull()',
      ),
      (
        'wrong index',
        'LeftOut(runs, int(judged.sel(at).sum()))',
        'LeftOut(runs, int(judged.sum()))',
      ),
    ),
    _of(
      'results.difference',
      'tests/results/test_difference.py -k "not table"',
      ('sign', 'values = values - taken', 'values = taken - values'),
      (
        'wrong mask',
        'both = both & others.counted',
        'both = both | others.counted',
      ),
      (
        'wrong mean',
        'by_network = runs.sum(1) / sizes[:, None]',
        'by_network = runs.mean(1)',
      ),
      (
        'wrong axis',
        "'networks', by_network.mean(1)",
        "'networks', by_network.mean(0)",
      ),
      (
        'wrong freedom',
        'error = values.std(ddof=1)',
        'error = values.std(ddof=0)',
      ),
      (
        'min for max',
        'counts = networks, int(sizes.min()),',
        'counts = networks, int(sizes.max()),',
      ),
      (
        'any for all',
        'has_network |= others.has_network',
        'has_network &= others.has_network',
      ),
      (
        'wrong mask',
        'if judged[:, 1:].any() else',
        'if judged.any() else',
      ),
      (
        'wrong condition',
        "if exact and (over == 'sequences' or sizes[0] == 1):",
        "if exact and over == 'sequences':",
        f'{_EXACTLY} difference',
      ),
    ),
    _of(
      'results.ranking',
      'tests/results/test_ranking.py',
      (
        'wrong interval',
        'return by_sequences if width >',
        'return by_sequences if width <',
      ),
      ('wrong order', '(True, 0.0) if np.isnan', '(False, 0.0) if np.isnan'),
      (
        'wrong condition',
        'return difference.low > 0 or difference.high < 0',
        'return difference.low > 0',
      ),
      (
        'wrong names',
        'competing = [name for name in order if name in tuned]',
        'competing = order',
      ),
      ('wrong sign', '_widest(mine, best)', '_widest(best, mine)'),
      (
        'wrong runs',
        'counts = len(on_network) * mine.has_network,',
        'counts = len(mine.counted) * mine.has_network,',
      ),
    ),
    _of(
      'results.comparison',
      'tests/results/test_comparison.py',
      (
        'wrong step',
        '(table.eval_task == target) & (table.step == step)',
        'table.eval_task == target',
      ),
      (
        'wrong task',
        '(table.eval_task == target) & (table.step == step)',
        'table.step == step',
      ),
      ('off by one', 'compared[x].nunique() > 1', 'compared[x].nunique() > 0'),
    ),
    _of(
      'results.summary',
      'tests/results/test_dataset.py -k "summary or infinite or nan"',
      ('wrong axis', '  mean = runs.mean(0)', '  mean = runs.mean(1)'),
      ('wrong axis', '_quartiles(runs.mean(-1))', '_quartiles(runs.mean(0))'),
      ('wrong freedom', 'mean.std(ddof=1)', 'mean.std(ddof=0)'),
      ('wrong order', '(0.25, 0.5, 0.75)', '(0.75, 0.5, 0.25)'),
      (
        'wrong mask',
        'runs, is_exact = by_estimate[index][ran],',
        'runs, is_exact = by_estimate[index][judged[i, j]],',
        f'{_STOPPED} -k statistics',
      ),
      (
        'min for max',
        'on_target.idxmin()',
        'on_target.idxmax()',
        'tests/results/test_findings.py',
      ),
      (
        'min for max',
        'others.idxmax()',
        'others.idxmin()',
        'tests/results/test_findings.py',
      ),
      (
        'dropped term',
        "gaps = median.sub(bayes, axis='index')",
        'gaps = median',
        'tests/results/test_findings.py',
      ),
    ),
    _of(
      'results.evidence',
      'tests/results/test_evidence.py -k "not processes"',
      ('wrong axis', 'regrets.mean(0)', 'regrets.mean(1)'),
      ('wrong axis', 'x in regrets.mean(-1)]', 'x in regrets.mean(0)]'),
      (
        'wrong freedom',
        'of_sequences.std(ddof=1)',
        'of_sequences.std(ddof=0)',
      ),
      ('min for max', '.date.max()', '.date.min()'),
      ('stale state', "keep='last'", "keep='first'"),
      (
        'ignored argument',
        'for name in MEASURED:',
        'for name in MEASURED[:1]:',
      ),
      ('wrong mask', 'chosen &= (table', 'chosen |= (table'),
      (
        'wrong mask',
        'numbers = measured(values[which[i]])',
        'numbers = measured(values)',
        f'{_STOPPED} -k claims',
      ),
    ),
    _of(
      'results.losses',
      'tests/results/test_evidence.py tests/studies/test_paper_figures.py '
      '-k losses',
      ('wrong mask', '(rows.repetitions > 0)', '(rows.repetitions >= 0)'),
      (
        'wrong reference',
        "    reference='bayes',\n    estimator",
        '    estimator',
      ),
      (
        'wrong step',
        'rows[rows.step == steps[0]]',
        'rows[rows.step == steps[1]]',
      ),
      ('min for max', ".mean('repetition')", ".min('repetition')"),
      (
        'wrong task',
        'dataset.cumulative_regret.sel(\n    eval_task=target, reference=',
        'dataset.cumulative_regret.isel(eval_task=0).sel(\n    reference=',
        f'{_STOPPED} -k statistics',
      ),
    ),
    _of(
      'torsos.transformer',
      _TRANSFORMER,
      (
        'wrong mask',
        'np.tri(last - first, last, first, dtype=bool)',
        'np.tri(last - first, last, dtype=bool)',
        _EQUATIONS,
      ),
      (
        'wrong mask',
        'np.tri(last - first, last, first, dtype=bool)',
        'np.tri(last - first, last, first + 1, dtype=bool)',
      ),
      (
        'min for max',
        'jnp.maximum(scores.max(-1), past)',
        'jnp.minimum(scores.max(-1), past)',
        f'{_TORSOS} -k scores',
      ),
      (
        'dropped term',
        'total = weights.sum(-1) + of_past * total',
        'total = weights.sum(-1)',
      ),
      (
        'dropped term',
        'weights @ value + of_past[..., None] * attended',
        'weights @ value',
      ),
      (
        'wrong unit',
        'query = query / math.sqrt(size)',
        'query = query / math.sqrt(width)',
        _EQUATIONS,
      ),
      (
        'dropped term',
        "x = x + _layers.dense(width, 'attention_output', fast)(attended)",
        "x = _layers.dense(width, 'attention_output', fast)(attended)",
        _EQUATIONS,
      ),
      (
        'dropped term',
        'x = x + _layers.mlp(y, options.mlp, hidden, fast)',
        'x = _layers.mlp(y, options.mlp, hidden, fast)',
        _EQUATIONS,
      ),
      (
        'missing bias',
        "y = options.normed(x, 'mlp_norm')",
        "y = options.normed(x, 'mlp_norm', use_bias=False)",
        _EQUATIONS,
      ),
      (
        'shifted by a position',
        "self.coding(len(state[0]['key']), *x.shape)",
        "self.coding(len(state[0]['key']) - 1, *x.shape)",
        _EQUATIONS,
      ),
      (
        'stale state',
        "self.coding(len(state[0]['key']), *x.shape)",
        'self.coding(0, *x.shape)',
      ),
      (
        'shifted by a position',
        "start, width = len(state[0]['key']), rows.shape[-1]",
        'start, width = 0, rows.shape[-1]',
      ),
      (
        'off by one',
        'jnp.arange(total, dtype=jnp.int32) < position',
        'jnp.arange(total, dtype=jnp.int32) <= position',
      ),
      ('stale state', "'count': count + 1}", "'count': count}"),
      (
        'wrong unit',
        '(-np.arange(0, width, 2) / width)',
        '(-np.arange(0, width, 2) / 2 / width)',
        f'{_TORSOS} -k sinusoids',
      ),
      (
        'wrong index',
        "jnp.einsum('h...d,phd->h...p', query, past_key)",
        "jnp.einsum('h...d,phd->h...p', query, past_value)",
      ),
      (
        'wrong index',
        'jnp.repeat(x, shared, axis)',
        'jnp.concatenate([x] * shared, axis)',
        _EQUATIONS,
      ),
      (
        'wrong sign',
        'distances = places[None] - places[first:, None]',
        'distances = places[first:, None] - places[None]',
        _EQUATIONS,
      ),
      (
        'shifted by a position',
        'distances = places.reshape(*(1,) * len(shape), -1) - coding',
        'distances = places.reshape(*(1,) * len(shape), -1) - coding - 1',
      ),
      (
        'wrong condition',
        "options.output_norm == 'last' and not self.is_last",
        "options.output_norm == 'last'",
        _EQUATIONS,
      ),
      (
        'stale state',
        'coding[count][None]',
        'coding[0][None]',
      ),
    ),
    _of(
      'torsos._layers',
      _EQUATIONS,
      ('wrong sign', 'cos - second * sin', 'cos + second * sin'),
      (
        'swapped arguments',
        'first, second = jnp.split',
        'second, first = jnp.split',
      ),
      ('wrong unit', 'np.exp2(-8 * powers)', 'np.exp(-8 * powers)'),
      (
        'dropped term',
        "activation(dense(hidden, 'mlp_gate', fast)(x)) * y",
        "activation(dense(hidden, 'mlp_gate', fast)(x))",
      ),
      (
        'wrong index',
        "activation(dense(hidden, 'mlp_gate', fast)(x)) * y",
        "dense(hidden, 'mlp_gate', fast)(x) * activation(y)",
      ),
      (
        'missing bias',
        'jax.nn.softplus(x + jnp.broadcast_to(bias, x.shape))',
        'jax.nn.softplus(x)',
        _SELECTIVE,
      ),
    ),
    _of(
      'torsos.lstm',
      _LSTM,
      (
        'swapped arguments',
        '    cell = f * cell + i * g',
        '    cell = i * cell + f * g',
      ),
      (
        'dropped term',
        'to_cell * cell * f * (1 - f)',
        'to_cell * cell * (1 - f)',
      ),
      (
        'dropped term',
        'to_cell = to_cell + to_hidden * o',
        'to_cell = to_hidden * o',
      ),
      (
        'shifted by a position',
        'jnp.concatenate([start[None], outputs])[: len(outputs)]',
        'outputs',
      ),
      ('swapped arguments', "_GATES = 'ifgo'", "_GATES = 'igfo'"),
    ),
    _of(
      'torsos._cells',
      _LSTM,
      ('missing bias', " + first['bias'][None]", ''),
      (
        'missing bias',
        "(hidden @ layer['input'] + bias)",
        "(hidden @ layer['input'])",
      ),
      ('wrong index', 'initial_carry=state[i]', 'initial_carry=state[0]'),
    ),
    _of(
      'torsos.gru',
      _GRU,
      (
        'swapped arguments',
        'hidden = (1 - z) * n + z * hidden',
        'hidden = z * n + (1 - z) * hidden',
      ),
      (
        'dropped term',
        'to_r = to_n * inner * r * (1 - r)',
        'to_r = to_n * r * (1 - r)',
      ),
      ('dropped term', '[to_r, to_z, to_n * r]', '[to_r, to_z, to_n]'),
    ),
    _of(
      'torsos._diagonal',
      _GRADIENTS,
      (
        'wrong sign',
        'a[0] * b[0] - a[1] * b[1], a[0]',
        'a[0] * b[0] + a[1] * b[1], a[0]',
        f'{_RECURRENCE} equations',
      ),
      ('wrong sign', 'else (a[0], -a[1])', 'else (a[0], a[1])'),
      (
        'off by one',
        'x, jnp.maximum(number - 1, 0), keepdims=False',
        'x, number, keepdims=False',
      ),
      (
        'shifted by a position',
        'jnp.concatenate([x[1:], x[:1]])[::-1] for x in decay',
        'x[::-1] for x in decay',
      ),
      (
        'mean for sum',
        'x.sum(0, keepdims=True) for x in to_decay',
        'x.mean(0, keepdims=True) for x in to_decay',
      ),
    ),
    _of(
      'torsos._convolution',
      'tests/torsos/test_convolution.py',
      ('wrong order', 'kernel[k][None]', 'kernel[-1 - k][None]'),
      ('stale state', 'inputs[length:]', 'inputs[: len(state)]'),
    ),
    _of(
      'torsos._stack',
      f'{_ATTENTION} equations',
      ('dropped term', '    x = x + y\n', '    x = y\n'),
      ('stale state', '      projected = None\n', ''),
      (
        'stale state',
        'jax.lax.index_in_dim(states, -1, num_axes',
        'jax.lax.index_in_dim(states, 0, num_axes',
        f'{_RECURRENCE} equations',
      ),
      (
        'stale state',
        'return state | {_OFFSET: offset}',
        'return state',
        'tests/torsos/test_offset.py -k "equations and gated"',
      ),
    ),
    _of(
      'torsos._chunks',
      f'{_CHUNKS} "steps and strong"',
      (
        'stale state',
        'jnp.outer(now.change, now.probe @ state)',
        'jnp.outer(now.change, now.probe @ new)',
      ),
      (
        'wrong mask',
        'ratios[:-1, 1:] if before else ratios[1:, 1:]',
        'ratios[1:, 1:]',
      ),
      (
        'wrong sign',
        '-products(now.probe, now.change, before=True)',
        'products(now.probe, now.change, before=True)',
      ),
      (
        'wrong mask',
        'np.tri(size, k=-1 if before else 0, dtype=bool)',
        'np.tri(size, dtype=bool)',
        f'{_CHUNKS} "steps and rows"',
      ),
      (
        'lost digits',
        'middle = logs[(size + 1) // 2][None]',
        'middle = logs[:1]',
        f'{_CHUNKS} bears',
      ),
    ),
    _of(
      'torsos.linear_attention',
      f'{_ATTENTION} equations',
      ('dropped term', 'return nn.elu(x) + 1', 'return nn.elu(x)'),
      (
        'wrong function',
        "jax.nn.silu(_chunks.heads_last(heads['gate'])) * y",
        "_chunks.heads_last(heads['gate']) * y",
      ),
      (
        'wrong index',
        "'normaliser': end[..., -1]",
        "'normaliser': end[..., 0]",
      ),
      (
        'wrong frame',
        "_chunks.read(heads['query'], state['offset'])",
        "_chunks.read(inputs.query, state['offset'])",
        'tests/torsos/test_offset.py -k "equations and linear_attention"',
      ),
    ),
    _of(
      'torsos.linear_recurrence',
      f'{_RECURRENCE} equations',
      ('dropped term', "y = 2 * y if self.variant == 's5' else y\n", 'y = y\n'),
      (
        'wrong sign',
        'inverse = real / squared, -imaginary / squared',
        'inverse = real / squared, imaginary / squared',
      ),
      (
        'wrong unit',
        'jnp.expm1(-2 * jnp.exp(decay))',
        'jnp.expm1(-jnp.exp(decay))',
        f'{_RECURRENCE} starts',
      ),
    ),
    _of(
      'torsos.hybrid',
      f'{_HYBRID} "attention_against"',
      (
        'wrong unit',
        '-jnp.expm1(2 * log_a)',
        '-jnp.expm1(log_a)',
        f'{_HYBRID} recurrent_blocks',
      ),
      (
        'wrong index',
        "'grw,wgd->grd', shares, seen['value']",
        "'grw,wgd->grd', shares, seen['key']",
      ),
      (
        'off by one',
        '(behind >= 0) & (behind <= past)',
        '(behind >= 0) & (behind < past)',
        f'{_HYBRID} blocks_of_queries',
      ),
      (
        'shifted by a position',
        'turns[past:, None, None]',
        'turns[:length, None, None]',
        f'{_HYBRID} blocks_of_queries',
      ),
    ),
    _of(
      'torsos.selective_ssm',
      _SELECTIVE,
      ('dropped term', 'steps[..., None] * x,', 'x,'),
      ('swapped arguments', 'x, keys, queries = ', 'x, queries, keys = '),
    ),
    _of(
      'torsos.gated_delta',
      'tests/torsos/test_gated_delta.py -k equations',
      (
        'dropped term',
        '-jnp.exp(log_decay)[..., None] * written',
        '-written',
      ),
      (
        'dropped term',
        '(query, written, value, log_decay, key, change)',
        '(query, key, value, log_decay, key, change)',
      ),
    ),
    _of(
      'torsos.mlstm',
      f'{_MLSTM} cell_against',
      ('dropped term', 'jnp.abs(outputs[..., -1])', 'outputs[..., -1]'),
      (
        'min for max',
        'now = jnp.maximum(kept, log_i)',
        'now = jnp.minimum(kept, log_i)',
      ),
      (
        'wrong gradient',
        "jnp.exp(state['stabiliser'] - begin)",
        'jnp.exp(begin - begin)',
        f'{_MLSTM} stabiliser_changes',
      ),
      (
        'wrong unit',
        'weighted + least[..., None] * offset',
        'weighted + offset',
        'tests/torsos/test_offset.py -k "equations and mlstm"',
      ),
    ),
    _of(
      'torsos.rwkv7',
      'tests/torsos/test_rwkv7.py -k equations',
      (
        'shifted by a position',
        'joined[..., :-1, :], joined[..., -1, :]',
        'joined[..., 1:, :], joined[..., -1, :]',
      ),
      (
        'wrong sign',
        "'change': -heads['change'] * probe",
        "'change': heads['change'] * probe",
      ),
      ('dropped term', 'y + _chunks.heads_last(bonus)', 'y'),
    ),
    _of(
      'torsos._fast',
      f'{_TORSOS} -k derivatives_are_jax',
      ('dropped term', ' * (1 - t**2) * inner', ' * (1 - t**2)'),
      ('wrong constant', '1 + 3 * _CUBIC', '1 + _CUBIC'),
      (
        'wrong index',
        'to_x = jnp.matmul(g, w.T',
        'to_x = jnp.matmul(g, 2 * w.T',
      ),
      (
        'dropped term',
        'positions[None] * vocab_size + tokens',
        'positions[None] * 0 + tokens',
        _TRANSFORMER,
      ),
    ),
    _of(
      'predictors',
      _PREDICTORS,
      (
        'missing embedding',
        'start = self.embedding(jnp.zeros((1, self.vocab_size), jnp.float32))',
        'start = jnp.zeros((1, self.embedding_dim), jnp.float32)',
      ),
      (
        'shifted by a position',
        'rows = jax.nn.one_hot(tokens[:-1], self.vocab_size',
        'rows = jax.nn.one_hot(tokens[1:], self.vocab_size',
      ),
      ('wrong index', "{'output': y[-1], 'torso'", "{'output': y[0], 'torso'"),
      (
        'missing bias',
        "embedding['kernel'] + embedding['bias'][None]",
        "embedding['kernel']",
        f'{_TORSOS} -k "lstm and not mlstm and fast_path_is"',
      ),
      (
        'shifted by a position',
        'self.torso.read(table, tokens[:, :-1])',
        'self.torso.read(table, tokens[:, 1:])',
        f'{_TORSOS} -k "lstm and not mlstm and fast_path_is"',
      ),
      (
        'stale state',
        "output = jnp.concatenate([state['output'][None], y])[-1]",
        "output = jnp.concatenate([state['output'][None], y])[0]",
        f'{_TORSOS} -k "lstm and not mlstm and steps"',
      ),
      (
        'off by one',
        'log_probs[reading.count]',
        'log_probs[reading.count - 1]',
        f'{_PRIORS} -k "switching and steps"',
      ),
      (
        'key used twice',
        'jax.random.fold_in(key, number), log_probs',
        'jax.random.clone(key), log_probs',
        'tests/test_api.py -k "likely and coins"',
      ),
    ),
    _of(
      'tuners._initial',
      f'{_TUNERS} -k "initialisations or one_hot or equally"',
      (
        'off by one',
        '(self.length,), 0, vocab_size',
        '(self.length,), 0, vocab_size - 1',
      ),
      (
        'off by one',
        'rows_shape, 0, width, jnp',
        'rows_shape, 0, width - 1, jnp',
      ),
      (
        'ignored argument',
        'return self.scale * jax.random.normal',
        'return jax.random.normal',
      ),
      (
        'dropped term',
        'jnp.float32, -self.scale, self.scale',
        'jnp.float32, 0.0, self.scale',
      ),
      (
        'key used twice',
        'self._tokens(token_key, vocab_size)',
        'self._tokens(value_key, vocab_size)',
        f'{_TUNERS} -k jit_and_vmap',
      ),
      (
        'ignored argument',
        'if self.tokens is not None:',
        'if False:',
        f'{_TUNERS} -k "tokens_that_are_given"',
      ),
    ),
    _of(
      'tuners.prefix',
      f'{_TUNERS} -k "forms or nine or one_hot"',
      (
        'wrong function',
        '  lambda predictor, params, z: predictor.embed(params, z),',
        '  lambda predictor, params, z: predictor.embed(\n'
        '      params, jax.nn.softmax(z)\n    ),',
      ),
      ('wrong axis', 'jax.nn.softmax(z)', 'jax.nn.softmax(z, axis=0)'),
      ('wrong constant', '_TOKEN_MASS = 0.9', '_TOKEN_MASS = 0.5'),
      (
        'off by one',
        '(1 - _TOKEN_MASS) / (rows.shape[-1] - 1)',
        '(1 - _TOKEN_MASS) / rows.shape[-1]',
      ),
    ),
    _of(
      'tuners.hard_prefix',
      f'{_TUNERS} -k "all_prefixes or equally"',
      (
        'wrong order',
        'np.arange(length - 1, -1, -1)',
        'np.arange(length)',
      ),
      (
        'off by one',
        'key, (length,), 0, predictor.vocab_size, jnp.int32',
        'key, (length,), 0, predictor.vocab_size - 1, jnp.int32',
      ),
    ),
    _of(
      'tuners._search',
      'tests/training/test_search.py',
      (
        'off by one',
        'return budget // cost, stages, has_slopes',
        'return budget // cost + 1, stages, has_slopes',
        'tests/training/test_search.py -k budget',
      ),
      (
        'stale state',
        "| {'seen': seen, 'round': memory['round'] + 1}",
        "| {'round': memory['round'] + 1}",
        'tests/training/test_search.py -k twice',
      ),
      (
        'dropped term',
        "'loss': jnp.where(stuck, jnp.inf, memory['loss'])",
        "'loss': jnp.full_like(memory['loss'], jnp.inf)",
        'tests/training/test_search.py -k gets_no_worse',
      ),
      (
        'sign',
        'order = jnp.argsort(losses, stable=True)',
        'order = jnp.argsort(-losses, stable=True)',
        'tests/training/test_search.py -k beam_keeps',
      ),
      (
        'wrong mask',
        'losses = jnp.where(again.any(1), jnp.inf, losses)',
        'losses = jnp.where(again.any(0), jnp.inf, losses)',
        'tests/training/test_search.py -k beam_keeps',
      ),
    ),
    _of(
      'tuners.lora',
      f'{_TUNERS} -k lora',
      ('ignored argument', 'scale * (factor', '(factor'),
      (
        'key used twice',
        'keys.stream(key, path), kernel',
        'jax.random.clone(key), kernel',
      ),
    ),
    _of(
      'tuners._matrices',
      f'{_TUNERS} -k "lora or rank"',
      (
        'dropped term',
        '(math.sqrt(rank) if rank_stabilised else rank)',
        '(math.sqrt(rank) if rank_stabilised else 1)',
      ),
      (
        'ignored argument',
        '(math.sqrt(rank) if rank_stabilised else rank)',
        'rank',
      ),
      (
        'wrong unit',
        'jnp.sqrt(jnp.float32(fan_in))',
        'jnp.sqrt(jnp.float32(fan_out))',
      ),
      ('off by one', 'rank > min(', 'rank > 1 + min('),
    ),
    _of(
      'tuners.dora',
      f'{_TUNERS} -k dora',
      ('wrong axis', 'matrix**2, axis=0', 'matrix**2, axis=1'),
      ('dropped term', '2 * kernel + update', '2 * kernel'),
      ('wrong sign', 'magnitude[None] - growth', 'magnitude[None] + growth'),
      ('ignored argument', 'if constant_norm:', 'if True:'),
    ),
    _of(
      'tuners.vera',
      f'{_TUNERS} -k vera',
      ('key used twice', "'vera', name)", "'vera')"),
      ('dropped term', "a * tuned['d'][None]", 'a'),
      ('wrong unit', 'math.sqrt(6 / fan_in)', 'math.sqrt(6 / fan_out)'),
    ),
    _of(
      'tuners.ia3',
      f'{_TUNERS} -k ia3',
      (
        'wrong side',
        "('inputs', 'input_patterns', input_patterns, 0)",
        "('inputs', 'input_patterns', patterns, 0)",
      ),
      ('dropped term', "frozen[bias] * scales['outputs']", 'frozen[bias]'),
    ),
    _of(
      'tuners.weights',
      f'{_TUNERS} -k "full_weights or whole_names"',
      ('wrong side', "if start == 'random':", "if start == 'given':"),
      (
        'ignored argument',
        'trees.select(params, patterns)',
        "trees.select(params, ('*',))",
      ),
    ),
    _of(
      'tuners.state',
      f'{_TUNERS} -k state_tuning',
      (
        'ignored argument',
        'length, init, init_scale, tokens)',
        'length, "one_hot", init_scale)',
        f'{_TUNERS} -k "state_tuning or tokens_that_are_given"',
      ),
    ),
    _of(
      'tuners.deep_prefix',
      f'{_TUNERS} -k "deep or prefix_starts_from"',
      (
        'stale state',
        'jnp.concatenate([first[path], leaf])',
        'jnp.concatenate([leaf[:1], leaf])',
      ),
      ('off by one', '[len(first[path]) :]', '[: -len(first[path])]'),
      ('wrong axis', 'np.cumsum(widths)[:-1], axis=1', 'len(widths), axis=1'),
      ('wrong function', 'nn.tanh(', 'nn.relu('),
    ),
    _of(
      'tuners.state_offset',
      'tests/torsos/test_offset.py -k same',
      (
        'ignored argument',
        'predictor.start(params, tunable)',
        'predictor.start(params)',
        f'{_TUNERS} -k "gradient and offset"',
      ),
    ),
    _of(
      'dynamics.transfer',
      'tests/dynamics/test_transfer.py -k "not files"',
      (
        'wrong side',
        'used_on, int(repetition), step',
        'labels[2], int(repetition), step',
      ),
      (
        'wrong estimator',
        'self._lab.estimates(self._lab.target)[1]',
        "'sampled'",
      ),
      ('wrong side', 'networks[~is_own & is_tuned]', 'networks[is_own]'),
    ),
    _of(
      'tuners.compose',
      f'{_TUNERS} -k composition_binds',
      (
        'wrong order',
        '[name for name in effects if name not in prompts] + prompts',
        '[*effects]',
      ),
      (
        'stale state',
        'params, state = inner[name].bind(',
        '_, state = inner[name].bind(',
      ),
      (
        'all for any',
        'random=any(tuner.random',
        'random=all(tuner.random',
        f'{_TUNERS} -k composition_is_random',
      ),
    ),
    _of(
      'tuners.clipped_with_all',
      f'{_TUNERS} -k clip_over',
      (
        'dropped term',
        '(copy - jax.lax.stop_gradient(copy))',
        'copy',
      ),
      (
        'wrong mask',
        "if not hasattr(tuned.get(path), 'shape')",
        "if hasattr(tuned.get(path), 'shape')",
      ),
    ),
    _of(
      'training.fit',
      f'{_FIT} -k is_adam',
      (
        'wrong order',
        'optax.clip_by_global_norm(settings.clip_norm), optax.adam(schedule)',
        'optax.adam(schedule), optax.clip_by_global_norm(settings.clip_norm)',
      ),
      (
        'wrong clip',
        'optax.clip_by_global_norm(settings.clip_norm)',
        'optax.clip(settings.clip_norm)',
      ),
      (
        'wrong clip',
        'optax.clip_by_global_norm(settings.clip_norm)',
        'optax.clip_by_block_rms(settings.clip_norm)',
      ),
      (
        'wrong key',
        "keys.stream(key, 'data', repetition, step)",
        "keys.stream(key, 'data', repetition)",
      ),
      (
        'wrong key',
        "keys.stream(key, 'data', repetition, step)",
        "keys.stream(key, 'data', step)",
      ),
      (
        'wrong key',
        "keys.stream(key, 'init', repetition)",
        "keys.stream(key, 'init')",
        f'{_FIT} -k stream_of_its_own',
      ),
      (
        'wrong step',
        'steps = first_step + jnp.arange',
        'steps = jnp.arange',
      ),
      (
        'off by one',
        '0, num_steps, body, (tuple(old)',
        '0, len(tokens), body, (tuple(old)',
      ),
      (
        'wrong unit',
        'max(settings.num_steps, 1))',
        'max(2 * settings.num_steps, 1))',
        f'{_FIT} -k cosine_schedule_ends',
      ),
      (
        'wrong mask',
        'jnp.where(alive, a, b), new, old)',
        'a, new, old)',
        f'{_FIT} -k overflows',
      ),
      (
        'stale state',
        '      alive &= finite\n',
        '',
        f'{_FIT} -k overflows',
      ),
      (
        'ignored argument',
        'settings.num_steps if problem.tuner.trainable else 0',
        'settings.num_steps',
        f'{_FIT} -k "every_tuner and random"',
      ),
      (
        'ignored argument',
        'k, (), 0, sampling.num_sequences, jnp.int32',
        'k, (), 0, 2**20, jnp.int32',
        f'{_FIT} -k fixed_sample',
      ),
      (
        'ignored argument',
        'return Runs(indices, np.broadcast_to(rates, indices.shape))',
        'return Runs(indices, np.broadcast_to(rates.flat[:1], indices.shape))',
        f'{_FIT} -k grid_of_rates',
      ),
    ),
    _of(
      'training.search',
      'tests/training/test_search.py',
      ('min for max', 'return np.argmin(', 'return np.argmax('),
      (
        'wrong mask',
        'np.where(np.isnan(losses), np.inf, losses)',
        'losses',
        'tests/training/test_search.py -k nan',
      ),
      (
        'off by one',
        'np.asarray(scored)[: total - first]',
        'np.asarray(scored)',
        'tests/training/test_search.py -k "blocks or progress"',
      ),
      (
        'sum for mean',
        'found.reshape(tokens.shape[:2]).mean(-1)',
        'found.reshape(tokens.shape[:2]).sum(-1)',
        'tests/training/test_search.py -k common',
      ),
      (
        'wrong key',
        "keys.stream(key, 'search', repetition)",
        "keys.stream(key, 'search')",
        'tests/training/test_search.py -k repetitions',
      ),
      (
        'wrong key',
        "keys.stream(key, 'propose', repetition, number)",
        "keys.stream(key, 'propose', number, number)",
        'tests/training/test_search.py -k bit_for_bit',
      ),
      (
        'sign',
        'best = jnp.argsort(sums, stable=True)',
        'best = jnp.argsort(-sums, stable=True)',
        'tests/training/test_search.py -k stage',
      ),
      (
        'off by one',
        'range(done // plan.block + 1, plan.rounds + 1)',
        'range(done // plan.block, plan.rounds + 1)',
        'tests/training/test_search.py -k "bit_for_bit or scores_what"',
      ),
      (
        'ignored argument',
        '(predictor.read(context, draws), draws, positions)',
        '(predictor.read(context, draws), draws)',
        'tests/training/test_search.py -k slopes',
      ),
      (
        'ignored argument',
        'settings.num_sequences or num_draws',
        'num_draws',
        'tests/training/test_search.py -k fixed',
      ),
      (
        'ignored argument',
        '    settings.num_sequences > 0,',
        '    False,',
        'tests/training/test_search.py -k fixed',
      ),
    ),
    _of(
      'training.blocks',
      'tests/training/test_blocks.py',
      (
        'wrong unit',
        'losses(context, rows), 0).sum() / total',
        'losses(context, rows), 0).sum() / (count * block)',
      ),
      (
        'off by one',
        '(np.arange(count * block) < total)',
        '(np.arange(count * block) <= total)',
      ),
      ('dropped term', 'scale.astype(g.dtype) * g', 'g'),
      ('off by one', '*x.shape[2:])[:total]', '*x.shape[2:])'),
      (
        'min for max',
        'max(1, min(wanted or preferred, total))',
        'max(1, wanted or preferred)',
      ),
      (
        'ignored argument',
        'total if elsewhere is None else elsewhere',
        'total',
      ),
    ),
    _of(
      'training.mesh',
      'tests/training/test_mesh.py -k "not eight"',
      (
        'dropped term',
        'available // max(data_devices, 1), runs',
        'available, runs',
      ),
      (
        'dropped term',
        'math.gcd(available // repetition, batch_size)',
        'math.gcd(available, batch_size)',
      ),
      (
        'swapped arguments',
        'repetition_devices, data_devices = 1, 0',
        'repetition_devices, data_devices = 0, 1',
      ),
      (
        'sum for mean',
        "jax.lax.pmean(tree, 'data')",
        "jax.lax.psum(tree, 'data')",
        'tests/training/test_mesh.py -k "eight and lstm"',
      ),
      (
        'wrong index',
        "jax.lax.axis_index('data') * size",
        "jax.lax.axis_index('data') * 0",
        'tests/training/test_mesh.py -k "eight and lstm"',
      ),
    ),
    _of(
      'task_priors._dirichlet',
      _contract('dirichlet_categorical'),
      (
        'dropped term',
        'weight = alpha.astype(counts.dtype) + counts\n',
        'weight = alpha.astype(counts.dtype) + 0 * counts\n',
      ),
      (
        'off by one',
        '(digamma(total + 1) - digamma(weight + 1))',
        '(digamma(total) - digamma(weight + 1))',
      ),
      (
        'dropped term',
        'rises.sum(-1) - _log_rise(total, seen, unit)[..., 0]',
        'rises.sum(-1)',
      ),
      ('sign', '(b - 0.5) * jnp.log1p(c / b)', '(b + 0.5) * jnp.log1p(c / b)'),
      (
        'wrong mask',
        'jax.nn.log_softmax(jnp.where(occurs, gammas, -jnp.inf))',
        'jax.nn.log_softmax(gammas)',
      ),
    ),
    _of(
      'task_priors._exchangeable',
      _contract('dirichlet_categorical'),
      (
        'shifted by a position',
        'jnp.cumsum(seen, axis=0) - seen',
        'jnp.cumsum(seen, axis=0)',
      ),
      (
        'stale state',
        'before = counts[None] + jnp',
        'before = 0 * counts[None] + jnp',
      ),
      ('wrong axis', 'jnp.cumsum(seen, axis=0)', 'jnp.cumsum(seen, axis=1)'),
    ),
    _of(
      'task_priors._markov',
      _contract('dirichlet_markov'),
      (
        'wrong order',
        'dtype=np.int32)[::-1]',
        'dtype=np.int32)',
        'tests/task_priors/test_markov_priors.py -k order_two',
      ),
      (
        'wrong mask',
        'known = labels[..., 0] >= 0',
        'known = labels[..., -1] >= 0',
      ),
      (
        'dropped term',
        'log_evidence(counts) - first * math.log(vocab_size)',
        'log_evidence(counts)',
      ),
      (
        'wrong mask',
        'jnp.where(known, entropy, math.log(vocab_size))',
        'entropy',
        'tests/task_priors/test_markov_priors.py -k ignores_its_first',
      ),
    ),
    _of(
      'task_priors._mixture',
      _contract('categorical_mixture'),
      (
        'lost digits',
        'jnp.where(largest > -jnp.inf, largest, 0.0)',
        '0 * jnp.where(largest > -jnp.inf, largest, 0.0)',
        f'{_LONG} -k large_counts',
      ),
      (
        'lost digits',
        'jnp.where(relative_to > -jnp.inf, relative_to, 0.0)',
        '0 * jnp.where(relative_to > -jnp.inf, relative_to, 0.0)',
        f'{_LONG} -k "digits and pool"',
      ),
      ('shifted by a position', 'gains[:-1]]), axis=0', 'gains[1:]]), axis=0'),
      (
        'wrong unit',
        'jnp.exp(log_posterior(joint)) * values',
        'log_posterior(joint) * values',
      ),
      (
        'ignored argument',
        'jnp.where(jnp.expand_dims(counted, -1), gains, 0.0)',
        'jnp.where(True, gains, 0.0)',
        _contract('markov_mixture'),
      ),
    ),
    _of(
      'task_priors._tables',
      _contract('dirichlet_markov'),
      ('wrong mask', 'jnp.where(position < k,', 'jnp.where(position < 1,'),
      (
        'wrong index',
        'return (context * vocab_size + token) % rows,',
        'return (context + token * vocab_size) % rows,',
      ),
    ),
    _of(
      'task_priors.categorical_mixture',
      f'{_PRIORS} -k enumeration_of_its',
      (
        'ignored argument',
        'log_weights = np.log(mass)',
        'log_weights = np.log(np.ceil(mass) / np.ceil(mass).sum())',
      ),
    ),
    _of(
      'task_priors.dirichlet_categorical',
      f'{_PRIORS} -k "impossible or dirichlet_categorical and one_pass"',
      (
        'wrong mask',
        'jnp.where(impossible, -jnp.inf, _dirichlet.log_mean(alpha, counts))',
        '_dirichlet.log_mean(alpha, counts)',
      ),
    ),
    _of(
      'task_priors.switching',
      f'{_STRUCTURED} -k "switching and segmentations"',
      ('dropped term', 'log_weights + log_stays', 'log_weights'),
      (
        'off by one',
        'starts[:, None] < position',
        'starts[:, None] <= position',
      ),
      (
        'shifted by a position',
        'log_weights += of_runs[:, token]',
        'log_weights += of_runs[:, 0]',
      ),
    ),
    _of(
      'task_priors.hmm_mixture',
      f'{_STRUCTURED} -k hidden_paths',
      (
        'wrong axis',
        'now[..., None] + models.transitions, axis=1',
        'now[:, None] + models.transitions, axis=2',
      ),
      (
        'dropped term',
        'log_weights[:, None] + models.initial',
        '0 * log_weights[:, None] + models.initial',
      ),
    ),
    _of(
      'task_priors.context_tree',
      f'{_STRUCTURED} -k "all_trees or kept_odds"',
      (
        'sign',
        'mixtures[1:, token] - of_nodes[:-1, token]',
        'of_nodes[:-1, token] - mixtures[1:, token]',
      ),
      ('sign', 'log_splits - log_stops, jnp', 'log_stops - log_splits, jnp'),
      (
        'off by one',
        'known = tree.seen == depth',
        'known = tree.seen >= depth - 1',
      ),
    ),
    _of(
      'task_priors.demonstrations',
      f'{_PRIORS} -k demonstrations',
      ('off by one', 'num) * length\n', 'num - 1) * length\n'),
      ('stale state', 'at, state = end, prior.prefill(none)', 'at = end'),
      (
        'wrong mask',
        'tuple(before + position',
        'tuple(before - 1 + position',
      ),
    ),
    _of(
      'task_priors.imitation',
      f'{_PRIORS} -k "imitator or imitation and one_pass"',
      ('off by one', 'range(1, 2 * length, 2)', 'range(0, 2 * length, 2)'),
      (
        'dropped term',
        "state['log_joint'] + seen.sum(0)",
        "state['log_joint']",
      ),
      (
        'stale state',
        'line[:-1] * size + line[1:]',
        'line[1:] * size + line[1:]',
      ),
      (
        'wrong axis',
        'tables.swapaxes(0, 1)[None]',
        'tables[:1].swapaxes(0, 1)[None]',
      ),
    ),
    _of(
      'task_priors.pseudo_tasks',
      f'{_PRIORS} -k "counted or relabelled or pseudo"',
      ('wrong side', 'back = np.argsort(names)', 'back = names'),
      ('off by one', 'if position >= order:', 'if position > order:'),
      ('ignored argument', 'if relabel else table', 'if False else table'),
      ('dropped term', ' + (1 - share) * tables[second]', ''),
    ),
    _of(
      'task_priors.union',
      f'{_contract("union")}',
      (
        'stale state',
        'log_weights.astype(np.float32) + seen.sum(0)',
        'log_weights.astype(np.float32)',
      ),
      (
        'ignored argument',
        "_mixture.log_posterior(state['log_joint'] + seen)",
        "_mixture.log_posterior(state['log_joint'])",
      ),
    ),
    _of(
      'task_priors.finite_pool',
      'tests/task_priors/test_worlds.py -k "a_pool_is or a_larger_pool"',
      (
        'key used twice',
        'jax.random.fold_in(root, m)',
        'jax.random.fold_in(root, 0 * m)',
      ),
      ('wrong key', 'root = keys.root(seed)', 'root = keys.root(0)'),
    ),
    _of(
      'theory.expectation',
      'tests/theory/test_expectation.py',
      ('dropped term', '    joint[here] *= mass[:, None]\n', ''),
      (
        'sign',
        'self.joint * -np.where(occurs, log_probs, 0.0)',
        'self.joint * np.where(occurs, log_probs, 0.0)',
      ),
      (
        'ignored argument',
        'self.values + added)',
        'self.values)',
        'tests/theory/test_hard_prefixes.py -k best_pseudo',
      ),
      (
        'lost digits',
        '(np.expm1(log_ratio) - log_ratio)\n    if not',
        '(-log_ratio)\n    if not',
      ),
      (
        'dropped term',
        '      terms += np.where(occurs, 0.0, mass * np.exp(log_probs))\n',
        '      del mass\n',
      ),
      (
        'dropped term',
        'None if losses is None else losses.bayes - losses.oracle',
        'None if losses is None else losses.bayes',
      ),
      (
        'off by one',
        'start = after(prior.statistic, prefix)',
        'start = after(prior.statistic, prefix[1:])',
      ),
      (
        'dropped term',
        'np.bincount(step, weight * entropy[occurs], length)',
        'np.bincount(step, entropy[occurs], length)',
      ),
      (
        'mean for sum',
        'float((self._losses(self.log_target) - self.oracle).sum())',
        'float((self._losses(self.log_target) - self.oracle).mean())',
      ),
    ),
    _of(
      'theory.gaps',
      'tests/theory/test_hard_prefixes.py -k "ranking or curve or every_label"',
      (
        'swapped arguments',
        'np.where(self.is_count, self.start, values)',
        'np.where(self.is_count, values, self.start)',
      ),
      (
        'ignored argument',
        'self.expectation(value).gaps(self.added(value))',
        'self.expectation(value).gaps()',
      ),
      ('wrong index', '      gaps[i] = self.gap', '      gaps[-i] = self.gap'),
    ),
    _of(
      'theory.hard_prefixes',
      'tests/theory/test_hard_prefixes.py -k "ranking or curve"',
      (
        'sign',
        'np.argsort(prompt_gaps.rounded(lost)',
        'np.argsort(-prompt_gaps.rounded(lost)',
      ),
      ('dropped term', 'lost[order] + gaps.target_regret', 'lost[order]'),
      (
        'dropped term',
        'np.bincount(which.ravel(), np.repeat(shorter.sizes, vocab_size))',
        '1.0 * np.bincount(which.ravel())',
      ),
      ('min for max', 'rounded(lost).argmin()', 'rounded(lost).argmax()'),
    ),
    _of(
      'theory.promptability',
      'tests/theory/test_promptability.py -k "certificate or out_of_support"',
      (
        'min for max',
        'return min(self.prefix_gap, self.pseudo.gap',
        'return max(self.prefix_gap, self.pseudo.gap',
      ),
      (
        'any for all',
        'possible = all(map(gaps.prior.support.covers',
        'possible = any(map(gaps.prior.support.covers',
      ),
    ),
    _of(
      'experiment.evaluation',
      'tests/experiment/test_evaluation.py',
      (
        'sign',
        'own = own - regret.token_log_probs(bayes',
        'own = own + regret.token_log_probs(bayes',
        'tests/experiment/test_evaluation.py -k closed_form',
      ),
      (
        'off by one',
        'jnp.asarray(report_steps) - 1]',
        'jnp.asarray(report_steps)]',
        'tests/experiment/test_evaluation.py -k summaries',
      ),
      (
        'wrong step',
        'cumulative=cumulative.mean(-2)',
        'cumulative=regrets.mean(-2)',
        'tests/experiment/test_evaluation.py -k summaries',
      ),
      (
        'wrong step',
        'regret.standard_error(cumulative, axis=-2)',
        'regret.standard_error(regrets, axis=-2)',
        'tests/experiment/test_evaluation.py -k summaries',
      ),
      (
        'wrong key',
        "keys.stream(lab.root, 'evaluation', name)",
        "keys.stream(lab.root, 'evaluation')",
        'tests/experiment/test_evaluation.py -k of_its_own',
      ),
      (
        'wrong step',
        'np.maximum(expected.astype(np.float32), np.float32(0))',
        'np.cumsum(expected.astype(np.float32), dtype=np.float32)',
        'tests/experiment/test_evaluation.py -k without_noise',
      ),
      (
        'ignored argument',
        'return None if same else bound, state',
        'return None, state',
        'tests/experiment/test_evaluation.py -k every_repetition',
      ),
    ),
    _of(
      'experiment.exactly',
      f'{_EXACTLY} mixture_hard',
      (
        'swapped arguments',
        '[self.own + gaps, gaps]',
        '[gaps, self.own + gaps]',
      ),
      (
        'wrong sign',
        'histories.gaps(value - start)',
        'histories.gaps(start - value)',
      ),
      (
        'wrong order',
        'np.stack(gaps)[run.ravel()]',
        'np.stack(gaps)[np.sort(run.ravel())]',
      ),
      (
        'wrong key',
        'key = prior, start.tobytes()',
        'key = start.tobytes()',
        f'{_EXACTLY} sums_of_several',
      ),
      (
        'wrong mask',
        '      or np.any(values < starts)\n',
        '',
        f'{_EXACTLY} no_tokens_leave',
      ),
      (
        'off by one',
        'if total > _MOST_VALUES:',
        'if total >= _MOST_VALUES:',
        f'{_EXACTLY} costs_too_much',
      ),
      (
        'wrong index',
        'known[method.name, reference] = regrets[..., i, :]',
        'known[method.name, reference] = regrets[..., 0, :]',
        f'{_EXACTLY} sums_replace',
      ),
    ),
    _of(
      'experiment.reorderings',
      'tests/experiment/test_reorderings.py',
      (
        'dropped term',
        'jax.nn.logsumexp(log_probs, axis=0) - jnp.log(orders)',
        'jax.nn.logsumexp(log_probs, axis=0)',
      ),
      (
        'shifted by a position',
        'predictor.read(context, tokens)[:, -1]',
        'predictor.read(context, tokens)[:, -2]',
      ),
      (
        'key used twice',
        'jax.random.permutation(k, history)',
        'jax.random.permutation(jax.random.clone(key), history)',
      ),
    ),
    _of(
      'experiment.tuning',
      'tests/experiment/test_tuning.py',
      (
        'wrong key',
        "key = keys.stream(lab.root, 'tuning', seed)",
        "key = keys.stream(lab.root, 'tuning')",
      ),
      (
        'wrong order',
        'np.repeat(method.learning_rates, inits * repetitions)',
        'np.tile(method.learning_rates, inits * repetitions)',
      ),
      (
        'wrong index',
        'fit.runs([seed], lab',
        'fit.runs([0 * seed], lab',
      ),
      (
        'wrong order',
        'fit.concatenate(starts * rates)',
        'fit.concatenate([x for x in starts for _ in range(rates)])',
      ),
      (
        'wrong task',
        'method.predictor, method.tuner, lab.priors[lab.target], lab.tuning',
        'method.predictor,\n    method.tuner,\n'
        '    lab.priors[lab.pretraining_task],\n    lab.tuning,',
      ),
    ),
    _of(
      'experiment.by_network',
      'tests/experiment/test_by_network.py',
      (
        'wrong mask',
        'measured = evidence.measured(values[counted])\n        if exact',
        'measured = evidence.measured(values[:1])\n        if exact',
        'tests/experiment/test_by_network.py -k what_counts',
      ),
      (
        'wrong reference',
        'regret.ESTIMATORS.index(estimator)',
        'regret.ESTIMATORS.index(EXACT[1])',
        'tests/experiment/test_by_network.py -k what_counts',
      ),
      (
        'wrong step',
        'zip(lab.report_steps, of.swapaxes(0, 1), strict=True)',
        'zip(lab.report_steps[::-1], of.swapaxes(0, 1), strict=True)',
        'tests/experiment/test_by_network.py -k what_counts',
      ),
      (
        'wrong mask',
        '  counted &= not network_stopped\n',
        '',
        'tests/experiment/test_by_network.py -k what_counts',
      ),
    ),
    _of(
      'experiment.fingerprint',
      'tests/experiment/test_by_network.py -k another_setting',
      (
        'ignored argument',
        "('num_repetitions', 'methods', *settings.SHARED)",
        "('methods', *settings.SHARED)",
      ),
      (
        'ignored argument',
        "      'evaluation': _sequences_of(config),\n"
        '      **_if_any(_files_of(config, names)),',
        '      **_if_any(_files_of(config, names)),',
      ),
      (
        'ignored argument',
        "config['pretraining'] | {'num_seeds': None}",
        "config['pretraining']",
      ),
      (
        'ignored argument',
        "      'pretrain_seed': seed,\n",
        '',
        f'{_RUN} -k hash_covers',
      ),
      (
        'ignored argument',
        "      'pretraining': pretraining,\n",
        '',
        f'{_RUN} -k hash_covers',
      ),
      (
        'wrong task',
        "'task': config['tasks'][task],\n      'pretraining': pretraining",
        "'task': None,\n      'pretraining': pretraining",
        f'{_RUN} -k hash_covers',
      ),
      (
        'wrong mask',
        '*(_BAYES if is_bayes else ()),',
        '*_BAYES,',
        f'{_EXACTLY} rows_of_networks',
      ),
      (
        'wrong mask',
        "said = ('report_steps', 'reorderings')",
        "said = ('report_steps',)",
        'tests/experiment/test_by_network.py -k said_of_orders',
      ),
    ),
  )
)
