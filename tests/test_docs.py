"""What the documents tell a user to do is done here, as they say it."""

import ast
import functools
import importlib
import importlib.util
import json
import pathlib
import re
import subprocess
import sys

import pandas as pd
import pytest

import bayes_prompting as bp
from bayes_prompting import errors
from bayes_prompting.claims import tables
from bayes_prompting.experiment import build
from bayes_prompting.experiment import run
from launch import main as launch_main
from launch import presets
from tests import testing
from tests.experiment import test_run
from tests.launch import commands

ROOT = pathlib.Path(__file__).parent.parent


blocks = testing.blocks
PRIOR, OWN_CONFIG, _ = blocks('docs/howto/own_prior.md')
(TORSO,) = blocks('docs/howto/own_torso.md')
TUNER, OWN_METHOD = blocks('docs/howto/own_tuner.md')
(CLAIM,) = blocks('docs/howto/own_claim.md')


@pytest.fixture
def own_modules(tmp_path, monkeypatch):
  """A user's folder with the prior, torso and tuner of the documents."""
  (tmp_path / 'my_lab').mkdir()
  (tmp_path / 'my_lab' / '__init__.py').touch()
  (tmp_path / 'my_lab' / 'sticky_coin.py').write_text(PRIOR)
  (tmp_path / 'my_lab' / 'elman.py').write_text(TORSO)
  (tmp_path / 'my_lab' / 'biases.py').write_text(TUNER)
  monkeypatch.syspath_prepend(tmp_path)
  return tmp_path


@pytest.mark.parametrize(
  ('kind', 'name'),
  [
    ('task_priors', 'sticky_coin'),
    pytest.param('torsos', 'elman', marks=pytest.mark.slow),
    ('tuners', 'biases'),
  ],
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
  config, names = test_run.tiny(), {}
  exec(OWN_CONFIG, names)
  own = names['get_config']()
  with config.unlocked():
    exec(OWN_METHOD, {'bp': bp, 'config': config})
    config.tasks.sticky = own.tasks.sticky
    config.network.torso = bp.spec('my_lab.elman', width=4)
    config.pretraining.task = own.pretraining.task
    config.evaluation.tasks = ('sticky', 'single_coin')
    config.tuning.methods = ('PreBayes', 'BitFit')
  dataset = run.run(config)
  regrets = dataset.cumulative_regret.sel(
    {'tuner': 'BitFit', 'pretrain_seed': 0}
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
  try:
    small = test_run.tiny(**{'tuning.methods': ('PreBayes',)})
    with small.unlocked():
      small.tasks.sticky = bp.spec('sticky_coin', stay=(0.2, 0.8))
      small.pretraining.task = 'sticky'
      small.evaluation.tasks = ('single_coin', 'sticky')
    assert 'sticky' in run.run(small).eval_task
  finally:
    sys.modules.pop('bayes_prompting.task_priors.sticky_coin', None)


def test_the_readme_s_first_experiment_builds():
  (block,) = (x for x in blocks('README.md') if 'def get_config' in x)
  namespace = {}
  exec(block, namespace)
  lab = build.build(namespace['get_config']())
  assert lab.pretraining_task == 'fair'


def test_the_readme_s_ten_lines_run(tmp_path, monkeypatch, capsys):
  first, *_ = blocks('README.md')
  lines = first.splitlines()
  assert sum(bool(line) for line in lines) <= 10
  assert [x for x in lines if 'import' in x] == ['import bayes_prompting as bp']
  start = next(i for i, line in enumerate(lines) if 'bp.run' in line)
  lines.insert(start, 'small(config)')

  def small(config):
    for section in ('pretraining', 'tuning'):
      for name in ('num_steps', 'batch_size'):
        config[section][name] = 2
    config.tuning.search_draws = 8
    config.evaluation.num_sequences = 4

  monkeypatch.chdir(tmp_path)
  exec('\n'.join(lines), {'small': small})
  assert re.search(r'SoftPT +\d', capsys.readouterr().out)
  # What docs/files.md does with this run.
  for block in blocks('docs/files.md'):
    exec(block, {})
  assert '(step: 200)' in capsys.readouterr().out


def test_the_claims_of_the_documents_are_those_of_the_results():
  folder = ROOT / 'results' / 'paper'
  table = pd.read_csv(folder / 'claims.csv')
  shown = table[~table.network.str.endswith('_large')]
  assert tables.markdown(shown) in (folder / 'README.md').read_text()
  assert (folder / 'claims.md').read_text() == tables.markdown(table)


def test_a_claim_of_one_s_own_is_judged(capsys):
  names = {}
  exec(CLAIM, names)
  config = test_run.tiny(
    **{
      'tuning.methods': ('NoTuning', 'SoftPT'),
      'evaluation.tasks': ('single_coin',),
    }
  )
  names['judge'](run.run(config))
  assert 'Claims: 1 not run.' in capsys.readouterr().out


def test_the_verdict_of_the_theory_is_what_is_printed(capsys):
  text = (ROOT / 'docs' / 'theory.md').read_text('utf-8')
  (snippet,) = blocks('docs/theory.md')
  exec(snippet, {})
  shown = re.search(r'```\n\n((?:    .*\n)+)', text)[1]
  lines = [line.removeprefix('    ') for line in shown.splitlines()]
  assert capsys.readouterr().out.splitlines() == lines


PAGES = sorted(
  path
  for path in [
    *ROOT.glob('*.md'),
    *(ROOT / 'docs').glob('[!_]*/*.md'),
    *(ROOT / 'docs').glob('*.md'),
    *(ROOT / 'results').rglob('*.md'),
    *(ROOT / 'notebooks').glob('[!.]*.md'),
    *(ROOT / 'notebooks').glob('[!.]*.ipynb'),
  ]
)
# Files that a reader of docs/howto/ is to write.
TO_WRITE = ('task_priors/sticky_coin.py', 'tuners/biases.py')
ROOMS = sorted(
  path.parent.name for path in (ROOT / 'bayes_prompting').glob('*/__init__.py')
)


@functools.cache
def prose(page):
  """Returns a page of Markdown, or that of a notebook."""
  text = page.read_text('utf-8')
  if page.suffix == '.ipynb':
    cells = json.loads(text)['cells']
    cells = [
      ''.join(x['source']) for x in cells if x['cell_type'] == 'markdown'
    ]
    text = '\n\n'.join(cells)
  return text


def anchors(page):
  """Returns the anchors of a page's titles, as GitHub makes them."""
  titles = re.findall(r'^#+ (.*)$', prose(page), re.MULTILINE)
  bare = (re.sub(r'[^\w\- ]', '', title.lower()) for title in titles)
  return {title.replace(' ', '-') for title in bare}


def exists(name):
  """Returns whether a dotted name below the package can be looked up."""
  path = name.split('.')
  for depth in range(len(path), 0, -1):
    module = '.'.join(path[:depth])
    try:
      spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
      continue
    if spec is not None:
      value = importlib.import_module(module)
      for attribute in path[depth:]:
        if not hasattr(value, attribute):
          return False
        value = getattr(value, attribute)
      return True
  return False


@pytest.mark.parametrize('page', PAGES, ids=lambda x: str(x.relative_to(ROOT)))
class TestPage:
  """What a page mentions is there."""

  def test_links(self, page):
    for link in re.findall(r'\]\(([^)\s]+)\)', prose(page)):
      if re.match(r'[a-z]+:', link):
        continue
      file, _, anchor = link.partition('#')
      target = (page.parent / file).resolve() if file else page
      assert target.exists(), link
      assert not anchor or anchor in anchors(target), link

  def test_names(self, page):
    text = prose(page)
    names = re.findall(r'\bbayes_prompting(?:\.\w+)+', text)
    rooms = '|'.join(ROOMS)
    # `claims.csv` and the like are files.
    files = r'(?:csv|md|nc|json|ipynb|py|png)\b'
    inside = re.findall(rf'`((?:{rooms})\.(?!{files})\w+(?:\.\w+)*)', text)
    for name in [*names, *(f'bayes_prompting.{name}' for name in inside)]:
      assert exists(name), name
    imports = re.findall(r'from (bayes_prompting[\w.]*) import (\w+)', text)
    for module, name in imports:
      assert exists(f'{module}.{name}'), name
    for name in re.findall(r'\bbp\.(\w+)', text):
      assert name in bp.__all__, name

  def test_paths(self, page):
    folders = 'bayes_prompting|benchmarks|configs|docs|launch|notebooks|tests'
    pattern = rf'(?<![\w/.])((?:{folders})/[\w/.-]*\w/?)'
    for path in re.findall(pattern, prose(page)):
      if not path.endswith(TO_WRITE):
        assert (ROOT / path).exists(), path

  def test_commands(self, page):
    text = prose(page).replace('\\\n', ' ')
    for module in re.findall(r'python -m ([a-z]\w*(?:\.\w+)+)', text):
      assert importlib.util.find_spec(module), module
    # A script without `python -m` before it.
    for name in re.findall(r'`launch\.(\w+)', text):
      assert importlib.util.find_spec(f'launch.{name}'), name
    for name in re.findall(r'^ +(?:.*/)?bayes-prompting ([\w-]+)', text, re.M):
      assert name in launch_main.COMMANDS, name
    for value in re.findall(r'--configs?=([\w/.:,]+)', text):
      if value.startswith(('...', 'narrow.py', 'mine')):
        continue
      try:
        file, *_ = presets.named(value).partition('.py')
      except errors.UserError as error:
        raise AssertionError(value) from error
      assert (ROOT / f'{file}.py').exists(), value

  def test_nothing_waits_for_a_figure(self, page):
    assert not re.findall(r'^[A-Z_]{3,}$', prose(page), re.MULTILINE)


def test_commands_are_parsed_by_their_scripts(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (own,) = (x for x in blocks('README.md') if 'def get_config' in x)
  (tmp_path / 'narrow.py').write_text(own)
  texts = {page: prose(page) for page in PAGES}
  for path in commands.files():
    texts[path] = ast.get_docstring(ast.parse(path.read_text('utf-8'))) or ''
  found = {page: commands.shown(text) for page, text in texts.items()}
  for page, lines in found.items():
    for command in lines:
      try:
        commands.check(command)
      except Exception as error:
        raise AssertionError(f'{page}: {command}') from error
  assert sum(map(len, found.values())) > 40
  with_some = {page.name for page, lines in found.items() if lines}
  assert {'README.md', 'files.md', 'scaling.md', 'sweep.py'} <= with_some
  assert not list(tmp_path.glob('runs'))


def test_a_command_that_a_script_does_not_know_is_noticed(capsys):
  for command in (
    'bayes-prompting report --workdir=runs/demo --overwrite',
    'bayes-prompting run --config=quick',
    'bayes-prompting run --config=quick --workdir=x --config.tuning.stps=1',
    'python -m launch.sweep --workdir=x --configs=nothing,lstm',
  ):
    with pytest.raises((AssertionError, errors.UserError)):
      commands.check(command)
  with pytest.raises(KeyError):
    commands.check('bayes-prompting fly')
  capsys.readouterr()


# How many blocks of Python each page has, all of which are executed: here, or
# by the tests of what they are about.
EXECUTED = {
  'README.md': 2,
  'docs/audit.md': 1,  # tests/dynamics/test_audit.py
  'docs/dynamics.md': 1,  # tests/dynamics/test_study.py
  'docs/examples/phones.md': 1,  # In tests/experiment/test_recorded.py
  'docs/experiments/prompts.md': 1,  # tests/studies/test_rankings.py
  'docs/files.md': 2,
  'docs/howto/own_claim.md': 1,
  'docs/howto/own_prior.md': 3,  # One in tests/experiment/test_files_read.py
  'docs/howto/own_torso.md': 1,
  'docs/howto/own_tuner.md': 2,
  'docs/howto/share.md': 1,  # tests/adapters/test_sharing.py
  'docs/language_models.md': 2,  # tests/language/test_language.py
  'docs/own_sequences.md': 2,  # In tests/experiment/test_recorded.py
  'docs/task_priors.md': 2,  # One in tests/training/test_scored.py
  'docs/theory.md': 1,
  'docs/tuners.md': 2,  # tests/tuners/test_tuners.py
}


def test_every_block_of_python_is_executed_by_a_test():
  counts = {}
  for page in PAGES:
    name = page.relative_to(ROOT).as_posix()
    if page.suffix == '.md' and blocks(name):
      counts[name] = len(blocks(name))
  assert counts == EXECUTED, 'have a test execute what is new'


@pytest.mark.parametrize(
  ('block', 'kind', 'name'),
  [
    (blocks('docs/task_priors.md')[0], 'tasks', 'world'),
    (OWN_METHOD, 'methods', 'BitFit'),
  ],
)
def test_lines_for_a_configuration_change_one(block, kind, name):
  config = bp.base_config()
  with config.unlocked():
    exec(block, {'bp': bp, 'config': config})
  made = config[kind][name].to_dict()
  if kind == 'tasks':
    assert bp.task_prior(**made).vocab_size == 2
  else:
    assert name in config.tuning.methods


def strings():
  """Yields (path, text) of every string of the code that a user may read."""
  for folder in ('bayes_prompting', 'launch', 'configs'):
    for path in (ROOT / folder).rglob('*.py'):
      for node in ast.walk(ast.parse(path.read_text('utf-8'))):
        if isinstance(node, ast.JoinedStr):
          parts = [x.value for x in node.values if isinstance(x, ast.Constant)]
          yield path, '\0'.join(parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
          yield path, node.value


def test_messages_name_what_exists():
  known = set()
  for path in (ROOT / 'launch').glob('*.py'):
    known |= set(re.findall(r"DEFINE_\w+\(\s*'(\w+)'", path.read_text('utf-8')))
  # Defined by name, and flags of pytest, XLA and Python.
  known |= {'allow_plugins', 'config', 'save', 'load'}
  rooms = '|'.join([*ROOMS, 'registry', 'settings'])
  names = 0
  for path, text in strings():
    for name in re.findall(r'\blaunch\.(?!py\b)(\w+)', text):
      assert importlib.util.find_spec(f'launch.{name}'), (path, name)
      names += 1
    for name in re.findall(r'\bbayes-prompting ([a-z][\w-]*)', text):
      assert name in launch_main.COMMANDS, (path, name)
      names += 1
    for name in re.findall(r'\bbp\.([a-z]\w*)', text):
      assert name in bp.__all__, (path, name)
      names += 1
    for name in re.findall(rf'\b((?:{rooms})\.[a-z]\w*)\(', text):
      assert exists(f'bayes_prompting.{name}'), (path, name)
      names += 1
    if path.parent.name == 'launch':
      for name in re.findall(r'(?<![\w-])--([a-z]\w+)\b(?![.-])', text):
        assert name.removeprefix('no') in known or name in known | {
          'help',
          'version',
          'flag',
        }, (path, name)
        names += 1
  assert names > 50


def test_the_readme_is_short():
  assert len((ROOT / 'README.md').read_text('utf-8').splitlines()) <= 150


def test_one_version_is_named_everywhere():
  cited = (ROOT / 'CITATION.cff').read_text('utf-8')
  changes = (ROOT / 'CHANGELOG.md').read_text('utf-8')
  newest, *_ = re.findall(r'^## ([\d.]+)', changes, re.MULTILINE)
  assert re.findall(r'^version: (\S+)$', cited, re.MULTILINE) == [newest]
  assert newest == bp.__version__
