"""What is in a results file, and how those of older versions become one of it.

`results` says what the dimensions are.
"""

import json

import numpy as np
import xarray as xr

from bayes_prompting import counting
from bayes_prompting import grid

# The first had no grid, the second did not say what was stopped; both can still
# be read. Who knows the second alone would count what was stopped.
SCHEMA_VERSION = 3

_RUN = ('method', 'pretrain_seed', *grid.AXES, 'repetition')
_ESTIMATE = (*_RUN, 'eval_task', 'reference', 'estimator')
# Every variable: its dimensions, and what it is.
VARIABLES = {
  'instantaneous_regret': (
    (*_ESTIMATE, 'step'),
    'regret at this step, mean over sequences',
  ),
  'instantaneous_regret_sem': (
    (*_ESTIMATE, 'step'),
    'its standard error over sequences',
  ),
  'cumulative_regret': (
    (*_ESTIMATE, 'step'),
    'regret summed up to this step, mean over sequences',
  ),
  'cumulative_regret_sem': (
    (*_ESTIMATE, 'step'),
    'its standard error over sequences',
  ),
  'sequence_regret': (
    (*_ESTIMATE, 'report_step', 'sequence'),
    'regret of each sequence, summed up to this step',
  ),
  'judged': (
    (*_RUN, 'eval_task'),
    '1 where a run was evaluated: it counts, NaN and all, unless stopped',
  ),
  'stopped': (
    _RUN,
    'the update at which a run was stopped: loss or gradient was not finite',
  ),
  'pretraining_stopped': (
    ('pretrain_seed',),
    'the same of pretraining: nothing on this network counts',
  ),
  'pretraining_loss': (
    ('pretrain_seed', 'pretraining_step'),
    'log loss summed over a sequence, mean over the batch',
  ),
  'tuning_loss': (
    (*_RUN, 'tuning_step'),
    'log loss summed over a sequence, mean over the batch',
  ),
  'candidate_loss': (  # A search has no settings of the grid.
    ('method', 'pretrain_seed', 'repetition', 'candidate'),
    'log loss summed over a sequence, mean over the common draws',
  ),
}
WITHOUT_UNIT = ('judged', 'stopped', 'pretraining_stopped')


def upgrade(dataset: xr.Dataset) -> xr.Dataset:
  """Returns a results file of any version as one of this."""
  version = dataset.attrs['schema_version']
  if version < 2:
    dataset = _with_grid(dataset)
  if version < 3:
    dataset = _with_stopped(dataset)
  return dataset.assign_attrs(schema_version=SCHEMA_VERSION)


def _with_grid(dataset):
  """Adds a grid of one position, to what was written before there were any."""
  config = json.loads(dataset.attrs.get('config', '{}'))
  tuning = config.get('tuning', {})
  rate, init = tuning.get('learning_rate'), tuning.get('prefix_init')
  coords = {
    'learning_rate': [np.nan if rate is None else float(rate)],
    'prefix_init': ['' if init is None else init],
  }
  upgraded = {
    name: variable.expand_dims(coords).transpose(*VARIABLES[name][0])
    if set(grid.AXES) <= set(VARIABLES[name][0])
    else variable
    for name, variable in dataset.data_vars.items()
  }
  return dataset.assign(upgraded)


def _with_stopped(dataset):
  """Adds what was stopped, to what was written before runs were.

  What has no loss at all was not trained. Runs that diverged went on as NaN.
  """
  ran = (dataset.judged == 1).any('eval_task').transpose(*_RUN)
  seeds = dataset.pretrain_seed
  found = {
    'stopped': xr.full_like(ran, np.nan, np.float32),
    'pretraining_stopped': xr.full_like(seeds, np.nan, np.float32),
  }
  for name, loss, dim in (
    ('stopped', 'tuning_loss', 'tuning_step'),
    ('pretraining_stopped', 'pretraining_loss', 'pretraining_step'),
  ):
    if loss in dataset:
      losses = dataset[loss]
      steps = xr.apply_ufunc(
        counting.stopped_step, losses, input_core_dims=[[dim]]
      )
      found[name] = steps.where(losses.notnull().any(dim))
  for name, steps in found.items():
    steps.attrs = {'units': '1', 'long_name': VARIABLES[name][1]}
  return dataset.assign(found)
