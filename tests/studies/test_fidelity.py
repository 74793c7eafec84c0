"""Ablations stand beside the same networks without them."""

import numpy as np

from bayes_prompting.studies.paper import fidelity
from configs import paper
from tests.claims import test_judge

TARGET = test_judge.SINGLE


def rows(experiment, values, tuner='SoftPT', step=50):
  return test_judge.rows(experiment, tuner, TARGET, step, values)


def test_the_table_compares_the_same_networks():
  ours = f'lstm-{TARGET}'
  # Network 2 was stopped: it has no number.
  stopped = rows(f'{ours}-normal_start', (np.nan,) * 3)[2:]
  stopped[0]['repetitions'] = 0
  made = [
    *rows(ours, (0.02, 0.06, 9.0)),
    *rows(ours, (7.0, 7.0), step=200),
    *rows(ours, (8.0, 8.0), tuner='RealPT'),
    *rows(f'{ours}-normal_start', (0.03, 0.04)),
    *stopped,
    *rows(f'{ours}-clip_all', (0.5,), tuner='LoRAWT'),  # Nothing beside it.
  ]
  text = fidelity.table(test_judge.table(made))
  (line,) = text.splitlines()[2:]
  cells = [cell.strip() for cell in line.strip('|').split('|')]
  assert cells[2:] == [
    ours,
    'SoftPT',
    '0.020, 0.060',
    '0.030, 0.040',
    '-0.005',
    '**another**',
  ]


def test_without_ablations_there_is_no_table():
  made = rows(f'lstm-{TARGET}', (0.02,))
  assert fidelity.table(test_judge.table(made)) == ''


def test_every_ablation_is_planned_beside_its_own():
  assert {*paper.ABLATIONS} == {*fidelity.SETTINGS}
  methods = {}
  for planned in paper.PLAN:
    methods.setdefault(planned.name, set()).update(planned.methods)
  ablations = [x for x in methods if x.endswith(tuple(fidelity.SETTINGS))]
  assert len(ablations) == 14
  for name in ablations:
    base = name.rpartition('-')[0]
    assert methods[name] <= methods[base]
