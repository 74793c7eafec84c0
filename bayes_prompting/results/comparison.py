"""Several runs side by side: what differs between them, and what came out."""

from collections.abc import Mapping, Sequence
import os
import pathlib

import pandas as pd

from bayes_prompting import results
from bayes_prompting.results import measures
from bayes_prompting.results import selection
from bayes_prompting.results import summary
from bayes_prompting.system import files


def read(
  folder: str | os.PathLike[str], runs: Mapping[str, Mapping[str, str]]
) -> pd.DataFrame:
  """Returns the headline regret of several runs, a row for each method.

  It is the paired regret against the oracle on the target of the run, after the
  tuning length; where that was recorded, the loss above a universal predictor.

  Args:
    folder: Holds the runs.
    runs: By the name of its folder, the settings of each run, by field.

  Returns:
    Columns `run`, a column for each field, `target`, then those of a summary.
    Runs without results are left out.

  Raises:
    UserError: If results cannot be read.
  """
  rows = []
  for name, settings in runs.items():
    path = pathlib.Path(folder) / name / 'results.nc'
    if not path.exists():
      continue
    dataset = results.load(path)
    table = summary.headline(selection.choose(dataset))
    target, step = dataset.attrs['target'], int(dataset.attrs['tuning_length'])
    table = table[(table.eval_task == target) & (table.step == step)]
    table = table.drop(columns=['eval_task', 'estimator'])
    for place, (field, value) in enumerate(
      {'run': name, **settings, 'target': target}.items()
    ):
      table.insert(place, field, value)
    edges = selection.at_edge(dataset)
    table['edge'] = [edges.get(method, '') for method in table.tuner]
    rows += table.to_dict('records')
  return pd.DataFrame(rows)


def text(compared: pd.DataFrame, fields: Sequence[str]) -> str:
  """Returns the comparison as text: a row for each run, a column each method.

  Args:
    compared: What `read` returns.
    fields: The columns of settings; one that is the same for all is left out.
  """
  if not len(compared):
    return 'No run has results yet.'
  fields = [x for x in (*fields, 'target') if compared[x].nunique() > 1]
  cells = [
    summary.cell(row) + summary.EDGE * bool(row.edge)
    for row in compared.itertuples()
  ]
  wide = compared.assign(cell=cells).pivot(
    index='run', columns='tuner', values='cell'
  )
  runs = compared.run.drop_duplicates()
  wide = wide.reindex(index=runs, columns=compared.tuner.drop_duplicates())
  wide = wide.fillna('')
  by_run = compared.drop_duplicates('run').set_index('run')
  for place, field in enumerate(fields):
    wide.insert(place, field, by_run.loc[wide.index, field])
  wide.index.name = wide.columns.name = None
  lines = [
    'Cumulative regret against the oracle on the target after the tuning '
    'length, in nats (paired; lower is better).',
    'Median [quartiles] over all repetitions of all networks; of a single one '
    'mean +- standard error over sequences'
    + summary.EXACTLY * any(map(summary.is_exact, compared.itertuples()))
    + '.',
    wide.to_string(),
  ]
  universal = {x for x in compared.reference if measures.is_universal(x)}
  if universal:
    lines.append(measures.sentence(' or '.join(sorted(universal))))
  if compared.edge.any():
    lines.append(
      f'A rate beyond one with{summary.EDGE} may be better: widen '
      'tuning.learning_rate.'
    )
  return '\n'.join(lines)


def save(compared: pd.DataFrame, path: str | os.PathLike[str]) -> None:
  """Writes a comparison as CSV, which gets its name once it is whole.

  Raises:
    UserError: If it cannot be written.
  """
  content = compared.to_csv(index=False, float_format=summary.FLOAT_FORMAT)
  files.write_text(path, content, 'comparison')
