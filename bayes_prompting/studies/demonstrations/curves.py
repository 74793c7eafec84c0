"""Regrets against how much was shown: what the figure draws and the page tells.

A *curve* is a tuner on a task of a case, at every number of demonstrations. A
*question* is some curves that belong into one panel, and one table.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from bayes_prompting.claims import intervals
from bayes_prompting.claims import judge as judging
from bayes_prompting.studies.demonstrations import claims as study_claims

TORSOS = ('lstm', 'transformer_deep')


# By how much was shown. Exact Bayes has no interval.
Points = Mapping[int, intervals.Estimate]


class Curve(NamedTuple):
  """A tuner on a task of a case.

  Attributes:
    label: What it is, without the tuner.
    tuner: Its name.
    case: The experiments that it is from.
    task: The evaluated task.
    tunings: Whether each network was tuned several times.
    spread: Whether the standard deviation over these is meant.
    reference: Above what its regret is.
    alone: The cases of single targets. The curve is their mean where nothing
      was shown, and flat.
  """

  label: str
  tuner: str
  case: str = ''
  task: str = 'target'
  tunings: bool = False
  spread: bool = False
  reference: str = 'bayes'
  alone: tuple[str, ...] = ()


class Question(NamedTuple):
  """Some curves that are compared.

  Attributes:
    title: What was shown, and of what.
    shown: What is counted.
    above: Above what regrets are.
    window: Scored tokens.
    sizes: How many demonstrations there are.
    curves: Of these.
  """

  title: str
  shown: str
  above: str
  window: int
  sizes: tuple[int, ...]
  curves: tuple[Curve, ...]


_EXACT = 'exact Bayes of the pretraining task'
_OTHER = {'case': 'tails', 'task': 'other', 'tunings': True}
_COIN = {'case': 'tails', 'tunings': True}
_SOURCE = {'reference': 'oracle'}
QUESTIONS = (
  Question(
    'Random coins',
    'tosses of the coin',
    'the coin itself',
    study_claims.COINS,
    study_claims.SIZES,
    (
      Curve(_EXACT, 'PreBayes', 'own', **_SOURCE),
      Curve('the network', 'NoTuning', 'own', **_SOURCE),
    ),
  ),
  Question(
    'Prompt for one coin',
    'tosses of the coin',
    'Bayes of the coin',
    study_claims.COINS,
    study_claims.FEW_SIZES,
    (
      Curve(_EXACT, 'PreBayes', **_COIN),
      Curve('the network', 'NoTuning', **_COIN),
      Curve('a prompt', 'SoftPT', **_COIN),
      Curve('spread over prompts', 'SoftPT', spread=True, **_COIN),
    ),
  ),
  Question(
    'That prompt, other coin',
    'tosses of the other coin',
    'Bayes of the other coin',
    study_claims.COINS,
    study_claims.FEW_SIZES,
    (
      Curve(_EXACT, 'PreBayes', **_OTHER),
      Curve('the network', 'NoTuning', **_OTHER),
      Curve('a prompt', 'SoftPT', **_OTHER),
    ),
  ),
  Question(
    'A prior of four targets',
    'tokens of the target',
    'Bayes of the prior',
    study_claims.COINS,
    study_claims.FEW_SIZES,
    (
      Curve(_EXACT, 'PreBayes', 'prior'),
      Curve('the network', 'NoTuning', 'prior'),
      Curve('a prompt', 'SoftPT', 'prior'),
      Curve('all weights', 'FullWT', 'prior'),
      Curve('one prompt for each target', 'SoftPT', alone=study_claims.TARGETS),
    ),
  ),
  Question(
    'Policies of a pool',
    'steps of the policy',
    'the policy itself',
    study_claims.POOL,
    study_claims.SIZES,
    (
      Curve(_EXACT, 'PreBayes', 'pool', **_SOURCE),
      Curve('the network', 'NoTuning', 'pool', **_SOURCE),
    ),
  ),
  Question(
    'Prompt for one policy',
    'steps of the policy',
    'Bayes of the policy',
    study_claims.POOL,
    study_claims.SIZES,
    (
      Curve(_EXACT, 'PreBayes', 'policy'),
      Curve('the network', 'NoTuning', 'policy'),
      Curve('a prompt', 'SoftPT', 'policy'),
    ),
  ),
)


def networks(table: pd.DataFrame) -> list[str]:
  """Returns the kinds of network that rows are about, ours first."""
  ran = dict.fromkeys(x.split('-')[0] for x in table.experiment)
  return [
    *(x for x in TORSOS if x in ran),
    *(x for x in ran if x not in TORSOS),
  ]


def points(
  table: pd.DataFrame, networks: Iterable[str]
) -> dict[tuple[str, str, Curve], Points]:
  """Returns what is drawn of some kinds of network, and told of them.

  Args:
    table: Rows of evidence of one version.
    networks: The kinds.

  Returns:
    The points of each curve, by network and title of the question; only those
    that were run.
  """
  numbers, made = _numbers(table), {}
  for network in networks:
    for question in QUESTIONS:
      for curve in question.curves:
        of_curve = {}
        for size in question.sizes:
          # A network counts that has all of them.
          several = [
            numbers.get(x, pd.Series(dtype=np.float64))
            for x in _keys(question, curve, size, network)
          ]
          mean = pd.concat(several, axis=1).mean(axis=1, skipna=False).dropna()
          if len(mean):
            of_curve[size] = intervals.over_networks(mean.to_numpy(), 'log')
        if of_curve:
          made[network, question.title, curve] = of_curve
  return made


_KEY = ['experiment', 'tuner', 'task', 'step', 'reference']


def _numbers(table):
  """Returns means, and spreads, of each network, by what they are of."""
  counted = table[table.repetitions > 0]
  # Exact Bayes has no network: it is one number.
  counted = counted.assign(pretrain_seed=counted.pretrain_seed.fillna(-1))
  made = {}
  for key, rows in counted.set_index('pretrain_seed').groupby(_KEY):
    made[*key, False] = rows['mean'].astype(np.float64)
    if rows.repetitions.max() > 1:
      made[*key, True] = rows['values'].map(judging.spread)
  return made


def _keys(question, curve, size, network):
  """Returns what a point is of; several if it is their mean."""
  experiments = [study_claims.experiment(x, 0) for x in curve.alone] or [
    study_claims.experiment(curve.case, size, curve.tunings)
  ]
  return [
    (
      experiment.format(network=network),
      curve.tuner,
      curve.task,
      question.window,
      curve.reference,
      curve.spread,
    )
    for experiment in experiments
  ]


def labels(questions: Iterable[Question] = QUESTIONS) -> list[str]:
  """Returns the labels of all curves, each once."""
  return list(
    dict.fromkeys(x.label for question in questions for x in question.curves)
  )
