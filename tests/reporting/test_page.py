"""A report shows what the results hold, needs no network, and works.

The browser test is skipped where there is no Chromium, unless REQUIRE_BROWSER=1
says that there must be one.
"""

import html
import html.parser
import itertools
import json
import os
import re
import shutil
import types
import urllib.parse
import urllib.request

import numpy as np
from PIL import Image
import pytest

import bayes_prompting
from bayes_prompting import errors
from bayes_prompting import results
from bayes_prompting import settings
from bayes_prompting.reporting import dark
from bayes_prompting.reporting import page as page_lib
from bayes_prompting.reporting import page_curves
from bayes_prompting.reporting import page_parts
from bayes_prompting.reporting import style
from bayes_prompting.results import evidence
from bayes_prompting.results import ranking as ranking_lib
from bayes_prompting.results import selection
from bayes_prompting.results import summary
from bayes_prompting.settings import plain
from tests import browsing
from tests.launch import commands
from tests.launch import test_launch

# A name that breaks a page which does not escape it, in HTML or in JSON.
NASTY = '</script><img src=x onerror="window.broken=1">\'&%{x}\u2028'
METHODS = ('Oracle', 'TargetBayes', 'EvalBayes', 'SoftPT', 'FullWT', NASTY)
TASKS = ('single_coin', 'random_coins')
REPETITIONS, STEPS, SEQUENCES = 3, 20, 8
REPORT_STEPS = (5, 20)
INFINITE = (NASTY, 'random_coins')  # From step 11 on.


def _regrets(rng, method, task, runs):
  """Instantaneous regret by sequence, [1, 1, runs, 2, 3, S, STEPS]."""
  shape = (1, 1, runs, 2, 3, SEQUENCES, STEPS)
  now = np.float32(0.01) * (1 + rng.random(shape)) * (1 + METHODS.index(method))
  if method == 'Oracle':
    now = np.zeros(shape)
  if (method, task) == INFINITE:
    now[..., 10:] = np.inf
  return now


def dataset(seed=0, rates=(5e-3,)):
  """A results file of six methods, by hand."""
  rng = np.random.default_rng(seed)
  builder = results.Builder(
    {
      'tuner': METHODS,
      'pretrain_seed': range(2),
      'learning_rate': rates,
      'prefix_init': ['normal'],
      'repetition': range(REPETITIONS),
      'eval_task': TASKS,
      'reference': ('oracle', 'bayes'),
      'estimator': ('sampled', 'exact', 'paired'),
      'step': range(1, STEPS + 1),
      'report_step': REPORT_STEPS,
      'sequence': range(SEQUENCES),
      'pretraining_step': (),
      'tuning_step': range(1, 11),
      'candidate': (),
    }
  )
  for method in METHODS:
    network = method not in METHODS[:3]
    for task in TASKS:
      if (method, task) in (('TargetBayes', TASKS[1]), ('EvalBayes', TASKS[0])):
        continue
      for seed in range(1 + network):
        now = _regrets(rng, method, task, REPETITIONS if network else 1)
        now = np.repeat(now, len(rates) if network else 1, axis=0)
        now *= np.arange(1, len(now) + 1).reshape(-1, *[1] * 6)
        total = now.cumsum(-1)
        steps = np.array(REPORT_STEPS) - 1
        regrets = types.SimpleNamespace(
          instantaneous=now.mean(-2),
          instantaneous_sem=now.mean(-2),
          cumulative=total.mean(-2),
          cumulative_sem=total.mean(-2),
          sequences=np.moveaxis(total[..., steps], -1, -2),
        )
        builder.put_regrets(method, seed, task, regrets)
        if network:
          loss = np.ones((len(rates), 1, REPETITIONS, 10))
          loss[-1] = 0.5  # The last is the best.
          builder.put('tuning_loss', loss, tuner=method, pretrain_seed=seed)
  return builder.build(
    {
      'target': TASKS[0],
      'config': '{}',
      'tuning_length': 5,
      'pretraining_length': 40,
    }
  )


CLAIMS = """\
claim,network,quantity,value,low,high,bound,verdict,unit,networks,repetitions,\
experiment,reason,extra
SoftPT adapts,lstm,regret at 50,0.041234,0.03,inf,< 0.05,undecided,nats,3,10,\
coin,"It, or not.",one
</td><script>window.broken=1</script>,lstm,regret,2,1,3,> 1,holds,nats,3,10,\
coin,,
</td><script>window.broken=1</script>,lstm_large,regret,2,1,3,> 1,holds,nats,3,\
10,other,,
FullWT forgets,lstm,regret,,,,< 1,not run,nats,,,coin,,
Hard is hard,lstm,regret,9,8,10,< 1,does not hold,nats,3,10,coin,,
Soft is soft,lstm,regret,0,0,0.5,< 1,holds,nats,3,10,coin,,
"""


AUDIT = {
  'method': 'SoftPT',
  'network': 0,
  'task': 'coins',
  'verdict': 'It is not exact Bayes of <coins>.',
  'num_sequences': 256,
  'length': 50,
  'tolerance': 1e-5,
  'checks': [
    {
      'title': title,
      'value': value,
      'low': None if value is None else value - 1,
      'high': None,
      'unit': 'nats',
      'adjusted': p_value,
      'status': status,
      'counts': status == 'fails',
      'sentence': '</td><script>window.broken=1</script>',
    }
    for title, value, p_value, status in (
      ('Martingale property', 0.25, 0.001, 'fails'),
      ('Calibration', -0.5, 1.0, 'passes'),
      ('Adaptation', None, None, 'not judged'),
    )
  ],
}


def put_audit(folder, text):
  (folder / 'audit').mkdir()
  (folder / 'audit' / 'audit.json').write_text(text)
  (folder / 'audit' / 'audit.csv').write_text('method,check\n')
  Image.new('RGB', (40, 40)).save(folder / 'audit' / 'SoftPT-seed0.png')


def make_run(folder, data, seed=0):
  folder.mkdir(parents=True)
  results.save(data, folder / 'results.nc')
  summary.save(summary.summarize(data), folder / 'summary.csv')
  config = plain.of(settings.base_config()) | {'seed': seed}
  config['methods'][NASTY] = {'name': 'biases'}
  record = {'config': config, 'seed': seed, 'numerical': {'device': '<cpu>'}}
  (folder / 'config.json').write_text(json.dumps(record))
  (folder / 'figures').mkdir()
  rng = np.random.default_rng(seed)
  for step in (20, 5):
    pixels = rng.integers(0, 2, (40, 60 * step, 4), dtype=np.uint8) * 255
    name = f'cumulative_regret_step{step}.png'
    Image.fromarray(pixels).save(folder / 'figures' / name)
  return folder


@pytest.fixture(scope='module')
def made(tmp_path_factory):
  return make_run(tmp_path_factory.mktemp('made') / 'run', dataset())


@pytest.fixture
def run(made, tmp_path):
  """A run of its own for a test that changes it."""
  return shutil.copytree(made, tmp_path / 'run')


@pytest.fixture(scope='module')
def collection(made, tmp_path_factory):
  """Two runs, claims, and what is no run or not finished."""
  root = tmp_path_factory.mktemp('runs') / 'a "paper" & <more>'
  shutil.copytree(made, root / 'first')
  make_run(root / 'second <b>', dataset(1, rates=(1e-3, 5e-3)), seed=1)
  put_audit(root / 'first', json.dumps({'audits': [AUDIT]}))
  (root / 'networks' / 'abc').mkdir(parents=True)
  (root / 'logs').mkdir()
  (root / 'started').mkdir()
  shutil.copy(root / 'first' / 'config.json', root / 'started')
  (root / 'claims.csv').write_text(CLAIMS)
  (root / 'figures').mkdir()
  figure = root / 'first' / 'figures' / 'cumulative_regret_step5.png'
  shutil.copy(figure, root / 'figures' / 'paper_figure-3.png')
  page_lib.write(root)
  return root


class Page(html.parser.HTMLParser):
  """What a page holds: tags that match, attributes, tables, headings, text."""

  VOID = {'meta', 'link', 'img', 'br', 'input'}

  def __init__(self, source):
    super().__init__()
    self.open, self.attributes, self.tables = [], [], []
    self.headings, self.scripts, self.text = [], [], ''
    self.feed(source)
    self.close()
    assert self.open == []

  def handle_starttag(self, tag, attributes):
    self.attributes += [(tag, *pair) for pair in attributes]
    if tag == 'table':
      self.tables.append([])
    if tag == 'tr':
      self.tables[-1].append([])
    if tag in ('td', 'th'):
      self.tables[-1][-1].append('')
      assert tag == 'td' or 'scope' in dict(attributes)
    if re.fullmatch('h[1-6]', tag):
      self.headings.append(int(tag[1]))
    if tag == 'script':
      self.scripts.append('')
    if tag not in self.VOID:
      self.open.append(tag)

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    if 'script' in self.open:
      self.scripts[-1] += data
    elif 'style' not in self.open:
      self.text += data
      if {'td', 'th'} & set(self.open):
        self.tables[-1][-1][-1] += data

  def table(self, *columns):
    """Returns the tables that start with these columns."""
    return [t for t in self.tables if tuple(t[0][: len(columns)]) == columns]

  def cell(self, table, row, column):
    (found,) = [cells for cells in table if cells[0] == row]
    return found[table[0].index(column)]


@pytest.fixture(scope='module')
def page(collection):
  return Page((collection / 'report.html').read_text())


def test_the_page_is_whole_in_itself(collection, page):
  assert [x.name for x in collection.glob('*report*')] == ['report.html']
  assert [x for x in collection.iterdir() if x.name.startswith('.')] == []
  for tag, name, value in page.attributes:
    assert not name.startswith('on')
    if name in ('src', 'srcset', 'data', 'action', 'poster', 'xlink:href'):
      assert value.startswith('data:')
    if name == 'href':
      paper = tag == 'a' and value == 'https://arxiv.org/abs/2505.17010'
      assert paper or value.startswith(('data:', '#'))
  styles = re.findall(
    r'<style>.*?</style>', (collection / 'report.html').read_text(), re.S
  )
  assert not re.search(r'@import|url\(', ''.join(styles))
  ids = [value for _, name, value in page.attributes if name == 'id']
  assert len(ids) == len(set(ids))
  links = {v[1:] for _, n, v in page.attributes if n == 'href' and v[:1] == '#'}
  labels = {value for _, name, value in page.attributes if name == 'for'}
  assert links | labels <= set(ids)


def test_headings_are_in_order_and_images_described(page):
  assert page.headings[0] == 1
  assert page.headings.count(1) == 1
  assert all(b <= a + 1 for a, b in itertools.pairwise(page.headings))
  images = [
    value
    for tag, name, value in page.attributes
    if tag == 'img' and name == 'alt'
  ]
  assert len(images) == 6
  assert all(images)
  # As numbers, not as text: 5 before 20.
  assert page.text.index('after 5 steps.') < page.text.index('after 20 steps.')
  assert 'Paper figure 3.' in page.text
  assert 'judged by regret' in page.text and 'Paired regret' in page.text


def test_a_name_is_only_a_name(page):
  assert len(page.scripts) == 4
  assert NASTY in page.text
  assert 'started' in page.text
  assert 'a "paper" & <more>' in page.text
  assert '--workdir=\'a "paper" & <more>\'' in page.text


def test_curves_are_those_of_the_results(collection, page):
  data = json.loads(page.scripts[1])
  assert [one['name'] for one in data] == ['first', 'second <b>']
  for one in data:
    whole = results.load(collection / one['name'])
    chosen = selection.choose(whole)
    assert one['steps'] == list(range(1, STEPS + 1))
    assert one['marks'] == [{'name': 'tuning length', 'step': 5}]
    looks = style.looks(METHODS)
    assert [look['name'] for look in one['methods']] == list(looks)
    for look in one['methods']:
      assert look['color'] == looks[look['name']]['color']
    for task in one['tasks']:
      for quantity, curves in task['curves'].items():
        for look, curve in zip(one['methods'], curves, strict=True):
          _check_curve(chosen, quantity, task['name'], look['name'], curve)


def _check_curve(chosen, quantity, task, method, curve):
  labels = {
    'tuner': method,
    'eval_task': task,
    'reference': 'oracle',
    'estimator': 'paired',
  }
  ran = chosen.judged.sel(tuner=method, eval_task=task).values.ravel() == 1
  values = chosen[quantity].sel(labels).values.reshape(-1, STEPS)[ran]
  if not len(values):
    assert curve is None
    return
  assert len(curve) == (3 if len(values) > 1 else 1)
  if (method, task) == INFINITE:
    assert all(part[10:] == [None] * 10 for part in curve)
    values, curve = values[:, :10], [part[:10] for part in curve]
  quartiles = np.quantile(values.astype(np.float64), (0.5, 0.25, 0.75), axis=0)
  # Half of a unit of the last of four digits is 5e-4 at most, of three 5e-3.
  np.testing.assert_allclose(curve[0], quartiles[0], rtol=5e-4)
  for part, wanted in zip(curve[1:], quartiles[1:], strict=False):
    np.testing.assert_allclose(part, wanted, rtol=5e-3)


def test_looks_in_the_terms_of_plotly():
  every = style.looks([*style._LOOKS, *(f'Own{i}' for i in range(28))])
  found = [page_curves.plotly_look(look) for look in every.values()]
  assert all(
    x['symbol'] or not look['marker']
    for x, look in zip(found, every.values(), strict=True)
  )
  assert found[0] == {
    'color': '#000000',
    'dark': dark.color('#000000'),
    'dash': '2px,2px',
    'symbol': '',
  }
  assert page_curves.plotly_look(every['SoftPT'])['dash'] == 'solid'
  assert page_curves.plotly_look(every['TargetBayes'])['dash'] == '10px,4px'


def test_numbers_are_short_and_valid_json():
  values = [0.0, -0.0, 12.0, 1 / 3, 1e-9 / 3, 1e30, np.inf, -np.inf, np.nan]
  found = page_curves.numbers(np.array(values))
  assert json.dumps(found, allow_nan=False) == (
    '[0, 0, 12, 0.3333, 3.333e-10, 1e+30, null, null, null]'
  )


def test_tables_are_those_of_the_summary(collection, page):
  tables = page.table('tuner', 'single_coin (target)')
  assert len(tables) == 4
  frames = [
    summary.summarize(results.load(collection / name))
    for name in ('first', 'second <b>')
  ]
  found = itertools.product(frames, REPORT_STEPS)
  for table, (frame, step) in zip(tables, found, strict=True):
    frame = frame[
      (frame.reference == 'oracle')
      & (frame.estimator == 'paired')
      & (frame.step == step)
    ]
    shown = 0
    for row in frame.itertuples():
      title = row.eval_task + ' (target)' * (row.eval_task == TASKS[0])
      cell = page.cell(table, row.tuner, title)
      first = row.median if row.runs > 1 else row.mean
      assert cell.split()[0] == f'{first:.3f}'.replace('inf', '∞')
      if row.runs > 1 and np.isfinite(row.median):
        assert cell.endswith(f'[{row.q25:.3f}, {row.q75:.3f}]')
      shown += 1
    assert shown == sum(
      len(cell) > 1 for cells in table[1:] for cell in cells[1:3]
    )
    assert page.cell(table, 'SoftPT', 'networks') == '2'
    assert page.cell(table, 'SoftPT', 'repetitions') == '3'
    assert page.cell(table, 'Oracle', 'repetitions') == '1'
    assert page.cell(table, 'EvalBayes', 'single_coin (target)') == ''
  # Where there was a choice, what was chosen.
  assert 'learning rate' not in tables[0][0]
  assert page.cell(tables[2], 'SoftPT', 'learning rate') == '0.005'
  assert page.cell(tables[2], 'Oracle', 'learning rate') == ''


def test_files_can_be_saved_from_the_page(collection, page):
  found = {}
  for (_, name, value), (_, other, uri) in itertools.pairwise(page.attributes):
    if name == 'download' and other == 'href':
      found[value] = urllib.parse.unquote(uri.partition(',')[2])
  assert found == {
    'claims.csv': CLAIMS,
    'first-audit.csv': 'method,check\n',
    **{
      f'{run}-{name}': (collection / run / name).read_text()
      for run in ('first', 'second <b>')
      for name in ('summary.csv', 'config.json')
    },
  }


def test_a_summary_that_has_gone_is_made_anew(run):
  before = page_lib.render(run)
  (run / 'summary.csv').unlink()
  assert page_lib.render(run) == before


def test_claims_with_their_verdicts(page):
  (table,) = page.table('Claim', 'Network')
  assert table[0] == [
    'Claim',
    'Network',
    'Measured [95% interval]',
    'Bound',
    'Verdict',
    'Networks × repetitions',
    'extra',
  ]
  assert table[1] == [
    'SoftPT adaptshow it is decidedDecided by: regret at 50'
    'Why this bound: It, or not.Run: coin',
    'lstm',
    '0.0412 [0.03, ∞] nats',
    '< 0.05',
    '? undecided',
    '3 × 10',
    'one',
  ]
  assert table[2][0].startswith('</td><script>window.broken=1</script>')
  assert table[2][0].endswith('Run: coin (lstm); other (lstm_large)')
  # Another network, of the same claim.
  assert table[3][:4] == ['lstm_large', '2 [1, 3] nats', '> 1', '✓ holds']
  assert table[4][2] == '–'
  assert [row[-3] for row in table[4:]] == [
    '– not run',
    '✗ does not hold',
    '✓ holds',
  ]
  assert re.search(
    r'3\s+holds\s+1\s+does not hold\s+1\s+undecided\s+1\s+not run', page.text
  )


def test_audits_with_their_checks(page, run):
  (table,) = page.table('Check', 'Measured [95% interval]')
  rows = {cells[0]: [cell.strip() for cell in cells] for cells in table[1:]}
  martingale = rows['Martingale property']
  assert martingale[1:5] == ['0.25 [−0.75, ] nats', '0.001', '✗ fails', 'yes']
  assert rows['Calibration'][2:5] == ['1', '✓ passes', 'no']
  assert rows['Adaptation'][1:5] == ['nats', '', '– not judged', 'no']
  assert 'It is not exact Bayes of <coins>.' in page.text
  assert 'Audit of SoftPT, network 0' in page.text
  assert ('a', 'href', '#audit') in page.attributes
  assert ('a', 'download', 'first-audit.csv') in page.attributes
  # A run without one has no section.
  assert 'Is it Bayesian' not in page_lib.write(run).read_text()


def test_verdicts_of_small_runs_say_so(run):
  path = run / 'config.json'
  record = json.loads(path.read_text())
  (run / 'claims.csv').write_text(CLAIMS)
  said = "Not at the paper's settings: "
  for updates in (0, 1000):  # The first is an untrained network.
    record['config']['pretraining']['num_steps'] = updates
    path.write_text(json.dumps(record))
    assert said not in Page(page_lib.render(run)).text
  record['config']['pretraining']['num_steps'] = 400
  record['config']['evaluation']['num_sequences'] = 256
  path.write_text(json.dumps(record))
  wanted = '400 updates of pretraining, not 1000; '
  wanted += '256 sequences of evaluation, not 2048.'
  assert said + wanted in Page(page_lib.render(run)).text


def shown_code(page):
  """Returns what the page shows as code, as a reader copies it."""
  blocks = re.findall(r'<pre><code>(.*?)</code></pre>', page, re.DOTALL)
  return [html.unescape(block) for block in blocks]


@pytest.mark.parametrize('alone', [True, False])
def test_code_that_is_shown_works(collection, run, monkeypatch, alone):
  folder = run if alone else collection
  rows = folder / evidence.NAME
  rows.touch()
  page = page_lib.render(folder)
  rows.unlink()
  *shell, snippet, last = shown_code(page)
  monkeypatch.chdir(folder.parent)
  assert len(shell) == 1
  for command in (*shell, last):
    commands.check(command)
  path = (folder if alone else folder / 'first') / 'config.json'
  before = path.read_text()
  record = json.loads(before)
  del record['config']['methods'][NASTY]  # No configuration has such names.
  runs = []  # All is done but the run itself.
  monkeypatch.setattr(bayes_prompting, 'run', lambda *args: runs.append(args))
  path.write_text(json.dumps(record))
  try:
    exec(snippet, {})
  finally:
    path.write_text(before)
  ((config, workdir),) = runs
  assert plain.of(config) == record['config']
  settings.validate(config)
  assert workdir == 'runs/again'
  # Without rows there are no claims to judge.
  assert shell[0] not in shown_code(page_lib.render(folder))


def test_settings_and_what_differs(page):
  (table,) = page.table('run', 'seed')
  assert table == [['run', 'seed'], ['first', '0'], ['second <b>', '1']]
  first, _ = page.table('field', 'value')
  assert ['single_coin', 'categorical(probabilities=(0.2, 0.8))'] in first
  assert ['device', '<cpu>'] in first
  (legend,) = page.table('tuner', 'what is tuned, or what it is')
  assert [NASTY, 'biases()'] in legend


def test_one_run(run):
  path = page_lib.write(run)
  assert path == run / 'report.html'
  first = path.read_bytes()
  page = Page(first.decode())
  assert not page.table('Verdict')
  assert 'One run' in page.text
  assert 'launch.paper' not in page.text
  assert page_lib.write(run).read_bytes() == first


def test_figures_shrink_and_keep_their_size(tmp_path):
  pixels = np.zeros((100, 2000, 3), np.uint8)
  pixels[:, ::7] = (213, 94, 0)
  Image.fromarray(pixels).save(tmp_path / 'losses.png')
  pixels = pixels[:, :1000]
  Image.fromarray(pixels).save(tmp_path / 'other.png')
  wide, other = page_parts.figures(tmp_path)
  assert (wide['width'], wide['height']) == (1600, 80)
  assert (other['width'], other['height']) == (1000, 100)
  assert wide['title'] == 'Training losses'
  content = urllib.request.urlopen(other['uri']).read()
  (tmp_path / 'small.png').write_bytes(content)
  small = np.asarray(Image.open(tmp_path / 'small.png').convert('RGB'))
  np.testing.assert_array_equal(small, pixels)


def _nothing(folder):
  shutil.rmtree(folder)


MISTAKES = {
  'no such folder': (_nothing, 'cannot read the folder'),
  'an empty folder': (
    lambda folder: [_nothing(folder), folder.mkdir()],
    'no finished run',
  ),
  'no results': (
    lambda folder: (folder / 'results.nc').unlink(),
    'no finished run.*1 only started',
  ),
  'results cut off': (
    lambda folder: os.truncate(folder / 'results.nc', 5000),
    'results.nc',
  ),
  'another file': (
    lambda folder: (folder / 'results.nc').write_text('x'),
    'results.nc',
  ),
  'a part of results': (
    lambda folder: results.save(
      dataset().drop_vars('judged'), folder / 'results.nc'
    ),
    'results.nc.*judged',
  ),
  'no JSON': (
    lambda folder: (folder / 'config.json').write_text('{'),
    'config.json.*not valid JSON',
  ),
  'no image': (
    lambda folder: (folder / 'figures' / 'losses.png').write_text('x'),
    'losses.png',
  ),
  **{
    f'no audits {text}': (
      lambda folder, text=text: put_audit(folder, text),
      r'audit\.json',
    )
    for text in ('', '{}', '{"audits": [{}]}', '{"audits": [3]}')
  },
  'no text': (
    lambda folder: (folder / 'claims.csv').write_bytes(b'\xff\xfe\xff'),
    'claims.csv',
  ),
  'a folder by the name of the page': (
    lambda folder: (folder / 'report.html').mkdir(),
    'cannot write.*report.html',
  ),
}


@pytest.mark.parametrize('name', MISTAKES)
def test_mistakes_are_named(run, name):
  spoil, fragment = MISTAKES[name]
  spoil(run)
  with pytest.raises(
    errors.UserError, match='^(workdir|results): .*' + fragment
  ) as raised:
    page_lib.write(run)
  assert '\n' not in str(raised.value)
  assert not (run / 'report.html').is_file()


def test_help_needs_no_jax():
  helped = test_launch.launch('report', '--help', python=('-X', 'importtime'))
  assert helped.code == 0
  assert '--workdir' in helped.out
  assert 'python -m launch.report' in helped.out
  assert not {'jax', 'xarray', 'plotly'} & test_launch.imported(helped)


def _flip(folder):
  file = folder / 'results.nc'
  data = bytearray(file.read_bytes())
  data[len(data) // 2] ^= 1
  file.write_bytes(data)


def _without_a_size(folder):
  record = json.loads((folder / 'config.json').read_text())
  del record['config']['tuning']['num_steps']
  (folder / 'config.json').write_text(json.dumps(record))


DAMAGE = {
  'a flipped bit': _flip,
  'without a size': _without_a_size,
  **{
    name: MISTAKES[name][0] for name in ('another file', 'no JSON', 'no image')
  },
}


@pytest.mark.parametrize('name', DAMAGE)
def test_a_damaged_run_is_left_out_and_named(
  collection, tmp_path, capsys, name
):
  pages = []
  for place in ('one', """bob's "other\""""):
    root = shutil.copytree(collection, tmp_path / place / 'runs')
    DAMAGE[name](root / 'first')
    pages.append(page_lib.write(root).read_text())
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('warning: ') and line.endswith('not in the report')
    assert 'first' in line
  assert pages[0] == pages[1]
  page = Page(pages[0])
  assert 'second <b>' in page.text and 'may count what is missing' in page.text
  assert 'Damaged, and not shown: first. ' in page.text
  assert 'All runs that are shown have the same settings' in page.text


def test_claims_on_small_runs_stay_so_where_one_cannot_be_read(
  collection, tmp_path
):
  root = shutil.copytree(collection, tmp_path / 'runs')
  path = root / 'first' / 'config.json'
  record = json.loads(path.read_text())
  record['config']['tuning']['num_steps'] = 3
  path.write_text(json.dumps(record))
  assert '3 updates of tuning, not' in Page(page_lib.render(root)).text
  _flip(root / 'first')
  assert '3 updates of tuning, not' in Page(page_lib.render(root)).text


def test_where_all_runs_are_damaged_the_first_is_told(
  collection, tmp_path, capsys
):
  root = shutil.copytree(collection, tmp_path / 'runs')
  for run in ('first', 'second <b>'):
    _flip(root / run)
  file = re.escape(str(root / 'first' / 'results.nc'))
  with pytest.raises(errors.UserError, match=file):
    page_lib.write(root)
  assert capsys.readouterr().err == ''


@pytest.fixture(scope='module')
def server():
  yield from test_launch.server('from bayes_prompting.reporting import page')


def test_the_script(server, run, tmp_path):
  def ask(name, *arguments):
    return test_launch.ask(server, tmp_path / name, 'report', *arguments)

  done = ask('done', f'--workdir={run}')
  assert done.code == 0, done.err
  assert str(run / 'report.html') in done.out
  assert (run / 'report.html').is_file()
  test_launch.mistake(ask('missing'), '--workdir: missing')
  nowhere = tmp_path / 'nowhere'
  test_launch.mistake(ask('said', f'--workdir={nowhere}'), str(nowhere))
  assert not nowhere.exists()
  config = ('--config=configs/quick.py', f'--workdir={run}')
  test_launch.mistake(ask('config', *config), '--config')


# In a browser.


def _wait(browser, condition):
  from selenium.webdriver.support import ui

  ui.WebDriverWait(browser, 20).until(condition)


def _open(browser, path):
  browser.get(path.as_uri())
  ready = 'return plot.dataset.ready'
  _wait(browser, lambda b: b.execute_script(ready) == 'yes')


def _lines(browser):
  """Returns what is drawn: {method: (visible, y)}, lines without bands."""
  found = browser.execute_script(
    'return plot.data.filter(t => t.showlegend !== false)'
    '.map(t => [t.meta, [t.visible, t.y]])'
  )
  return dict(found)  # In order, which an object of the page would lose.


def _pick(browser, name, text):
  from selenium.webdriver.support import ui

  ui.Select(browser.find_element('id', f'pick-{name}')).select_by_visible_text(
    text
  )


def _click_legend(browser, index):
  before = _lines(browser)
  toggles = browser.find_elements('css selector', '#plot .legendtoggle')
  toggles[index].click()
  _wait(browser, lambda b: _lines(b) != before)


def test_in_a_browser(browser, collection):
  _open(browser, collection / 'report.html')
  first = _lines(browser)
  assert list(first) == ['Oracle', 'TargetBayes', 'SoftPT', 'FullWT', NASTY]
  assert all(visible is True for visible, _ in first.values())
  assert browser.execute_script('return window.broken') is None
  legend = browser.find_elements('css selector', '#plot .legendtext')
  assert legend[-1].text.startswith('</script><img')  # As text.

  _click_legend(browser, 2)
  assert _lines(browser)['SoftPT'][0] is False
  bands = browser.execute_script(
    "return plot.data.filter(t => t.meta === 'SoftPT').map(t => t.visible)"
  )
  assert bands == [False, False]  # The band goes with its line.

  width = 'return plot._fullLayout.width'
  before = browser.execute_script(width)
  for event, wanted in (('beforeprint', 640), ('afterprint', before)):
    browser.execute_script(f'window.dispatchEvent(new Event("{event}"))')
    _wait(browser, lambda b, w=wanted: b.execute_script(width) == w)

  # Another task: other curves, and what was off is off.
  _pick(browser, 'task', 'random_coins')
  second = _lines(browser)
  assert list(second) == ['Oracle', 'EvalBayes', 'SoftPT', 'FullWT', NASTY]
  assert second['FullWT'][1] != first['FullWT'][1]
  assert second['SoftPT'][0] is False
  assert second[NASTY][1][10:] == [None] * 10
  note = browser.find_element('id', 'note')
  assert 'from step 11' in note.text

  # Another run, quantity and axis.
  _pick(browser, 'run', 'second <b>')
  third = _lines(browser)
  assert third['SoftPT'][0] is False
  assert third['FullWT'][1] != second['FullWT'][1]
  _pick(browser, 'quantity', 'instantaneous regret')
  assert _lines(browser)['FullWT'][1] != third['FullWT'][1]
  # On a linear axis all that is small is zero, so it is not the first.
  scale = 'return plot.layout.yaxis.type'
  assert browser.execute_script(scale) == 'log'
  _pick(browser, 'axis', 'linear')
  assert browser.execute_script(scale) == 'linear'
  _pick(browser, 'axis', 'logarithmic')
  assert browser.execute_script(scale) == 'log'
  assert 'Oracle' in note.text
  assert _lines(browser)['SoftPT'][0] is False
  browser.find_element('id', 'show-all').click()
  assert _lines(browser)['SoftPT'][0] is True
  browser.find_element('id', 'show-none').click()
  assert {visible for visible, _ in _lines(browser).values()} == {False}
  browser.set_window_size(600, 900)  # Drawn anew, with nothing to draw.
  narrow = 'return plot.classList.contains("narrow")'
  _wait(browser, lambda b: b.execute_script(narrow))
  assert browsing.complaints(browser) == []


PHONE = {'width': 390, 'height': 844, 'deviceScaleFactor': 1, 'mobile': True}
# What is wider than the page, but for what has a box to scroll in.
WIDER = """
const inside = (x) => x.closest('.scroll, pre, .js-plotly-plot, title');
return [...document.body.querySelectorAll('*')].filter((x) => !inside(x) &&
  x.getBoundingClientRect().right > innerWidth + 1).map((x) => x.outerHTML)
"""


@pytest.mark.parametrize('alone', [True, False])
def test_a_phone_need_not_scroll_sideways(browser, run, collection, alone):
  path = page_lib.write(run) if alone else collection / 'report.html'
  browser.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', PHONE)
  try:
    _open(browser, path)
    unfold = "document.querySelectorAll('details').forEach(x => x.open = true)"
    browser.execute_script(unfold)
    width = 'return document.documentElement.scrollWidth'
    assert browser.execute_script(width) == 390
    assert browser.execute_script(WIDER) == []
    hidden = 'return document.getElementById("pick-run").offsetParent === null'
    assert browser.execute_script(hidden) == alone  # There is one run only.
    assert browsing.complaints(browser) == []
  finally:
    browser.execute_cdp_cmd('Emulation.clearDeviceMetricsOverride', {})


def _shown(browser):
  """Returns the methods that are drawn."""
  return {name for name, (visible, _) in _lines(browser).items() if visible}


def _box(browser, name):
  boxes = browser.find_elements('css selector', '#filter [data-method]')
  return next(x for x in boxes if x.get_attribute('data-method') == name)


def test_the_filter(browser, collection):
  browser.set_window_size(1280, 1000)
  _open(browser, collection / 'report.html')
  browser.execute_script("location.hash = ''")
  every = _shown(browser)
  assert len(every) == 5
  status = browser.find_element('id', 'shown')
  assert status.text == '6 of 6 shown'
  # By the keyboard alone, and in the tables too.
  _box(browser, NASTY).send_keys(' ')
  assert _shown(browser) == every - {NASTY}
  rows = browser.find_elements('css selector', '[data-row]')
  hidden = [x for x in rows if x.get_attribute('hidden')]
  assert {x.get_attribute('data-row') for x in hidden} == {NASTY}
  assert len(hidden) == len(rows) / 6
  banner = browser.find_element('id', 'filtered')
  assert 'hides 1 of 6 methods' in banner.text
  # A kind at once, of which some are hidden already.
  _box(browser, 'Oracle').send_keys(' ')
  kinds = browser.find_elements('css selector', '[data-kind]')
  assert kinds[0].get_property('indeterminate') is True
  assert kinds[1].is_selected() and not kinds[-1].is_selected()
  kinds[0].send_keys(' ')
  assert _shown(browser) == every - {NASTY}
  kinds[0].send_keys(' ')
  assert _shown(browser) == {'SoftPT', 'FullWT'}
  # A search narrows what the buttons do, by name or by kind.
  search = browser.find_element('id', 'search')
  search.send_keys('WT')
  assert status.text == '2 of 6 shown, 1 found'
  assert not _box(browser, 'SoftPT').is_displayed()
  browser.find_element('id', 'show-none').click()
  assert _shown(browser) == {'SoftPT'}
  search.clear()
  search.send_keys('references')
  browser.find_element('id', 'show-all').click()
  assert _shown(browser) == {'SoftPT', 'Oracle', 'TargetBayes'}
  # A section's link leaves the choice as it is; a reload, and a link, too.
  _pick(browser, 'task', 'random_coins')
  link = browser.current_url
  browser.find_element('css selector', 'a[href="#tables"]').click()
  assert _shown(browser) == {'SoftPT', 'Oracle', 'EvalBayes'}
  browser.get('about:blank')
  browser.get(link)
  _wait(browser, lambda b: b.execute_script('return plot.dataset.ready'))
  assert _shown(browser) == {'SoftPT', 'Oracle', 'EvalBayes'}
  assert browser.find_element('id', 'pick-task').get_property('value') == (
    'random_coins'
  )
  # Back to what is usual there is nothing to tell.
  browser.find_element('css selector', '#filtered button').click()
  _pick(browser, 'task', 'single_coin (target)')
  assert _shown(browser) == every
  assert not browser.find_element('id', 'filtered').is_displayed()
  assert '=' not in browser.current_url
  assert browsing.complaints(browser) == []


# Contrast of a text with what it stands on, by the formula of WCAG 2.
CONTRAST = """
const light = (color) => color.match(/[0-9.]+/g).slice(0, 3).map((x) => x / 255)
  .map((x) => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4)
  .reduce((sum, x, i) => sum + x * [0.2126, 0.7152, 0.0722][i], 0);
const clear = (color) => /, 0\\)$/.test(color) || color === 'transparent';
function ground(x) {
  const color = getComputedStyle(x).backgroundColor;
  return clear(color) && x.parentElement ? ground(x.parentElement) : color;
}
const own = (x) =>
  [...x.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
return [...document.body.querySelectorAll('*')].filter((x) =>
  own(x) && x.checkVisibility() && !x.closest('svg, script, style, noscript'))
  .map((x) => {
    const both = [getComputedStyle(x).color, ground(x)].map(light);
    const contrast = (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
    return [contrast, x.outerHTML];
  }).filter(([contrast]) => contrast < 4.5)
"""


def _prefer(browser, scheme, media=''):
  features = [{'name': 'prefers-color-scheme', 'value': scheme}]
  browser.execute_cdp_cmd(
    'Emulation.setEmulatedMedia', {'features': features, 'media': media}
  )


def _papers(browser):
  """Returns the colours behind the page and behind the curves."""
  page = 'return getComputedStyle(document.body).backgroundColor'
  plot = 'return plot.layout.paper_bgcolor'
  return browser.execute_script(page), browser.execute_script(plot)


def test_a_dark_page(browser, collection):
  night, day = ('rgb(21, 24, 28)', '#15181c'), ('rgb(255, 255, 255)', '#fff')
  color = "return plot.data.find(t => t.meta === 'SoftPT').line.color"
  try:
    for scheme, papers in (('light', day), ('dark', night)):
      _prefer(browser, scheme)
      _open(browser, collection / 'report.html')
      unfold = (
        "document.querySelectorAll('details').forEach(x => x.open = true)"
      )
      browser.execute_script(unfold)
      assert _papers(browser) == papers
      assert browser.execute_script(CONTRAST) == []
    soft = style.looks(METHODS)['SoftPT']['color']
    assert browser.execute_script(color) == dark.color(soft)
    # Paper is light.
    _prefer(browser, 'dark', 'print')
    browser.execute_script('window.dispatchEvent(new Event("beforeprint"))')
    _wait(browser, lambda b: _papers(b) == day)
    assert browser.execute_script(color) == soft
    _prefer(browser, 'dark')
    browser.execute_script('window.dispatchEvent(new Event("afterprint"))')
    _wait(browser, lambda b: _papers(b) == night)
    # The system turns light, and the page with it; then its reader chooses.
    _prefer(browser, 'light')
    _wait(browser, lambda b: _papers(b) == day)
    theme = browser.find_element('id', 'theme')
    assert theme.text == 'Dark'
    theme.click()
    _wait(browser, lambda b: _papers(b) == night)
    _open(browser, collection / 'report.html')
    assert _papers(browser) == night  # It is remembered.
    assert browsing.complaints(browser) == []
  finally:
    browser.execute_script('localStorage.clear()')
    _prefer(browser, '')


def test_it_opens_with_the_answer(page, collection):
  text = page.text
  assert text.index('The answer') < text.index('Claims') < text.index('Curves')
  (overview,) = page.table('run', 'task', 'best')
  chosen = selection.choose(results.load(collection / 'first'))
  ranking = ranking_lib.rank(chosen, TASKS[0], REPORT_STEPS[0])
  first, second = ranking.ranked[:2]
  assert overview[1][:3] == ['first', 'single_coin (target)', first.tuner]
  assert overview[1][3].startswith(f'{first.regret.difference:.3f}')
  assert overview[1][4] == second.tuner
  tables = page.table('#', 'tuner')
  assert len(tables) == 4  # Two runs, two tasks.
  assert [cells[1] for cells in tables[0][1:]] == [
    x.tuner for x in ranking.standings
  ]


PRESETS = {
  'none': (None, 'No preset was recorded', []),
  'the same': (
    {'name': 'quick', 'changed': {}, 'added': []},
    'Exactly its preset, quick',
    [],
  ),
  'changed': (
    {
      'name': 'mine.py:<b>',
      'changed': {
        'tuning.num_steps': 7,
        'network.language_model': {'name': 'gone', 'context': 3},
        'methods.Old': {'name': 'none'},
      },
      'added': [f'methods.{NASTY}'],
    },
    'What this run changes of its preset, mine.py:<b>',
    [
      ['field', 'mine.py:<b>', 'this run'],
      ['network.language_model', 'gone(context=3)', 'None'],
      ['tuning.num_steps', '7', '1000'],
      ['methods.Old', 'none()', '–'],
      [f'methods.{NASTY}', '–', 'biases()'],
    ],
  ),
}


@pytest.mark.parametrize('name', PRESETS)
def test_settings_stand_beside_those_of_the_preset(run, name):
  told, said, rows = PRESETS[name]
  path = run / 'config.json'
  record = json.loads(path.read_text())
  record['config']['seed'] = 3
  if told is not None:
    record['preset'] = told
  path.write_text(json.dumps(record))
  page = Page(page_lib.render(run))
  assert said in page.text
  assert (page.table('field', 'mine.py:<b>') or [[]])[0] == rows
  # Against the package's defaults in any case.
  assert page.table('field', 'defaults') == [
    [
      ['field', 'defaults', 'this run'],
      ['seed', '0', '3'],
      [f'methods.{NASTY}', '–', 'biases()'],
    ]
  ]
  assert ['num_steps', '1000'] in page.table('field', 'value')[0]
