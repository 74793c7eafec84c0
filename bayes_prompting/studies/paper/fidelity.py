"""What settings of ours make of the paper's numbers: a table of ablations.

An ablation is an experiment of the plan whose name ends with one of `SETTINGS`.
Beside it stands the same experiment without it, on the same networks.
"""

import numpy as np
import pandas as pd

from bayes_prompting.claims import judge as judging
from bayes_prompting.studies.paper import claims as paper_claims

# By the end of an experiment's name: what is ours, and what is in its place.
SETTINGS = {
  'normal_start': ('prefixes start one-hot', 'from normal numbers'),
  'lora_all': ("LoRAWT adapts attention's matrices", 'all matrices'),
  'clip_all': ('the norm of what is tuned is clipped', 'that of all weights'),
  'search_256': ('HardPT scores prefixes on 2048 sequences', 'on 256'),
}
_HEAD = (
  'setting',
  'in its place',
  'experiment',
  'tuner',
  'nats with ours',
  'nats with the other',
  'mean difference',
  'side of the bound',
)


def table(rows: pd.DataFrame) -> str:
  """Returns the ablations that were run as Markdown; '' without any.

  Numbers are nats above TargetBayes after the tuning length, one for each
  network. The last column says whether both are on the same side of the bound
  of *reaches*, on every network.

  Args:
    rows: Rows of evidence of one version, see `evidence.current`.
  """
  lines = []
  for setting, (ours, instead) in SETTINGS.items():
    names = dict.fromkeys(
      x for x in rows.experiment if x.endswith(f'-{setting}')
    )
    for name in names:
      of_name = rows[rows.experiment == name]
      for tuner in dict.fromkeys(of_name.tuner):
        cells = _compared(rows, name, setting, tuner)
        if cells:
          lines.append((ours, instead, *cells))
  if not lines:
    return ''
  lines = [_HEAD, ('---',) * len(_HEAD), *lines]
  return '\n'.join(f'| {" | ".join(cells)} |' for cells in lines) + '\n'


def _compared(rows, name, setting, tuner):
  """Returns the cells of one tuner; None where nothing can be compared."""
  base = name.removesuffix(f'-{setting}')
  target = base.split('-')[1]
  both = [
    judging.Mean(tuner, x, paper_claims.TUNING, target).rows(rows)
    for x in (base, name)
  ]
  both = [x[x.repetitions > 0] for x in both]
  shared = sorted(set(both[0].index) & set(both[1].index))
  if not shared:
    return None
  ours, other = (x.loc[shared]['mean'].to_numpy(np.float64) for x in both)
  sides = (ours < paper_claims.REACHES) == (other < paper_claims.REACHES)
  return (
    base,
    tuner,
    _numbers(ours),
    _numbers(other),
    f'{np.mean(other - ours):+.3f}',
    'the same' if sides.all() else '**another**',
  )


def _numbers(values):
  return ', '.join(f'{x:.3f}' for x in values)
