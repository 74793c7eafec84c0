"""The notebooks run in miniature, and are stored with what a real run shows."""

import ast
import re

from IPython.core import inputtransformer2
import jupyter_client
from nbclient import util
import numpy as np
import pytest

from notebooks import execute

_FITS = {'num_steps': 2, 'batch_size': 2}
_TINY = {
  'demo': {
    'WORKDIR': 'demo',
    'WIDTH': 4,
    'PRETRAINING': _FITS,
    'TUNING': _FITS,
    'NUM_SEQUENCES': 4,
  },
  'paper': {
    'EXPERIMENT': 'lstm,two_coin_mixture',
    'FULL': False,
    'WORKDIR': 'paper',
    'OVERRIDES': {
      'network.embedding_dim': 4,
      'network.torso.width': 4,
      **{
        f'{fit}.{name}': value
        for fit in ('pretraining', 'tuning')
        for name, value in _FITS.items()
      },
      'tuning.search_draws': 4,
      'tuning.methods': ('PreBayes', 'PreBayesPT', 'NoTuning', 'SoftPT'),
      'evaluation.num_sequences': 4,
      'evaluation.tasks': ('two_coin_mixture',),
      'evaluation.length': 50,
    },
  },
  'your_own': {
    'WORKDIR': 'your_own',
    'WIDTH': 4,
    'PRETRAINING': _FITS,
    'TUNING': _FITS,
    'VALIDATE_EVERY': 1,
    # An audit needs 16 windows, and there are two of each machine.
    'NUM_MACHINES': 40,
    'NUM_SEQUENCES': 16,
  },
}


@pytest.fixture(scope='module')
def executed(tmp_path_factory):
  """All notebooks in miniature, one after another in a single kernel."""
  folder = tmp_path_factory.mktemp('notebooks')
  kernel = jupyter_client.AsyncKernelManager()
  found = {}
  try:
    for name, values in _TINY.items():
      found[name] = execute.read(name)
      (cell,) = (
        cell
        for cell in found[name].cells
        if 'parameters' in cell.metadata.get('tags', ())
      )
      assert set(_names(cell.source)) == set(values)
      lines = [f'{key} = {value!r}' for key, value in values.items()]
      # The names of the notebook before are not to help this one.
      cell.source = '\n'.join(['%reset -f', *lines])
      execute.execute(found[name], str(folder), km=kernel)
  finally:
    if kernel.has_kernel:
      util.run_sync(kernel.shutdown_kernel)(now=True)
  return found


def _names(source):
  """Names that a cell assigns to."""
  return [
    target.id
    for node in ast.parse(source).body
    if isinstance(node, ast.Assign)
    for target in node.targets
  ]


def _text(notebook, cell_id):
  """All text that a cell shows."""
  (cell,) = (cell for cell in notebook.cells if cell.id == cell_id)
  return '\n'.join(_texts(cell))


def _texts(cell):
  for output in cell.get('outputs', ()):
    if output.output_type == 'stream':
      yield output.text
    else:
      data = output.get('data', {})
      yield from (v for k, v in data.items() if k.startswith('text/'))


def _numbers(text):
  return [float(x) for x in re.findall(r'(?<![\w.])-?\d+\.\d+', text)]


def _figures(notebook):
  """Identifiers of the cells that show a figure."""
  return {
    cell.id
    for cell in notebook.cells
    for output in cell.get('outputs', ())
    if 'image/png' in output.get('data', {})
  }


def _row(text, name):
  """The line of a table or an audit that begins with a name, as numbers."""
  (line,) = (x for x in text.splitlines() if x.startswith(name))
  return _numbers(line.removeprefix(name))


@pytest.mark.slow
def test_the_demo_teaches_what_theory_says(executed):
  demo = executed['demo']
  # Exact Bayes: regret and gap without a prompt; behind the best six tokens.
  single = _text(demo, 'theory_single')
  assert 'Over 50 tokens: limit.' in single
  assert _row(single, 'no prompt') == [1.477, 1.477]
  assert _row(single, 'Best six tokens') == [0.571]
  mixture = _text(demo, 'theory_mixture')
  assert 'Over 50 tokens: not promptable.' in mixture
  # One bit; and what no prompt takes away.
  assert _row(mixture, "target's own Bayes")[0] == 0.693
  assert _row(mixture, 'no prompt') == [1.477, 0.784]


@pytest.mark.slow
def test_the_demo_shows_tables_and_figures(executed):
  demo = executed['demo']
  table = _text(demo, 'tune_single')
  assert _row(table, 'PreBayesPT')[0] == 0.571  # As theory says above.
  assert _row(table, 'SoftPT') and _row(table, 'LoRAWT')
  (low, *_) = _numbers(_text(demo, 'tune_mixture'))
  assert np.isfinite(low)
  # A network of two updates is nobody's exact Bayes.
  assert _text(demo, 'audit').startswith('It is not exact Bayes of coins')
  assert _figures(demo) == {
    'laplace',
    'beliefs',
    'tune_single',
    'tune_mixture',
    'maps',
  }


@pytest.mark.slow
def test_the_paper_s_notebook_shows_rows_tables_and_figures(executed):
  paper = executed['paper']
  assert 'Target: two_coin_mixture' in _text(paper, 'experiment')
  shown = {'overview', 'gap', 'bars', 'losses', 'trajectories'}
  assert shown == _figures(paper)
  verdicts = _text(paper, 'verdicts')
  # Exact, whatever was run: what the best hard prefix costs Bayes.
  (row,) = (x for x in verdicts.splitlines() if 'every hard prefix' in x)
  assert '| > 0 |' in row and '**holds**: 0.4808 exact |' in row
  assert 'SoftPT minus NoTuning' in _text(paper, 'compare')


@pytest.mark.slow
def test_your_own_leads_from_a_file_to_a_prompt_and_its_audit(executed):
  own = executed['your_own']
  table = _text(own, 'result')
  assert 'Target: mine' in table and 'above CTW' in table
  assert _row(table, 'CTW')[0] == 0 and _row(table, 'SoftPT')
  assert _figures(own) == {'run', 'result', 'audit_after'}
  audits = _text(own, 'audits')
  assert re.search('NoTuning +SoftPT +LoRAWT', audits)
  assert len(_row(audits, 'KL to exact Bayes of chains')) == 3
  # The loaded prompt expects something of each state: rows that sum to one.
  chances = [_row(_text(own, 'save'), x) for x in ('run', 'slow', 'stop')]
  np.testing.assert_allclose(np.sum(chances, axis=1), 1, atol=0.02)
  assert len(_text(own, 'generate').partition('|')[2].split()) == 20


@pytest.mark.parametrize('name', execute.NAMES)
def test_stored_outputs_are_of_a_whole_run_and_hold_nothing_private(name):
  path = execute.FOLDER / f'{name}.ipynb'
  assert path.stat().st_size < 1_000_000
  notebook = execute.read(name)
  cells = [cell for cell in notebook.cells if cell.cell_type == 'code']
  order = [cell.execution_count for cell in cells]
  assert order == [*range(1, len(cells) + 1)]
  kinds = [output.output_type for cell in cells for output in cell.outputs]
  assert 'error' not in kinds
  names = [output.get('name') for cell in cells for output in cell.outputs]
  assert 'stderr' not in names
  assert len(_figures(notebook)) >= 3
  for cell in notebook.cells:
    text = '\n'.join([cell.source, *_texts(cell)])
    assert not re.search(r'(?<![\w.:/])/[A-Za-z]\w*/', text), cell.id
    assert '%|' not in text  # A progress bar.


@pytest.mark.parametrize('name', execute.NAMES)
def test_notebooks_hold_no_logic(name):
  transform = inputtransformer2.TransformerManager().transform_cell
  for cell in execute.read(name).cells:
    if cell.cell_type != 'code':
      continue
    assert len(cell.source.splitlines()) <= 20
    for node in ast.walk(ast.parse(transform(cell.source))):
      assert not isinstance(node, ast.While | ast.ClassDef | ast.FunctionDef)
      if isinstance(node, ast.For):
        assert node.end_lineno - node.lineno < 3
        assert not {'bp', 'run', 'evaluation', 'regret', 'expectation'} & {
          x.id for x in ast.walk(node) if isinstance(x, ast.Name)
        }
