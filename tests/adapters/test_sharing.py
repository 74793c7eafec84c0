"""What one tuned, another loads: the same regrets, or one line that says why.

And what comes from another is data: nothing in it is imported or unpickled.
"""

import dataclasses
import importlib
import json
import pathlib
import pickle
import shutil
import sys

import jax
import numpy as np
import pytest

from bayes_prompting import errors
from bayes_prompting import registry
from bayes_prompting import results
from bayes_prompting import settings
from bayes_prompting.adapters import attach
from bayes_prompting.adapters import record
from bayes_prompting.adapters import sharing
from bayes_prompting.experiment import loading
from bayes_prompting.experiment import run
from bayes_prompting.storage import tensor_file
from tests import testing
from tests.experiment import test_run
from tests.launch import test_launch
from tests.storage import test_checkpoints

METHODS = (
  *('PreBayesPT', 'NoTuning', 'HardPT', 'SoftPT', 'LoRAWT'),
  *('VeRAWT', 'SoftPT+LoRAWT'),
)
TASKS = ('single_coin', 'random_coins')


def tiny(**overrides):
  return test_run.tiny(
    **{
      'tuning.methods': METHODS,
      'evaluation.tasks': TASKS,
      'pretraining.num_seeds': 2,
      'methods.VeRAWT.rank': 5,
      **overrides,
    }
  )


def pretrain(path, **overrides):
  """Makes a workdir that has networks, and nothing else."""
  lab, folder = run.open_run(tiny(**overrides), path)
  run.meta_train(lab, folder)
  return path


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
  """A finished run, and other workdirs with the same and other networks."""
  root = tmp_path_factory.mktemp('lab')
  run.run(tiny(), root / 'runs' / 'a')
  # Another place, with no copy of what was tuned.
  shutil.copytree(root / 'runs' / 'networks', root / 'else' / 'networks')
  other = {'tuning.num_steps': 9, 'tuning.prefix_length': 3}
  pretrain(root / 'else' / 'b', **other, **{'pretraining.num_seeds': 2})
  pretrain(root / 'else' / 'retrained', seed=1)
  pretrain(root / 'else' / 'wide', **{'network.embedding_dim': 5})
  return {
    'a': root / 'runs' / 'a',
    **{x: root / 'else' / x for x in ('b', 'retrained', 'wide')},
  }


@pytest.fixture(scope='module')
def saved(runs):
  """The files of all methods that tune, of seed 1 and repetition 1."""
  paths = {}
  for method in METHODS:
    if method != 'NoTuning':
      of = {'seed': 0} if method == 'PreBayesPT' else {'seed': 1}
      paths[method] = runs['a'].parent / f'{method}.safetensors'
      sharing.save(runs['a'], method, paths[method], repetition=1, **of)
  return paths


@pytest.fixture(scope='module')
def sent(tmp_path_factory):
  """A folder on the path of the scripts, where modules of others may lie."""
  return tmp_path_factory.mktemp('sent_along')


@pytest.fixture(scope='module')
def server(sent):
  yield from test_launch.server(
    f'import sys; sys.path.insert(0, {str(sent)!r}); '
    'from bayes_prompting.adapters import sharing'
  )


@pytest.fixture
def launch(server, tmp_path):
  count = iter(range(100))
  return lambda *arguments: test_launch.ask(
    server, tmp_path / f'out-{next(count)}', *arguments
  )


def refused(call, *args, **kwargs):
  """The one line with which a call is refused."""
  with pytest.raises(errors.UserError) as caught:
    call(*args, **kwargs)
  assert '\n' not in str(caught.value)
  return str(caught.value)


def test_the_document_s_lines_run(runs, tmp_path, monkeypatch, capsys):
  (block,) = testing.blocks('docs/howto/share.md')
  (tmp_path / 'runs').mkdir()
  for name, run_ in (('demo', 'a'), ('other', 'b')):
    (tmp_path / 'runs' / name).symlink_to(runs[run_])
  monkeypatch.chdir(tmp_path)
  exec(block, {})
  assert 'Tuner' in capsys.readouterr().out


def test_regrets_elsewhere_are_those_where_it_was_tuned(runs, saved):
  dataset = results.load(runs['a'])
  for method in ('PreBayesPT', 'SoftPT', 'LoRAWT', 'VeRAWT', 'SoftPT+LoRAWT'):
    table = sharing.regrets(saved[method], runs['b'])
    assert len(table) == 2 * len(TASKS) * 3
    for row in table.itertuples():
      there = results.select(
        dataset.cumulative_regret,
        tuner=method,
        eval_task=row.eval_task,
        pretrain_seed=0 if method == 'PreBayesPT' else 1,
        repetition=1,
        reference=row.reference,
        estimator='paired',
        step=row.step,
      )
      assert there.item() == row.regret == row.stored


def test_what_is_loaded_is_what_was_tuned(runs, saved):
  tokens = np.array([[0, 1, 1, 0, 1]])
  for method, seed in (
    *(('PreBayesPT', 0), ('SoftPT', 1)),
    *(('VeRAWT', 1), ('SoftPT+LoRAWT', 1)),
  ):
    path = saved[method]
    ours = loading.load_predictor(runs['a'], method, seed, repetition=1)
    theirs = sharing.load(path, runs['b'])
    np.testing.assert_array_equal(
      *(x[0].predict(*x[1:], tokens) for x in (ours, theirs))
    )
    # To go on tuning.
    _, tunable = loading.load_tuned(runs['a'], method, seed)
    found = attach.attach(path, runs['b'])
    jax.tree.map(
      np.testing.assert_array_equal,
      found.tunable,
      jax.tree.map(lambda x: x[1], tunable),
    )
    start = jax.eval_shape(
      lambda key, f=found: f.tuner.init(key, f.predictor, f.params),
      jax.random.key(0),
    )
    assert test_checkpoints.shapes(found.tunable) == start


def test_a_network_may_be_given_itself(runs, saved):
  pair = loading.load_network(runs['b'], 1)
  assert attach.attach(saved['SoftPT'], pair).params is pair[1]
  message = refused(sharing.load, saved['PreBayesPT'], pair)
  assert 'exact Bayes' in message and 'random_coins' in message
  one = jax.tree.map(lambda x: x.at[(0,) * x.ndim].add(1e-6), pair[1])
  message = refused(sharing.load, saved['SoftPT'], (pair[0], one))
  assert tensor_file.digest(pair[1])[:12] in message
  assert tensor_file.digest(one)[:12] in message


def test_another_network_is_refused_with_both_sides(runs, saved):
  path = saved['SoftPT']
  message = refused(sharing.load, path, runs['retrained'])
  assert repr(str(path)) in message
  assert str(runs['retrained']) in message
  assert "run 'a'" in message
  assert (
    tensor_file.digest(loading.load_network(runs['a'], 1)[1])[:12] in message
  )
  for seed in (0, 1):
    _, params = loading.load_network(runs['retrained'], seed)
    assert tensor_file.digest(params)[:12] in message
  message = refused(sharing.load, path, runs['wide'])
  assert 'embedding_dim: 4 and 5' in message
  pair = loading.load_network(runs['wide'])
  message = refused(sharing.load, path, pair)
  assert 'width 4 ' in message and 'has 5 ' in message


def test_a_prior_that_is_not_there_is_refused(runs, saved, tmp_path):
  def change(config):
    config['tasks']['random_coins']['concentration'] = [1.0, 2.0]

  workdir = recorded(runs['b'], tmp_path, change)
  message = refused(sharing.load, saved['PreBayesPT'], workdir)
  assert 'random_coins' in message
  assert '[1.0, 1.0] and [1.0, 2.0]' in message


def test_a_prefix_is_a_few_kilobytes(runs, saved, tmp_path):
  metadata = record.read(saved['SoftPT'])[1]
  tree = {'tunable': np.ones((6, 128), np.float32)}  # The paper's.
  tensor_file.save_arrays(tmp_path / 'a', tree, metadata)
  assert (tmp_path / 'a').stat().st_size < 6 * 128 * 4 + 3000
  # Nor does it tell where it was made.
  for path in saved.values():
    assert str(runs['a'].parent).encode() not in path.read_bytes()


def test_what_cannot_be_saved(runs, saved, tmp_path):
  path = tmp_path / 'a.safetensors'
  save = sharing.save
  assert 'tunes nothing' in refused(save, runs['a'], 'NoTuning', path)
  assert 'SoftPT' in refused(save, runs['a'], 'SofPT', path)
  assert 'seed' in refused(save, runs['a'], 'SoftPT', path, seed=2)
  assert 'repetition' in refused(save, runs['a'], 'SoftPT', path, repetition=2)
  refused(save, runs['b'], 'SoftPT', path)  # Not tuned yet.
  assert not path.exists()
  missing = tmp_path / 'no' / 'folder'
  assert str(missing) in refused(save, runs['a'], 'SoftPT', missing)


def test_a_file_that_is_there_is_not_lost(runs, saved, tmp_path):
  path = tmp_path / 'a.safetensors'
  path.write_bytes(b'mine')
  assert str(path) in refused(sharing.save, runs['a'], 'SoftPT', path)
  assert path.read_bytes() == b'mine'
  sharing.save(runs['a'], 'SoftPT', path, overwrite=True)
  assert record.read(path)[1]['method'] == 'SoftPT'
  (aside,) = (x for x in tmp_path.iterdir() if x != path)
  assert aside.read_bytes() == b'mine'
  assert aside.suffix == path.suffix


def test_a_run_that_was_not_evaluated_has_no_regrets(runs, tmp_path):
  shutil.copytree(runs['a'], tmp_path / 'run')
  (tmp_path / 'run' / 'results.nc').unlink()
  path = tmp_path / 'a.safetensors'
  assert sharing.save(tmp_path / 'run', 'SoftPT', path)['regrets'] == {}
  table = sharing.regrets(path, runs['a'], ['single_coin'])
  assert table.stored.isna().all()
  assert set(table.eval_task) == {'single_coin'}
  assert 'single_coin' in refused(sharing.regrets, path, runs['a'], ['coin'])


ODD = (None, True, 3, -1.5, 'x\n\x1b[31m', [], ['a', {}], {}, {'name': 'x.y'})


def places(value, at=()):
  """Yields the path of everything inside plain values."""
  for key, item in value.items() if isinstance(value, dict) else ():
    yield (*at, key)
    yield from places(item, (*at, key))


@pytest.mark.parametrize('method', ['SoftPT', 'SoftPT+LoRAWT'])
def test_odd_metadata_is_one_line_or_makes_no_difference(
  runs, saved, tmp_path, monkeypatch, method
):
  arrays, metadata = record.read(saved[method])
  pair = loading.load_network(runs['a'], 1)
  imported = []
  monkeypatch.setattr(registry, '_plugin', lambda *a: imported.append(a))
  path, told = tmp_path / 'a', 0
  for place in places(metadata):
    for odd in (*ODD, 'left out'):
      changed = json.loads(json.dumps(metadata))
      inside = changed
      for key in place[:-1]:
        inside = inside[key]
      inside[place[-1]] = odd
      if odd == 'left out':
        del inside[place[-1]]
      monkeypatch.setattr(
        tensor_file, 'load_arrays', lambda path, held=changed: (arrays, held)
      )
      try:
        _, held = record.read(path)
        assert record.text(held).replace('\n', '').isprintable()
        record.stored(held, 'single_coin', 'x')
        if place[0] in ('tuner', 'network'):  # Of the rest it takes no notice.
          attach.attach(path, pair)
      except errors.UserError as error:
        assert '\n' not in str(error) and '\x1b' not in str(error)
        assert repr(str(path)) in str(error)
        told += 1
      except TypeError as error:  # What stands for the module that is refused.
        assert imported, error
        imported.clear()
  assert told > 100


@pytest.mark.parametrize(
  'method, change, fragments',
  [
    ('HardPT', {'tunable': np.array([0, 2], np.int32)}, ['tokens [0, 2]']),
    ('HardPT', {'tunable': np.array([-1, 0], np.int32)}, ['tokens [-1, 0]']),
    ('SoftPT', {'tunable': np.zeros((3, 4), np.float32)}, ['[3, 4]', '[2, 4]']),
    ('SoftPT', {'tunable': np.zeros((2, 5), np.float32)}, ['[2, 5]', '[2, 4]']),
    ('SoftPT', {'tunable': np.zeros((2, 4))}, ['float64', 'float32']),
    ('SoftPT', {'more': np.zeros(1)}, ["'more'", 'nothing']),
    ('LoRAWT', {}, ['nothing', 'float32']),
  ],
)
def test_other_arrays_are_refused(
  runs, saved, tmp_path, method, change, fragments
):
  arrays, metadata = record.read(saved[method])
  tree = {**arrays, **change} if change else {}
  tensor_file.save_arrays(tmp_path / 'a', tree, metadata)
  pair = loading.load_network(runs['a'], 1)
  message = refused(sharing.load, tmp_path / 'a', pair)
  assert all(fragment in message for fragment in fragments)


@pytest.mark.parametrize('name', ['length', 'rank'])
def test_no_table_is_made_of_an_absurd_length(runs, saved, tmp_path, name):
  arrays, metadata = record.read(saved['SoftPT'])
  state = {'name': 'state', name: 10**12}
  lora = {'name': 'lora'}
  composed = {'name': 'compose', 'tuners': {'p': state, 'w': lora}}
  for number, spec in enumerate((state, composed)):
    path = tmp_path / str(number)
    tensor_file.save_arrays(path, arrays, {**metadata, 'tuner': spec})
    message = refused(sharing.load, path, runs['a'])
    assert f'.{name}: must be at most' in message and str(10**12) in message


def test_a_file_of_random_factors_holds_none_of_them(saved):
  arrays, metadata = record.read(saved['VeRAWT'])
  assert metadata['tuner']['rank'] == 5
  assert sorted(x.shape for x in arrays.values()) == [(4,), (5,)]
  # Of a prompt and weights, both are there.
  arrays, metadata = record.read(saved['SoftPT+LoRAWT'])
  assert {x.split('/')[1] for x in arrays} == {'SoftPT', 'LoRAWT'}
  assert metadata['tuner']['tuners']['SoftPT']['init'] == 'one_hot'


# The script.


def test_the_script_in_a_process_of_its_own(launch, runs, tmp_path):
  path = tmp_path / 'prefix.safetensors'
  save = f'--save={path}', f'--workdir={runs["a"]}', '--method=SoftPT'
  outcome = launch('adapter', *save, '--seed=1', '--repetition=1')
  assert outcome.code == 0, outcome.err
  assert str(path) in outcome.out
  described = launch('adapter', f'--load={path}')
  assert described.code == 0, described.err
  said = dict(line.split(maxsplit=1) for line in described.out.splitlines())
  held = {'method': '"SoftPT"', 'run': '"a"', 'seed': '1', 'repetition': '1'}
  assert said.items() >= held.items()
  outcome = launch('adapter', f'--load={path}', f'--workdir={runs["b"]}')
  assert outcome.code == 0, outcome.err
  assert outcome.out.startswith(described.out)
  assert 'to the bit (12 regrets)' in outcome.out
  for arguments, *fragments in (
    (save, 'exists', '--overwrite'),
    ((f'--load={path}', f'--workdir={runs["retrained"]}'), 'weights'),
    ((f'--load={path}', '--method=SoftPT'), '--method', '--save'),
    (save[::2], '--workdir: missing'),
    (save[:2], '--method: missing'),
    ((f'--load={path}', save[0]), '--save, --load'),
  ):
    test_launch.mistake(silent(launch('adapter', *arguments)), *fragments)


def silent(outcome):
  """Lets a script tell what a file holds before it tells of a mistake."""
  return dataclasses.replace(outcome, out='')


def test_help_needs_no_jax():
  outcome = test_launch.launch('adapter', '--help', python=('-X', 'importtime'))
  assert outcome.code == 0
  assert '--load' in outcome.out and 'allow_plugins' in outcome.out
  assert not {'jax', 'safetensors'} & test_launch.imported(outcome)


# What is data: names in it, and pickles.


MARK = 'import pathlib; pathlib.Path({!r}).touch()\n'
OURS = 'from bayes_prompting.{} import make\n'


@pytest.fixture
def plugin(sent, monkeypatch):
  """Makes a module that does what one of ours does, and leaves a mark."""
  monkeypatch.syspath_prepend(sent)
  # What was imported, and built of it, in other tests.
  monkeypatch.setattr(registry, '_ADMITTED', set())
  monkeypatch.setattr(registry, '_BUILT', {})
  mark = sent / 'mark'
  package = sent / 'sent'

  def make(kind, name):
    package.mkdir()
    (package / '__init__.py').write_text(MARK.format(str(mark)))
    (package / 'along.py').write_text(OURS.format(f'{kind}.{name}'))
    importlib.invalidate_caches()
    return 'sent.along', mark

  yield make
  mark.unlink(missing_ok=True)
  shutil.rmtree(package)
  for name in ('sent', 'sent.along'):
    sys.modules.pop(name, None)


def recorded(workdir, tmp_path, change):
  """Copies a workdir, and changes what its config.json says."""
  shutil.copytree(workdir, tmp_path / 'sent_workdir')
  path = tmp_path / 'sent_workdir' / 'config.json'
  record = json.loads(path.read_text())
  change(record['config'])
  path.write_text(json.dumps(record))
  return path.parent


def coins(name):
  return {'name': name, 'concentration': [1.0, 1.0]}


FIELDS = {
  'tasks.random_coins.name': lambda c, name: c['tasks'].update(
    random_coins=coins(name)
  ),
  # One that is not used.
  'tasks.more.name': lambda c, name: c['tasks'].update(more=coins(name)),
  'tasks.more.base.name': lambda c, name: c['tasks'].update(
    more={'name': 'finite_pool', 'size': 2, 'base': coins(name)}
  ),
  'tasks.more.components.x.name': lambda c, name: c['tasks'].update(
    more={'name': 'union', 'components': {'x': {**coins(name), 'weight': 1.0}}}
  ),
  'tasks.more.components.x.base.name': lambda c, name: c['tasks'].update(
    more={
      'name': 'union',
      'components': {
        'x': {
          'name': 'finite_pool',
          'size': 2,
          'base': coins(name),
          'weight': 1.0,
        }
      },
    }
  ),
  'network.torso.name': lambda c, name: c['network']['torso'].update(name=name),
  'methods.SoftPT.name': lambda c, name: c['methods']['SoftPT'].update(
    name=name
  ),
}
KINDS = {'tasks': 'task_priors', 'network': 'torsos', 'methods': 'tuners'}
NAMES = {'tasks': 'dirichlet_categorical', 'network': 'linear'}


@pytest.mark.parametrize('field', FIELDS)
def test_a_recorded_name_imports_nothing(runs, tmp_path, plugin, field):
  section = field.partition('.')[0]
  name, mark = plugin(KINDS[section], NAMES.get(section, 'prefix'))
  workdir = recorded(runs['b'], tmp_path, lambda c: FIELDS[field](c, name))
  for call in (
    loading.load,
    loading.load_network,
    lambda x: loading.load_tuned(x, 'SoftPT'),
    lambda x: loading.load_predictor(x, 'SoftPT'),
    lambda x: sharing.save(x, 'SoftPT', tmp_path / 'a'),
  ):
    message = refused(call, workdir)
    assert str(workdir / 'config.json') in message
    assert f'{field}: {name!r}' in message
    assert '--allow_plugins' in message
  assert not mark.exists() and 'sent' not in sys.modules
  lab, _ = loading.load(workdir, allow_plugins=True)
  assert mark.exists()
  assert lab.network.vocab_size == 2


def test_a_name_in_an_adapter_imports_nothing(runs, saved, tmp_path, plugin):
  name, mark = plugin('tuners', 'prefix')
  arrays, metadata = record.read(saved['SoftPT'])
  metadata['tuner']['name'] = name
  path = tmp_path / 'a'
  tensor_file.save_arrays(path, arrays, metadata)
  pair = loading.load_network(runs['b'], 1)
  message = refused(sharing.load, path, pair)
  assert repr(str(path)) in message
  assert f'tuner.name: {name!r}' in message and '--allow_plugins' in message
  assert not mark.exists()
  sharing.load(path, pair, allow_plugins=True)
  assert mark.exists()


def test_the_script_imports_what_it_is_told_to(
  launch, runs, saved, tmp_path, plugin
):
  name, mark = plugin('task_priors', 'dirichlet_categorical')
  workdir = recorded(
    runs['b'], tmp_path, lambda c: c['tasks'].update(more=coins(name))
  )
  arguments = f'--load={saved["SoftPT"]}', f'--workdir={workdir}'
  outcome = silent(launch('adapter', *arguments))
  test_launch.mistake(outcome, 'tasks.more.name', name, '--allow_plugins')
  assert not mark.exists()
  task = '--task=single_coin'
  outcome = launch('adapter', *arguments, task, '--allow_plugins')
  assert outcome.code == 0, outcome.err
  assert 'to the bit (6 regrets)' in outcome.out
  assert mark.exists()


def test_a_run_of_the_user_s_own_needs_no_word(tmp_path, plugin):
  name, mark = plugin('task_priors', 'dirichlet_categorical')
  config = tiny(**{'tuning.methods': ('PreBayes',)})
  with config.unlocked():
    config.tasks.random_coins = settings.spec(name, concentration=(1.0, 1.0))
  path = tmp_path / 'own' / 'run'
  dataset = run.run(config, path)
  assert mark.exists()
  (path / 'results.nc').unlink()
  assert run.run(config, path).identical(dataset)  # It goes on.
  # What ran here may be read here, and in another process after a word.
  loading.load(path)
  registry._ADMITTED.clear()
  assert name in refused(loading.load, path)


def test_a_word_is_for_its_kind_and_its_time_alone(tmp_path, plugin):
  name, _ = plugin('task_priors', 'dirichlet_categorical')
  with registry.plugins(), registry.plugins(False):  # It does not narrow.
    registry.make('task_priors', 'x', coins(name))
  registry.make('task_priors', 'x', coins(name))  # It has run already.
  assert name in refused(registry.make, 'torsos', 'x', {'name': name})
  for other in ('os.path', 'bayes_prompting.files', 'bayes_prompting.torsos'):
    assert other in refused(registry.module, 'torsos', other)


def test_nothing_is_unpickled(runs, saved, monkeypatch):
  def fail(*unused, **unused_too):
    raise AssertionError('unpickles')

  load = np.load
  for name in ('load', 'loads', 'Unpickler', '_Unpickler', '_load', '_loads'):
    monkeypatch.setattr(pickle, name, fail)
  monkeypatch.setattr(
    np, 'load', lambda *a, **k: fail() if k.get('allow_pickle') else load(*a)
  )
  results.load(runs['a'])
  loading.load_predictor(runs['a'], 'SoftPT', 1)
  sharing.load(saved['SoftPT'], runs['a'])


def test_pickles_are_for_messages_alone():
  package = pathlib.Path(registry.__file__).parent
  for path in [*package.rglob('*.py'), *test_launch.ROOT.glob('launch/*.py')]:
    text = path.read_text()
    # Messages between the processes of one run, see `distributed`.
    assert 'import pickle' not in text or path.name == 'distributed.py'
    assert 'allow_pickle' not in text
    assert 'import dill' not in text and 'joblib' not in text
