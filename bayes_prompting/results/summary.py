"""The summary of a results file: its table and its CSV."""

import json
import os
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayes_prompting import errors
from bayes_prompting.results import dataset as dataset_lib
from bayes_prompting.results import measures
from bayes_prompting.results import selection
from bayes_prompting.results import stopped
from bayes_prompting.system import files

COLUMNS = (
  'tuner',
  'eval_task',
  'step',
  'reference',
  'estimator',
  'median',
  'q25',
  'q75',
  'mean',
  'sem_sequences',
  'exact',
  'runs',
  'stopped',
  'learning_rate',
  'prefix_init',
)
EXACT = 'exact'  # Beside a regret that is no mean over sequences.
EDGE = ' (edge)'  # Beside a learning rate at the end of its grid.
FLOAT_FORMAT = '%.6g'  # Of the CSV file.


def _mean_and_sem(runs: np.ndarray) -> tuple[float, float]:
  """Returns the mean of [runs, S] and its standard error over sequences."""
  mean = runs.mean(0)
  with np.errstate(invalid='ignore'):  # The error of an infinite mean is NaN.
    sem = mean.std(ddof=1) / np.sqrt(len(mean)) if len(mean) > 1 else np.nan
  return float(mean.mean()), float(sem)


def summarize(dataset: xr.Dataset) -> pd.DataFrame:
  """Returns the summary, one row for each tuner, task, step and estimate.

  A run is a repetition on a network, and has the mean over its sequences. The
  median and the quartiles are over the `runs` that count. `sem_sequences` is
  the standard error, over sequences, of the mean over these runs. It says
  nothing of other networks, and is NaN if the mean is infinite. `stopped` runs
  are left out, see `results.stopped`; statistics are NaN if no other run is
  left. NaN beside runs that count is a fault, see `notes`. Where `exact` is
  true, the regret of each run is a closed sum and not a mean over sequences,
  whichever the estimator (`results.dataset`); the error is 0.

  Each method is at the best settings of the grid, see `selection.best`. The
  last columns say which settings these are, if the method has any.
  """
  dataset, rows = selection.choose(dataset), []
  estimates = ('report_step', 'reference', 'estimator')
  regrets = dataset.sequence_regret.transpose(
    'tuner', 'eval_task', *estimates, 'pretrain_seed', 'repetition', 'sequence'
  )
  dims = (*regrets.dims[:2], *regrets.dims[5:7])
  judged = dataset.judged.transpose(*dims).values == 1
  counted = stopped.counted(dataset).transpose(*dims).values
  exact = dataset_lib.exact(dataset).values
  sums = dataset_lib.exact_sums(dataset).transpose(*regrets.dims[:-1]).values
  for i, j in np.ndindex(*judged.shape[:2]):
    if not judged[i, j].any():
      continue
    ran = counted[i, j]
    left_out = int((judged[i, j] & ~ran).sum())
    here = [dataset.tuner.values[i].item(), dataset.eval_task.values[j].item()]
    settings = [dataset[axis].values[i].item() for axis in selection.AXES]
    # float64 takes twice the memory, so it is made of one method and task.
    by_estimate = regrets.values[i, j].astype(np.float64)
    for index in np.ndindex(*by_estimate.shape[:3]):
      labels = [
        dataset[dim].values[k].item()
        for dim, k in zip(estimates, index, strict=True)
      ]
      if not measures.has(dataset, here[1], *labels[1:]):
        continue
      runs, is_exact = by_estimate[index][ran], bool(exact[i, j, index[1]])
      if is_exact:
        statistics = _exact_statistics(sums[i, j][index][ran])
      else:
        statistics = _statistics(runs)
      sizes = len(runs), left_out
      row = (*here, *labels, *statistics, is_exact, *sizes, *settings)
      rows.append(dict(zip(COLUMNS, row, strict=True)))
  return pd.DataFrame(rows, columns=list(COLUMNS))


def _statistics(runs: np.ndarray) -> tuple[float, ...]:
  """Returns median, quartiles, mean and its standard error of [runs, S]."""
  if not len(runs):
    return (np.nan,) * 5
  q25, median, q75 = _quartiles(runs.mean(-1))
  return median, q25, q75, *_mean_and_sem(runs)


def _exact_statistics(runs: np.ndarray) -> tuple[float, ...]:
  """Returns the same of exact regrets [runs], in which no sequence counts."""
  if not len(runs):
    return (np.nan,) * 5
  q25, median, q75 = _quartiles(runs.astype(np.float64))
  return median, q25, q75, float(runs.mean(dtype=np.float64)), 0.0


def _quartiles(values: np.ndarray) -> np.ndarray:
  """Returns quartiles; if some values are infinite, the nearest values."""
  finite = np.isfinite(values).all()
  method = 'linear' if finite else 'nearest'
  return np.quantile(values, (0.25, 0.5, 0.75), method=method)


def _shown(setting: object) -> str:
  """Returns a setting as text; '' for a method without it."""
  return str(setting) if isinstance(setting, str) or setting > 0 else ''


def save(summary: pd.DataFrame, path: str | os.PathLike[str]) -> None:
  """Writes a summary as CSV, which gets its name once it is whole.

  Raises:
    UserError: If it cannot be written.
  """
  text = summary.to_csv(index=False, float_format=FLOAT_FORMAT)
  files.write_text(path, text, 'summary')


def table(dataset: xr.Dataset, step: int | None = None) -> str:
  """Returns the headline as text: paired regret against the oracle.

  Of tasks that were recorded it is the loss above a universal predictor.

  Args:
    dataset: As built or loaded.
    step: A report step; by default the first one, the tuning length.

  Raises:
    UserError: If there is no such step, or if it is a part of results.
  """
  chosen = selection.choose(dataset)
  step = _report_step(dataset, step)
  summary = headline(chosen)
  summary = summary[summary.step == step].copy()
  summary['text'] = [cell(row) for row in summary.itertuples()]
  any_exact = any(is_exact(row) for row in summary.itertuples())
  tasks = dataset.eval_task.values.tolist()
  wide = summary.pivot(index='tuner', columns='eval_task', values='text')
  note = ''
  for axis in selection.AXES:
    if dataset.sizes.get(axis, 1) > 1:
      wide[axis] = summary.groupby('tuner')[axis].first()
      wide[axis] = [_shown(value) for value in wide[axis]]
      tasks.append(axis)
      by = 'validation' if 'validation_loss' in dataset else 'tuning'
      note = f'Settings are the best of the grid by the {by} loss.\n'
  if 'learning_rate' in wide:
    marks = {m: EDGE for m in selection.at_edge(dataset)}
    wide['learning_rate'] += [marks.get(m, '') for m in wide.index]
  order = [m for m in dataset.tuner.values if m in wide.index]
  wide = wide.reindex(index=order, columns=tasks).fillna('')
  wide.columns = [task + measures.above(dataset, task) for task in wide.columns]
  wide.index.name = wide.columns.name = None
  return '\n'.join(
    [
      *_headings(dataset, step),
      f'Target: {dataset.attrs.get("target", "not said")}. {_over(chosen)}',
      f'{_ERROR}{EXACTLY * any_exact}.\n{note}{wide.to_string()}',
      *notes(dataset, chosen),
    ]
  )


def _headings(dataset, step):
  """Returns the first lines of the table: what its numbers are."""
  drawn, recorded = measures.of_kind(dataset)
  lines = []
  if drawn:
    lines.append(
      f'Cumulative regret against the oracle after {step} steps, in nats '
      '(paired; lower is better).'
    )
  if recorded:
    lines.append(
      f'{", ".join(recorded)}: mean loss over {step} steps above a universal '
      'predictor, in nats and bits a token (lower is better).'
    )
  return lines


def _report_step(dataset, step):
  """Returns a report step, the first one for None, once it is checked."""
  known = dataset.report_step.values.tolist()
  if step is None:
    return known[0]
  if step not in known:
    raise errors.UserError(
      f'step: must be one of {known}, got {step!r}; others are kept if '
      'evaluation.report_steps names them before the run'
    )
  return step


_ERROR = 'mean +- standard error over sequences'
EXACTLY = f'; {EXACT}: a closed sum, without noise'


def _over(chosen):
  """Returns the beginning of a sentence: what medians and quartiles are over.

  Tuners may have fewer networks or repetitions than others; the largest numbers
  are named.
  """
  ran = (chosen.judged == 1).any('eval_task')
  networks = int(ran.any('repetition').sum('pretrain_seed').max())
  repetitions = int(ran.sum('repetition').max())
  by_network = f'{networks} networks' if networks > 1 else 'one network'
  if repetitions > 1:
    runs = f'{repetitions} repetitions on {by_network}'
  elif networks > 1:
    runs = by_network
  else:
    return 'One network, tuned once:'
  return f'Median [quartiles] over {runs}; of a single run'


def headline(chosen: xr.Dataset) -> pd.DataFrame:
  """Returns the summary of the headline of each task, see `measures`.

  It is the paired regret against the oracle, or, where there is none, the loss
  above a universal predictor.
  """
  tasks = chosen.eval_task.values.tolist()
  of = dict.fromkeys(measures.headline(chosen, task) for task in tasks)
  frames = [
    summarize(
      chosen.sel(
        reference=[reference],
        estimator=[estimator],
        eval_task=[
          x
          for x in tasks
          if measures.headline(chosen, x) == (reference, estimator)
        ],
      )
    )
    for reference, estimator in of
  ]
  return frames[0] if len(frames) == 1 else pd.concat(frames)


def findings(dataset: xr.Dataset, step: int | None = None) -> list[str]:
  """Returns what a run found, in two sentences at most.

  The first says which tuner comes closest to exact Bayes on the target. The
  second says what this tuner loses on the task where it loses most. Numbers are
  medians over runs of the paired regret, above that of exact Bayes.

  Args:
    dataset: As built or loaded.
    step: A report step; by default the first one, the tuning length.

  Returns:
    Sentences; none if no tuner of a network was judged on the target.
  """
  chosen = selection.choose(dataset)
  step = _report_step(dataset, step)
  frame = headline(chosen)
  frame = frame[(frame.step == step) & (frame.runs > 0)]
  median = frame.pivot(index='eval_task', columns='tuner', values='median')
  bayes = median.get('TargetBayes', pd.Series(np.nan, median.index))
  bayes = bayes.fillna(median.get('EvalBayes', np.nan))
  for task in measures.of_kind(chosen)[1]:
    bayes[task] = 0.0  # Its numbers are above a universal predictor already.
  gaps = median.sub(bayes, axis='index')
  target = dataset.attrs.get('target')
  if target not in gaps.index:
    return []
  known = [name for name in tuned(chosen) if name in gaps]
  on_target = gaps.loc[target, known].dropna()
  if not len(on_target):
    return []
  best = on_target.idxmin()
  if measures.above(chosen, target):
    nats = gaps.loc[target, best] / step
    text = (
      f'Of what was tuned to {target}, {best} loses least: over {step} steps '
      f'{nats:+.3f} nats ({nats / measures.BITS:+.3f} bits) a token above '
      f'{measures.headline(chosen, target)[0]}'
    )
    untuned = gaps.get(UNTUNED, pd.Series(np.nan, gaps.index))[target] / step
    if np.isfinite(untuned):
      text += f'; the untuned network {untuned:+.3f}'
    return [f'{text}.']

  def losses(task):
    text = f'loses {_gap(gaps.loc[task, best])} nats a sequence more'
    untuned = gaps.get(UNTUNED, pd.Series(np.nan, gaps.index))[task]
    if np.isfinite(untuned):
      text += f', where the untuned network loses {_gap(untuned)} more'
    return text

  sentences = [
    f'On {target}, the target, {best} comes closest to exact Bayes: after '
    f'{step} steps it {losses(target)}.'
  ]
  recorded = measures.of_kind(chosen)[1]
  others = gaps[best].drop([target, *recorded], errors='ignore').dropna()
  if len(others):
    worst = others.idxmax()
    sentences.append(
      f'On {worst}, which it was not tuned to, {best} {losses(worst)}.'
    )
  return sentences


UNTUNED = 'NoTuning'


def _searches(dataset):
  """Returns how methods have searched, see `experiment.build.searches`."""
  return json.loads(dataset.attrs.get('searches', '{}'))


def tuned(dataset: xr.Dataset) -> list[str]:
  """Returns the tuners that changed a network, by training or by a search."""
  trained = np.zeros(dataset.sizes['tuner'], bool)
  for name in ('tuning_loss', 'candidate_loss'):
    if name in dataset:
      over = set(dataset[name].dims) - {'tuner'}
      trained |= dataset[name].notnull().any(over).values
  methods = json.loads(dataset.attrs.get('config', '{}')).get('methods', {})
  searched = _searches(dataset)
  return [
    name
    for name, changed in zip(
      dataset.tuner.values.tolist(), trained, strict=True
    )
    if (changed or name in searched)
    and methods.get(name, {}).get('predictor') != 'bayes'
  ]


def _gap(value):
  """Returns a loss above exact Bayes; one below it is luck."""
  return f'{max(value, 0.0):.2g}' if abs(value) >= 0.001 else '0.00'


def cell(row: Any) -> str:
  """Returns a row of the summary as text, for a table of regrets."""
  if not row.runs:
    return 'stopped'
  if measures.is_universal(row.reference):
    return _per_token(row)
  if is_exact(row):
    return f'{row.median:.3f} {EXACT}'
  if row.runs > 1:
    return f'{row.median:.3f} [{row.q25:.3f}, {row.q75:.3f}]'
  if not np.isfinite(row.mean):
    return f'{row.mean:.3f}'
  return f'{row.mean:.3f} +- {row.sem_sequences:.3f}'


def _per_token(row):
  """Returns a loss above a universal predictor as text, a token."""
  several = row.runs > 1
  value = row.median if several else row.mean
  text = f'{_signed(value / row.step)}'
  if several:
    text += f' [{_signed(row.q25 / row.step)}, {_signed(row.q75 / row.step)}]'
  elif np.isfinite(value):
    text += f' +- {row.sem_sequences / row.step:.4f}'
  return f'{text} nats, {_signed(value / row.step / measures.BITS)} bits'


def _signed(value):
  return f'{value + 0.0:+.4f}' if value else '0.0000'


def is_exact(row: Any) -> bool:
  """Returns whether a row of the summary is one number without noise.

  Repetitions whose exact regrets differ, as those of a search may, have
  quartiles as others have.
  """
  return bool(row.exact) and row.runs > 0 and row.q25 == row.q75


def edge_notes(dataset: xr.Dataset) -> list[str]:
  """Returns a warning of methods that are at the edge of the grid, if any are.

  Args:
    dataset: As loaded, with its grid.
  """
  edges = selection.at_edge(dataset)
  if not edges:
    return []
  rates = np.sort(dataset.learning_rate.values)
  ends = {'lowest': rates[0], 'highest': rates[-1]}
  each = '; '.join(
    f'{", ".join(m for m in edges if edges[m] == end)} at the {end}, {rate:g}'
    for end, rate in ends.items()
    if end in edges.values()
  )
  return [
    f'The best learning rate is at the edge of the grid{EDGE}: {each}. A rate '
    'beyond it may be better: widen tuning.learning_rate.'
  ]


def notes(dataset: xr.Dataset, chosen: xr.Dataset) -> list[str]:
  """Returns what must be said under a table: what it leaves out, and faults.

  Args:
    dataset: As loaded, with its grid.
    chosen: What `selection.choose` returns for it.

  Returns:
    Sentences; none if nothing was stopped, no regret is NaN, no method is at
    the edge of the grid of learning rates, and every search scored everything.
  """
  sentences = stopped.notes(chosen)
  others = stopped.elsewhere(dataset, chosen)
  if others:
    each = ', '.join(f'{method} ({runs})' for method, runs in others.items())
    sentences.append(
      f'At settings that are not shown runs were stopped, too: {each}.'
    )
  sentences += edge_notes(dataset)
  for method, how in _searches(dataset).items():
    if how['search'] != 'all':
      sentences.append(
        f'{method}: the best of {how["candidates"]} prefixes that a search '
        f'({how["search"]}) proposed; there are too many to score all.'
      )
  recorded = measures.note(chosen)
  if recorded:
    sentences.append(recorded)
  wrong = _wrong(chosen)
  if wrong:
    sentences.append(
      f'{", ".join(wrong)}: regrets are not numbers though runs were not '
      'stopped. This is a fault of the program, or of a task; nothing was left '
      'out. The contract tests check a task prior of your own '
      '(docs/howto/own_prior.md).'
    )
  return sentences


def _wrong(chosen):
  """Returns the methods that have a regret which is not a number."""
  counted, wrong = stopped.counted(chosen), set()
  for task in chosen.eval_task.values.tolist():
    of_task = chosen.sequence_regret.sel(eval_task=task).isnull()
    for reference in chosen.reference.values.tolist():
      for estimator in chosen.estimator.values.tolist():
        if measures.has(chosen, task, reference, estimator):
          at = {'reference': reference, 'estimator': estimator}
          bad = of_task.sel(at).any('sequence') & counted.sel(eval_task=task)
          bad = bad.any(set(bad.dims) - {'tuner'})
          wrong |= {*chosen.tuner.values[bad.values].tolist()}
  return [x for x in chosen.tuner.values.tolist() if x in wrong]
