"""What the documents tell a user to do is done here, as they say it."""

import pathlib
import re
import subprocess
import sys

import pandas as pd
import pytest

from bayes_prompting import settings
from bayes_prompting.claims import tables
from bayes_prompting.experiment import build
from bayes_prompting.experiment import run
from tests.experiment import test_run

ROOT = pathlib.Path(__file__).parent.parent
BLOCKS = re.findall(
  r'```python\n(.*?)```',
  (ROOT / 'docs' / 'architecture.md').read_text(),
  re.DOTALL,
)


@pytest.fixture
def own_modules(tmp_path, monkeypatch):
  """A user's folder with the prior and the tuner of the document."""
  prior, _, tuner, *_ = BLOCKS
  (tmp_path / 'my_lab').mkdir()
  (tmp_path / 'my_lab' / '__init__.py').touch()
  (tmp_path / 'my_lab' / 'sticky_coin.py').write_text(prior)
  (tmp_path / 'my_lab' / 'biases.py').write_text(tuner)
  monkeypatch.syspath_prepend(tmp_path)
  return tmp_path


@pytest.mark.parametrize(
  ('kind', 'name'),
  [('task_priors', 'sticky_coin'), ('tuners', 'biases')],
)
def test_own_modules_pass_the_contract_tests(own_modules, kind, name):
  found = subprocess.run(
    [
      *(sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider'),
      *(f'tests/{kind}/test_{kind}.py', '-k', f'my_lab.{name}'),
      f'--{kind}=my_lab.{name}',
    ],
    cwd=ROOT,
    env={'PYTHONPATH': str(own_modules), 'JAX_PLATFORMS': 'cpu', 'PATH': ''},
    capture_output=True,
    text=True,
  )
  assert found.returncode == 0, found.stdout + found.stderr
  passed = re.search(r'(\d+) passed', found.stdout)
  assert passed and int(passed[1]) >= 4


def test_own_modules_run_by_their_dotted_names(own_modules):
  config = test_run.tiny()
  with config.unlocked():
    config.tasks.sticky = settings.spec('my_lab.sticky_coin', stay=(0.2, 0.8))
    config.methods.BitFit = settings.spec('my_lab.biases')
    config.pretraining.task = 'sticky'
    config.evaluation.tasks = ('sticky', 'single_coin')
    config.tuning.methods = ('PreBayes', 'BitFit')
  dataset = run.run(config)
  regrets = dataset.cumulative_regret.sel(
    {'method': 'BitFit', 'pretrain_seed': 0}
  )
  assert regrets.notnull().all()


def test_a_file_in_the_package_is_found_without_another_edit(
  own_modules, monkeypatch
):
  # As if it had been put beside the others: the folder joins the package.
  from bayes_prompting import task_priors

  monkeypatch.setattr(
    task_priors,
    '__path__',
    [*task_priors.__path__, str(own_modules / 'my_lab')],
  )
  namespace = {}
  exec(BLOCKS[1], namespace)  # The document's own get_config.
  config = namespace['get_config']()
  assert config.tasks.sticky.name == 'sticky_coin'
  try:
    small = test_run.tiny(**{'tuning.methods': ('PreBayes',)})
    with small.unlocked():
      small.tasks.sticky = config.tasks.sticky
      small.pretraining.task = config.pretraining.task
      small.evaluation.tasks = config.evaluation.tasks
    assert 'sticky' in run.run(small).eval_task
  finally:
    sys.modules.pop('bayes_prompting.task_priors.sticky_coin', None)


def test_the_readme_s_first_experiment_builds():
  readme = (ROOT / 'README.md').read_text()
  blocks = re.findall(r'```python\n(.*?)```', readme, re.DOTALL)
  (block,) = (block for block in blocks if 'def get_config' in block)
  namespace = {}
  exec(block, namespace)
  lab = build.build(namespace['get_config']())
  assert lab.pretraining_task == 'fair_coins'
  # And its snippet, in smaller still.
  (snippet,) = (block for block in blocks if 'experiment.run' in block)
  lines = snippet.splitlines()
  start = next(i for i, line in enumerate(lines) if 'experiment.run' in line)
  lines.insert(start, 'config = small(config)')
  names = ('num_steps', 'batch_size')

  def small(config):
    for section in ('pretraining', 'tuning'):
      for name in names:
        config[section][name] = 2
    config.tuning.search_draws = 8
    config.evaluation.num_sequences = 4
    return config

  namespace = {'small': small}
  exec('\n'.join(lines), namespace)
  assert namespace['curve'].sizes['step'] == 200


def test_the_claims_of_the_readme_are_those_of_the_results():
  table = pd.read_csv(ROOT / 'results' / 'paper' / 'claims.csv')
  shown = table[~table.network.str.endswith('_large')]
  assert tables.markdown(shown) in (ROOT / 'README.md').read_text()
  whole = (ROOT / 'results' / 'paper' / 'claims.md').read_text()
  assert whole == tables.markdown(table)


def test_a_claim_of_one_s_own_is_judged(tmp_path, capsys):
  names = {}
  exec(BLOCKS[-1], names)
  names['judge'](tmp_path)
  assert 'Claims: 2 not run.' in capsys.readouterr().out


def test_the_readme_s_verdict_is_what_is_printed(capsys):
  readme = (ROOT / 'README.md').read_text()
  _, _, after = readme.partition('print(promptability.promptability(')
  blocks = re.findall(r'```python\n(.*?)```', readme, re.DOTALL)
  (snippet,) = (block for block in blocks if 'promptability(' in block)
  exec(snippet, {})
  shown = re.search(r'```\n\n((?:    .*\n)+)', after)[1]
  lines = [line.removeprefix('    ') for line in shown.splitlines()]
  assert capsys.readouterr().out.splitlines() == lines


def test_no_page_waits_for_a_figure():
  pages = [*ROOT.glob('*.md'), *(ROOT / 'docs').rglob('*.md')]
  assert len(pages) > 8
  for page in pages:
    left = re.findall(r'^[A-Z_]{3,}$', page.read_text('utf-8'), re.MULTILINE)
    assert not left, f'{page}: {left}'
