"""What a prompt is worth on networks that it was not tuned on.

A prompt is tuned for one network. Networks of other pretraining seeds have the
same shapes and were trained on the same task, so it can be used on them. What
is lost says how much of the prompt was evidence about the target, which every
network takes alike, and how much was a trick on one network's weights.

A prefix can also be read as tokens: each row becomes the token with the nearest
embedding. Exact Bayes of the pretraining task takes tokens, too, and says what
they are worth as evidence.
"""

from collections.abc import Sequence
import functools
import itertools
import os
import pathlib

import jax
import jax.numpy as jnp
from matplotlib import colors as mpl_colors
from matplotlib import figure as mpl_figure
import numpy as np
import pandas as pd

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import predictors
from bayes_prompting import registry
from bayes_prompting import regret
from bayes_prompting.dynamics import probe
from bayes_prompting.experiment import build
from bayes_prompting.experiment import evaluation
from bayes_prompting.experiment import loading
from bayes_prompting.reporting import style
from bayes_prompting.system import files
from bayes_prompting.system import locks

# How a prompt is used: as it was tuned, or read as tokens.
FORMS = ('tuned', 'nearest tokens')
# Nats below which all is drawn alike.
_LEAST = 1e-3
# What uses it: a network of the run, or exact Bayes of its pretraining task.
# `TargetBayes` is the best that any predictor can do.
USERS = ('network', 'PreBayes', 'TargetBayes')
COLUMNS = (
  *('tuner', 'form', 'tuned_on', 'user', 'used_on', 'repetition'),
  *('step', 'regret', 'sem'),
)


def transfer(
  path: str | os.PathLike[str],
  methods: Sequence[str] = (),
  allow_plugins: bool = False,
) -> pd.DataFrame:
  """Uses what was tuned on each network on all networks of a finished run.

  Every regret is on the target's evaluation sequences, which are the same for
  all. Weight tuners are used as prompts are: an update that was tuned for one
  network's weights is applied to another's.

  Args:
    path: The workdir.
    methods: Those that are used; by default all that tune a network.
    allow_plugins: See `loading.load`.

  Returns:
    A row for each use and report step, with the columns `COLUMNS`. `tuned_on`
    and `used_on` are pretraining seeds, and NA where there is no network.
    `regret` is the paired regret to the oracle in nats, summed up to the step,
    mean over sequences, and `sem` is its standard error. `NoTuning` and the
    exact predictors without a prompt are among the rows. Repetitions that were
    stopped are not.

  Raises:
    UserError: If there is no such run or method, if the run is unfinished, or
      if it has a single network.
  """
  lab, folder = loading.load(path, allow_plugins)
  able = [
    name
    for name, method in lab.methods.items()
    if not method.is_bayes
    and jax.tree.leaves(build.tuned_shapes(lab, method)['tunable'])
  ]
  if lab.num_seeds < 2:
    raise errors.UserError(
      'pretraining.num_seeds: must be at least 2, networks to use a prompt on, '
      f'got {lab.num_seeds} in {str(folder.path)!r}'
    )
  for name in methods:
    checks.one_of('methods', name, able)
  with lab.precision():
    return _Uses(lab, folder).of(methods or able)


class _Uses:
  """The networks and the task of a run, and what becomes of prompts there."""

  def __init__(self, lab, folder):
    self._lab, self._folder = lab, folder
    seeds = range(lab.num_seeds)
    self._networks = [loading.pretrained(lab, folder, s) for s in seeds]
    self._bayes = {
      'PreBayes': predictors.bayesian(lab.priors[lab.pretraining_task]),
      'TargetBayes': predictors.bayesian(lab.priors[lab.target]),
    }
    self._task = evaluation.task_of(lab, lab.target)
    self._rows = []

  def of(self, methods):
    """Returns the rows of these methods, and of the references."""
    none = registry.make('tuners', 'references', {'name': 'none'})
    for name, bayes in self._bayes.items():
      self._add((name, FORMS[0], None), name, None, bayes, {}, none, {}, [0])
    for seed, params in enumerate(self._networks):
      labels = 'NoTuning', FORMS[0], seed
      network = self._lab.network
      self._add(labels, 'network', seed, network, params, none, {}, [0])
    for name in methods:
      method = self._lab.methods[name]
      for seed in method.seeds:
        self._use(method, seed)
    return pd.DataFrame(self._rows, columns=COLUMNS).astype(
      {'tuned_on': 'Int64', 'used_on': 'Int64'}
    )

  def _use(self, method, seed):
    """Uses what a method tuned on a network everywhere."""
    lab, folder = self._lab, self._folder
    tuner, tunables = loading.tuned(lab, folder, method, seed)
    counts = ~loading.stopped(lab, folder, method, seed)
    numbers = np.flatnonzero(counts)
    if not numbers.size:
      return
    tunables = jax.tree.map(lambda x: x[counts], tunables)
    labels = method.name, FORMS[0], seed
    self._on_networks(labels, tuner, tunables, numbers)
    if tuner.rows is None:
      return
    tokens = nearest_tokens(
      method.predictor, self._networks[seed], tuner, tunables
    )
    hard = registry.make(
      'tuners',
      'nearest tokens',
      {'name': 'hard_prefix', 'length': tokens.shape[1], 'choose': 'random'},
    )
    labels = method.name, FORMS[1], seed
    self._on_networks(labels, hard, tokens, numbers)
    bayes = self._bayes['PreBayes']
    self._add(labels, 'PreBayes', None, bayes, {}, hard, tokens, numbers)

  def _on_networks(self, labels, tuner, tunables, numbers):
    network = self._lab.network
    for seed, params in enumerate(self._networks):
      self._add(
        labels, 'network', seed, network, params, tuner, tunables, numbers
      )

  def _add(
    self, labels, user, used_on, predictor, params, tuner, tunables, numbers
  ):
    """Adds the rows of one use, for each repetition and step."""
    lab = self._lab
    regrets = evaluation.evaluate(
      predictor,
      params,
      tuner,
      tunables,
      self._task,
      lab.report_steps,
      mesh=lab.row_mesh(),
    )
    # The first reference is the oracle, or a universal predictor.
    estimator = regret.ESTIMATORS.index(
      self._lab.estimates(self._lab.target)[1]
    )
    means, errors_of_means = (
      np.asarray(x)[:, 0, estimator]
      for x in (regrets.cumulative, regrets.cumulative_sem)
    )
    for row, repetition in enumerate(numbers):
      for step in lab.report_steps:
        values = (float(x[row, step - 1]) for x in (means, errors_of_means))
        where = user, used_on, int(repetition), step
        self._rows.append((*labels, *where, *values))


def nearest_tokens(predictor, params, tuner, tunables) -> np.ndarray:
  """Returns the tokens [R, K] with the embeddings nearest to a prefix's rows.

  Args:
    predictor: The network that the prefix was tuned on.
    params: Its weights.
    tuner: One with `rows`.
    tunables: With a leading axis [R].
  """
  shown = jax.jit(jax.vmap(lambda x: tuner.rows(predictor, params, x)))
  tokens = np.eye(predictor.vocab_size, dtype=np.float32)
  embeddings = jax.jit(predictor.embed)(params, tokens)
  nearest = [
    probe.compare_rows(rows, embeddings)['row_nearest']
    for rows in shown(jax.tree.map(jnp.asarray, tunables))
  ]
  return np.asarray(nearest, np.int32)


def summary(table: pd.DataFrame) -> pd.DataFrame:
  """Returns what becomes of each method's prompts, a row each, in nats.

  Args:
    table: What `transfer` returned, or the rows of one step of it.

  Returns:
    By method and step, means over networks (pairs of networks) and repetitions:
    `own`, on the network that it was tuned on; `others`; `tokens`, read as
    tokens on its own network; `tokens_others`; `tokens_bayes`, by exact Bayes
    of the pretraining task. NaN for what has no rows to read. And `worst`, the
    largest mean over repetitions of a pair.
  """
  networks = table[table.user == 'network']
  is_own = (networks.tuned_on == networks.used_on).astype(bool)
  is_tuned = networks.form == FORMS[0]
  groups = ['tuner', 'step']
  bayes = table[(table.user == 'PreBayes') & (table.form == FORMS[1])]
  parts = {
    'own': networks[is_own & is_tuned],
    'others': networks[~is_own & is_tuned],
    'tokens': networks[is_own & ~is_tuned],
    'tokens_others': networks[~is_own & ~is_tuned],
    'tokens_bayes': bayes,
  }
  columns = {
    name: rows.groupby(groups, sort=False).regret.mean()
    for name, rows in parts.items()
  }
  pairs = networks[is_tuned].groupby([*groups, 'tuned_on', 'used_on'])
  worst = pairs.regret.mean().groupby(groups).max()
  together = pd.DataFrame(columns | {'worst': worst})
  return together.loc[columns['own'].index].reset_index()


@style.styled
def figure(table: pd.DataFrame, step: int) -> mpl_figure.Figure:
  """Draws a matrix for each method: tuned on a network, used on another.

  A second row of matrices is of prefixes that are read as tokens. Each number
  is the mean over repetitions of the regret in nats. Below stand the network
  without a prompt, and the exact predictors.

  Args:
    table: What `transfer` returned.
    step: One of its steps.

  Raises:
    UserError: If the table has no prompts.
  """
  rows = table[table.step == step]
  of_networks = rows[(rows.user == 'network') & (rows.tuner != 'NoTuning')]
  seeds = sorted(set(of_networks.used_on))
  matrices = {
    key: group.pivot_table('regret', 'tuned_on', 'used_on')
    .reindex(index=seeds, columns=seeds)
    .to_numpy(float)
    for key, group in of_networks.groupby(['form', 'tuner'], sort=False)
  }
  if not matrices:
    raise errors.UserError(f'table: has no prompts at step {step}')
  names = list(dict.fromkeys(name for _, name in matrices))
  forms = [x for x in FORMS if x in [form for form, _ in matrices]]
  drawn, axes = style.panels(
    len(names) * len(forms), 2.1, len(names), sharey=True
  )
  numbers = np.stack(list(matrices.values()))
  positive = numbers[np.isfinite(numbers) & (numbers > 0)]
  least = max(positive.min(initial=1.0), _LEAST)
  scale = mpl_colors.LogNorm(least, positive.max(initial=least))
  for ax, (form, name) in zip(
    axes, itertools.product(forms, names), strict=True
  ):
    matrix = matrices.get((form, name))
    if matrix is None:  # Weights have no rows to read.
      ax.axis('off')
      continue
    drawn_as = np.clip(matrix, scale.vmin, scale.vmax)  # NaN stays blank.
    image = ax.imshow(drawn_as, norm=scale, cmap='cividis_r')
    for (y, x), number in np.ndenumerate(matrix):
      if not np.isnan(number):
        color = 'white' if scale(drawn_as[y, x]) > 0.55 else 'black'
        digits = f'{number:.3g}' if number >= 10 else f'{number:.2g}'
        ax.text(x, y, digits, color=color, ha='center', va='center')
    ax.set_title(name if form == FORMS[0] else f'{name}, {form}')
    ax.set_xticks(range(len(seeds)), seeds)
    ax.set_yticks(range(len(seeds)), seeds)
  below = f'network that it is used on\n\n{_without_prompt(rows)}'
  drawn.supxlabel(below, fontsize=8)
  drawn.supylabel('network that it was tuned on', fontsize=8)
  label = f'regret after {step} tokens\nof the target, nats'
  drawn.colorbar(image, ax=list(axes), label=label, aspect=30)
  return drawn


def write(
  table: pd.DataFrame, path: str | os.PathLike[str]
) -> list[pathlib.Path]:
  """Writes `transfer.csv`, and the figure of its first step, into a workdir.

  Args:
    table: What `transfer` returned.
    path: The workdir.

  Returns:
    The paths of the files.
  """
  folder = pathlib.Path(path).expanduser()
  file = folder / 'transfer.csv'
  maker = functools.partial(figure, table, table.step.iloc[0])
  with locks.lock(folder):
    files.write_text(file, table.to_csv(index=False, float_format='%.7g'))
    return [file, *style.write_all({'transfer': maker}, folder / 'figures')]


def text(table: pd.DataFrame) -> str:
  """Returns the summary of the first step, and the references below it.

  Args:
    table: What `transfer` returned.
  """
  step = table.step.iloc[0]
  table = table[table.step == step]
  means = summary(table).drop(columns='step')
  named = means.rename(
    columns={
      'tuner': 'method',
      'tokens': 'as tokens',
      'tokens_others': 'as tokens, others',
      'tokens_bayes': 'as tokens, PreBayes',
      'worst': 'worst pair',
    }
  )
  return '\n'.join(
    [
      f'Regret on the target after {step} tokens, in nats: means over '
      'networks, or pairs of them, and repetitions.',
      named.to_string(index=False, float_format='{:.3f}'.format, na_rep=''),
      _without_prompt(table),
    ]
  )


def _without_prompt(rows):
  """Says what is lost without a prompt, given the rows of one step."""
  alone = rows[rows.form.eq(FORMS[0]) & rows.user.ne('network')]
  said = [f'{row.tuner} {row.regret:.3f}' for row in alone.itertuples()]
  network = rows[rows.tuner == 'NoTuning'].regret
  if len(network):
    said.insert(0, f'NoTuning {network.mean():.3f}')
  return f'Without a prompt (nats): {", ".join(said)}.'
