"""The playground: its JavaScript predicts as the package does."""

import dataclasses
import importlib
import json
import shutil

import jax
import numpy as np
import pytest

from bayes_prompting import errors
from bayes_prompting import predictors
from bayes_prompting import registry
from bayes_prompting import settings
from bayes_prompting import trees
from bayes_prompting.dynamics import dirichlet_fit
from bayes_prompting.dynamics.playground import export
from bayes_prompting.dynamics.playground import page
from bayes_prompting.dynamics.playground import shipped
from bayes_prompting.experiment import build
from bayes_prompting.experiment import loading
from bayes_prompting.storage import workdir
from tests import browsing
from tests import testing
from tests.dynamics import test_study
from tests.experiment import test_run

LENGTH, VOCAB, WIDTH = 50, 3, 8
TIED = {'tied_unembedding': True}
METHODS = ('NoTuning', 'HardPT', 'SoftPT', 'StatePT', 'UnembedWT')
BELIEFS = {
  'point': {'name': 'categorical', 'probabilities': (0.5, 0.0, 0.5)},
  'points': {
    'name': 'categorical_mixture',
    'weights': (0.7, 0.3),
    'probabilities': ((0.1, 0.1, 0.8), (0.0, 0.3, 0.7)),
  },
  'dirichlet': {
    'name': 'dirichlet_categorical',
    'concentration': (0.3, 1.0, 2.0),
  },
  'dirichlets': {
    'name': 'dirichlet_mixture',
    'weights': (0.5, 0.5),
    'concentrations': ((0.3, 0.0, 2.0), (1.0, 1.0, 4.0)),
  },
}


def tokens_for(vocab_size):
  rng = np.random.default_rng(0)
  return rng.integers(0, vocab_size, (3, LENGTH)).astype(np.int32)


def predictor_of(network):
  """Builds the predictor of what was exported."""
  options = dict(network.options)
  spec = {'name': network.torso, **options.pop('options', {}), **options}
  if spec.get('mlp_dim') is not None:
    del spec['widening']  # In place of which it is.
  return predictors.network(
    registry.make('torsos', 'test', spec),
    network.vocab_size,
    network.embedding_dim,
    plain=True,
    tied_unembedding=network.tied_unembedding,
  )


def predicted(network):
  """Returns log probabilities [A, B, N, V]: of the network, and as adapted."""
  predictor = predictor_of(network)
  shapes = jax.eval_shape(predictor.init, jax.random.key(0))
  none = np.zeros((0, network.embedding_dim), np.float32)

  @jax.jit
  def of_rows(weights, rows):
    params = trees.replace(shapes, weights)
    state = predictor.prefill(params, rows)
    return predictor.predict(params, state, tokens_for(network.vocab_size))

  @jax.jit
  def of_state(weights, state):
    params = trees.replace(shapes, weights)
    state = trees.replace(state_shapes(params, state), state)
    return predictor.predict(params, state, tokens_for(network.vocab_size))

  def state_shapes(params, state):
    """Of the state after as many rows as there are keys."""
    counts = [len(x) for path, x in state.items() if path.endswith('/key')]
    rows = np.zeros((max([1, *counts]) - 1, network.embedding_dim), np.float32)
    return jax.eval_shape(predictor.prefill, params, rows)

  every = [of_rows(network.weights, none)]
  for adapted in network.adapted:
    weights = network.weights | adapted.changes
    if adapted.rows is None:
      every.append(of_state(weights, adapted.state))
    else:
      every.append(of_rows(weights, adapted.rows))
  return np.array(every)


def random_network(name, number, example, tied=False):
  """Returns a network of random weights, and a prefix of random rows."""
  rng = np.random.default_rng(number)
  torso = registry.make('torsos', 'test', {'name': name, **example})
  predictor = predictors.network(torso, VOCAB, WIDTH, tied_unembedding=tied)
  shapes = jax.eval_shape(predictor.init, jax.random.key(0))
  weights = {
    path: rng.normal(0, 0.5, leaf.shape).astype(np.float32)
    for path, leaf in trees.by_path(shapes).items()
  }
  rows = rng.normal(size=(4, WIDTH)).astype(np.float32)
  adapted = [export.Adapted('SoftPT', 'point', rows, {}, {})]
  adapted += [dataclasses.replace(adapted[0], rows=-rows)] * tied
  if number == 0:
    params = trees.replace(shapes, weights)
    state = trees.by_path(jax.jit(predictor.prefill)(params, rows))
    state = {
      path: np.asarray(x + rng.normal(0, 0.1, x.shape), np.float32)
      for path, x in state.items()
    }
    adapted.append(export.Adapted('StatePT', 'point', None, state, {}))
  return export.Network(
    title=f'{name} {number}',
    torso=name,
    options=export.options(torso),
    vocab_size=VOCAB,
    embedding_dim=WIDTH,
    tied_unembedding=tied,
    weights=weights,
    task='dirichlet',
    lengths=(LENGTH, LENGTH),
    tasks={x: export.belief(spec) for x, spec in BELIEFS.items()},
    sequences=tokens_for(VOCAB)[:, :5],
    adapted=tuple(adapted),
  )


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """A run of a network that compiles quickly, in a folder of runs."""
  folder = tmp_path_factory.mktemp('runs')
  torso = settings.spec('linear', width=5)
  test_study.finished(folder / 'run', torso, METHODS)
  (folder / 'run' / 'results.nc').touch()  # Only whether it is there counts.
  return folder


@pytest.fixture(scope='module')
def networks(run):
  """Those that come with the package, one of a run, and some of each torso."""
  every = [*shipped.load_all(), *export.of_runs(run)]
  for name in export.torsos():
    module = importlib.import_module(f'bayes_prompting.torsos.{name}')
    for number, example in enumerate(module.EXAMPLES):
      every.append(random_network(name, number, example))
  every.append(random_network('gru', 2, {'width': WIDTH}, tied=True))
  return every


@pytest.fixture(scope='module')
def opened(browser, networks, tmp_path_factory):
  """The page of all of them, open."""
  path = page.write(networks, tmp_path_factory.mktemp('page') / 'page.html')
  browser.get(f'file://{path}')
  return browser


PREDICT = """
const [sequences] = arguments;
return NETWORKS.map(({spec}, n) => {
  const none = {rows: [], changes: {}};
  return [none, ...spec.adapted.map(decoded)].map(({rows, state, changes}) => {
    const network = makeNetwork(spec, changes);
    return sequences[n].map(sequence => {
      let point = rows ? network.start(rows) : network.load(state);
      const logs = [network.logProbs(point)];
      for (const token of sequence.slice(0, -1)) {
        point = network.step(point, token);
        logs.push(network.logProbs(point));
      }
      return logs;
    });
  });
});
"""


def test_every_network_predicts_as_in_python(opened, networks):
  tokens = [tokens_for(x.vocab_size).tolist() for x in networks]
  every = opened.execute_script(PREDICT, tokens)
  kinds = {(x.torso, a.method) for x in networks for a in x.adapted}
  for torso in ('lstm', 'transformer'):
    assert {(torso, 'SoftPT'), (torso, 'LoRAWT')} <= kinds
  for network, logs in zip(networks, every, strict=True):
    wanted = np.exp(predicted(network))
    assert np.abs(np.exp(logs) - wanted).max() < 1e-5, network.title


def test_hard_tokens_and_sliders(opened, networks):
  """A hard prompt of the page is the prefix; a state is where it is put."""
  tokens = tokens_for(2)
  logs = opened.execute_script(
    """
    chooseNetwork(0);
    const hard = document.querySelector('#prompts input[value="1"]');
    hard.click();
    const field = document.getElementById('hard');
    field.value = '11x0 1';
    field.dispatchEvent(new Event('input'));
    for (const token of arguments[0]) toss(token);
    return now.history.map(h => h.network);
    """,
    tokens[0, :-1].tolist(),
  )
  network = networks[0]
  predictor = predictor_of(network)
  shapes = jax.eval_shape(predictor.init, jax.random.key(0))
  params = trees.replace(shapes, network.weights)
  rows = np.eye(2, dtype=np.float32)[[1, 1, 0, 1]]
  state = predictor.prefill(params, predictor.embed(params, rows))
  wanted = predictor.predict(params, state, tokens[:1])[0]
  assert np.abs(np.exp(logs) - np.exp(wanted)).max() < 1e-5
  meant = opened.find_element('id', 'meaning').text
  assert 'as if it had already seen' in meant
  moved = opened.execute_script(
    """
    reset();
    const chance = () => Math.exp(now.history[0].network[1]);
    const before = chance();
    const slider = document.getElementById('x');
    slider.value = 2;
    slider.dispatchEvent(new Event('input'));
    const there = now.history[0].at[0], after = chance();
    document.getElementById('release').click();
    const [spread] = now.plane.spread;
    return [before, after, there - now.history[0].at[0], 2 * spread];
    """
  )
  assert abs(moved[0] - moved[1]) > 0.05
  np.testing.assert_allclose(moved[2], moved[3], rtol=1e-6)


def test_exact_bayes_is_the_packages(opened, networks):
  tokens = tokens_for(VOCAB)
  tokens[2] = np.where(tokens[2] == 1, 0, tokens[2])  # Possible for all.
  every = opened.execute_script(
    """
    const [at, sequences] = arguments;
    return Object.values(NETWORKS[at].spec.tasks).map(task => {
      const bayes = makeBayes(task);
      return sequences.map(sequence => {
        const counts = [0, 0, 0];
        return sequence.map(token => {
          const probs = bayes.logProbs(counts).map(Math.exp);
          counts[token]++;
          return probs;
        });
      });
    });
    """,
    len(networks) - 1,
    tokens.tolist(),
  )
  for (name, spec), probs in zip(BELIEFS.items(), every, strict=True):
    prior = registry.make('task_priors', 'test', spec)
    predict = jax.jit(jax.vmap(prior.predict, in_axes=(None, 0)))
    rows = np.zeros((0, VOCAB), np.float32)
    wanted = np.exp(predict(prior.prefill(rows), tokens))
    assert np.abs(np.array(probs) - wanted).max() < 1e-5, name


def test_the_belief_is_that_of_dirichlet_fit(opened, networks):
  count = len(shipped.load_all())
  every = opened.execute_script(
    """
    return NETWORKS.slice(0, arguments[0]).map(({spec}) => {
      const network = makeNetwork(spec), V = spec.vocabSize;
      let point = network.start([]);
      for (const token of [0, 1, 1, 1]) point = network.step(point, token);
      const asked = ask(network, point, V);
      const {alpha, misfit} = explain(asked, V);
      return {alpha, misfit, tokens: probes(V), probs: asked.map(a => a.probs)};
    });
    """,
    count,
  )
  for fit in every:
    tokens = np.array(fit['tokens'])
    probs = np.reshape(fit['probs'], (*tokens.shape, -1))
    wanted = dirichlet_fit.explain(np.log(probs), tokens)
    np.testing.assert_allclose(fit['alpha'], wanted.alpha, rtol=1e-3)
    np.testing.assert_allclose(fit['misfit'], wanted.misfit, atol=1e-7)


def test_a_belief_that_does_not_fit_is_never_called_sure(opened):
  """The best Dirichlet of the last token is a single source, and far off."""
  misfit, meaning, note, shown = opened.execute_script(
    """
    chooseNetwork(0);
    const {network} = now, chance = {undefined: 0.5, 0: 0.7, 1: 0.3};
    now.network = {
      ...network,
      step: (point, last) => ({...network.step(point, last), last}),
      logProbs: ({last}) => [1 - chance[last], chance[last]].map(Math.log),
    };
    change();
    const stem = document.querySelector('#belief .network .stem');
    const said = ['meaning', 'belief-note'].map(id => $(id).textContent);
    const end = [now.fit.misfit, ...said, stem.getAttribute('class')];
    change(true);
    return end;
    """
  )
  assert misfit > 0.5
  assert 'No Beta belief predicts as it does' in meaning
  assert note.startswith('Nothing fits the network well')
  assert 'sure' not in meaning and '000000' not in note
  assert shown == 'stem dashed'


def test_sources_are_drawn_as_from_the_prior(opened):
  """Of small concentrations too, of which draws underflow."""
  draws = opened.execute_script(
    """
    let seed = 1;
    const random = Math.random;
    Math.random = () => (seed = 16807 * seed % 2147483647) / 2147483647;
    try {
      return arguments[0].map(row => {
        const task = {kind: 'dirichlets', weights: [0, 1], rows: [row, row]};
        const bayes = makeBayes(task);
        return range(4000).map(() => bayes.draw());
      });
    } finally {
      Math.random = random;
    }
    """,
    rows := [[1e-3, 3e-3, 0], [0.3, 1.0, 2.0]],
  )
  for row, sources in zip(np.array(rows), np.array(draws, float), strict=True):
    mean = row / row.sum()
    variance = mean * (1 - mean) / (row.sum() + 1)
    np.testing.assert_allclose(sources.sum(1), 1, atol=1e-9)
    np.testing.assert_allclose(sources.mean(0), mean, atol=0.03)
    np.testing.assert_allclose(sources.var(0), variance, atol=0.02)
  # What is impossible is never tossed, at either end of a chance.
  tossed = opened.execute_script(
    """
    const random = Math.random;
    const drawn = [0, 0.5, 1 - 2 ** -53].map(at => {
      Math.random = () => at;
      return drawToken([0, 0.3, 0]);
    });
    Math.random = random;
    return drawn;
    """
  )
  assert tossed == [1, 1, 1]


def test_a_chance_never_looks_certain(opened):
  chances = [0, 1e-9, 0.0004, 0.05, 0.0994, 0.1, 0.5, 0.9, 0.9006, 0.9994]
  shown = opened.execute_script(
    'return arguments[0].map(percent)', [*chances, 0.9996, 1 - 1e-12, 1]
  )
  assert ' '.join(shown) == (
    '0% <0.1% <0.1% 5.0% 9.9% 10% 50% 90% 90.1% 99.9% >99.9% >99.9% 100%'
  )


def test_experiments_ask_and_name_what_they_choose(opened, networks):
  asked = opened.execute_script(
    """
    chooseNetwork(0);
    const buttons = [...document.querySelectorAll('#experiments button')];
    return buttons.slice(1).map(button => {
      button.click();
      const {prompt, weights} = current();
      const tuned = prompt.target ? prompt : weights;
      return [button.textContent, labelOf(tuned)];
    });
    """
  )
  assert len(asked) == 3
  for text, label in asked:
    assert text.startswith(f'{label}: ') and text.endswith('?')
  # Of two that are alike, as runs with two seeds leave them, one is told.
  labels = opened.execute_script(
    """
    chooseNetwork(arguments[0]);
    const labels = document.querySelectorAll('#prompts label');
    const texts = [...labels].map(label => label.textContent);
    chooseNetwork(0);
    return texts;
    """,
    len(networks) - 1,
  )
  assert labels[3] == labels[2].replace('2', '3', 1) + ' (2)'
  # A name may be that of what every object has.
  label = opened.execute_script(
    "return labelOf({method: 'toString', target: 'constructor'})"
  )
  assert label == 'toString for constructor'


def test_one_tosses_by_key_and_click(opened):
  opened.execute_script(
    'chooseNetwork(0); reset(); document.activeElement.blur()'
  )
  body = opened.find_element('tag name', 'body')
  body.send_keys('110 ')  # Keys act where one tosses, nowhere else.
  assert opened.execute_script('return chosen.tokens') == []
  stage = opened.find_element('id', 'stage')
  stage.send_keys('110')
  # Its button goes out of use: the focus must not go with it.
  opened.find_element('id', 'reset').send_keys('r')
  focused = opened.switch_to.active_element
  assert focused.get_attribute('id') == 'stage'
  focused.send_keys(' ')
  assert opened.execute_script('return chosen.tokens.length') == 1
  focused.send_keys('r110')
  value = "return document.getElementById('at').ariaValueText"
  assert opened.execute_script(value) == 'after 3 of 3 tosses'
  said = opened.find_element('id', 'said')
  assert said.text.startswith('Toss 3 was a 0.')
  assert said.get_attribute('aria-live') == 'polite'
  stage.send_keys('\ue003')  # Backspace.
  opened.find_element('css selector', '#toss [data-token="1"]').click()
  assert opened.execute_script('return chosen.tokens') == [1, 1, 1]
  # What it lost, by what was shown before each toss.
  losses = opened.execute_script("""
    const lost = who => chosen.tokens.reduce(
      (total, token, t) => total - now.history[t][who][token], 0);
    return [lost('network') - lost('bayes'), now.losses.regret];
  """)
  np.testing.assert_allclose(*losses, atol=1e-12)
  # A prompt brings its target with it; the path is as long as before.
  opened.find_element('css selector', '#prompts input[value="2"]').click()
  task = opened.find_element('id', 'task')
  assert task.get_attribute('value') == opened.execute_script(
    'return current().prompt.target'
  )
  assert opened.execute_script('return now.points.length') == 4
  opened.find_element('id', 'ten').click()
  assert opened.execute_script('return chosen.tokens.length') == 13
  opened.find_element('id', 'reset').click()
  assert opened.execute_script('return chosen.tokens.length') == 0


def test_every_choice_of_every_network_can_be_shown(opened, networks):
  opened.execute_script(
    """
    for (let n = 0; n < arguments[0]; n++) {
      chooseNetwork(n);
      for (const kind of ['prompts', 'weights', 'task']) {
        const pick = `#${kind} input, #${kind} option`;
        for (const i of document.querySelectorAll(pick).keys()) {
          const choice = document.querySelectorAll(pick)[i];
          if (kind === 'task') chooseTask(choice.value);
          else choice.click();
          change(true);
          for (const v of [0, 1, 1]) toss(v);
          reset();
        }
      }
    }
    """,
    len(shipped.load_all()) + 1,
  )
  assert browsing.complaints(opened) == []
  shown = opened.find_element('tag name', 'main').text
  assert 'NaN' not in shown and 'undefined' not in shown


def test_a_phone_need_not_scroll_sideways_and_colours_change(opened):
  size = {'width': 390, 'height': 844, 'deviceScaleFactor': 1, 'mobile': True}
  opened.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', size)
  try:
    opened.execute_script('chooseNetwork(0); tossForMe(200)')
    width = 'return document.documentElement.scrollWidth'
    assert opened.execute_script(width) == 390
  finally:
    opened.execute_cdp_cmd('Emulation.clearDeviceMetricsOverride', {})
  colour = 'return getComputedStyle(document.body).backgroundColor'
  before = opened.execute_script(colour)
  opened.find_element('id', 'theme').click()
  assert opened.execute_script(colour) != before
  # Every control has a name for who does not see it.
  nameless = opened.execute_script("""
    const isNamed = x =>
      x.textContent.trim() || x.labels?.length || x.ariaLabel;
    return [...document.querySelectorAll('button, input, select')]
      .filter(x => !isNamed(x)).map(x => x.outerHTML);
  """)
  assert nameless == []


# Without a browser.


def test_the_shipped_page_is_small():
  networks = shipped.load_all()
  assert {x.torso for x in networks} == {'lstm', 'transformer'}
  assert {x.vocab_size for x in networks} == {2, 3}
  text = page.render(networks)
  assert len(text.encode()) < 2e6
  assert 'http' not in text.replace('http://www.w3.org', '')
  assert '<noscript>' in text


def test_a_run_is_shown_as_it_was_tuned(run, networks):
  network = networks[len(shipped.load_all())]
  assert network.torso == 'linear'
  untuned = {path: x for path, x in network.weights.items()}
  lab, _ = loading.load(run / 'run')
  assert [x.method for x in network.adapted] == [
    name for name in METHODS[1:] if name in lab.methods
  ]
  for adapted in network.adapted:
    _, params, state = loading.load_predictor(run / 'run', adapted.method)
    testing.assert_trees_identical(
      trees.by_path(params), untuned | adapted.changes
    )
    if adapted.rows is None:
      testing.assert_trees_identical(trees.by_path(state), adapted.state)
    else:
      start = lab.network.prefill(params, adapted.rows)
      np.testing.assert_allclose(start['output'], state['output'], atol=1e-6)
  assert len(network.adapted[0].rows) == test_study.PREFIX


def test_runs_that_mean_different_tasks_by_a_name_keep_theirs(
  run, tmp_path, capsys
):
  shutil.copytree(run / 'networks', tmp_path / 'networks')
  for name in ('a', 'b', 'c'):
    shutil.copytree(run / 'run', tmp_path / name)
  record = json.loads((tmp_path / 'b' / 'config.json').read_text())
  target = record['config']['tuning']['target']
  record['config']['tasks'][target]['probabilities'] = [0.9, 0.1]
  (tmp_path / 'b' / 'config.json').write_text(json.dumps(record))
  (tmp_path / 'c' / 'results.nc').unlink()
  (network,) = export.of_runs(tmp_path, ['SoftPT'])
  assert 'unfinished and not shown: c\n' in capsys.readouterr().err
  meant = [network.tasks[x.target]['rows'] for x in network.adapted]
  assert meant == [[[0.2, 0.8]], [[0.9, 0.1]]]
  with pytest.raises(errors.UserError, match="tuned 'NoTuning' on network 0"):
    export.of_runs(tmp_path, ['NoTuning'])


def test_what_differs_is_not_joined_and_is_told_apart(run):
  lab, _ = loading.load(run / 'run')

  def identity(**network):  # Of the same weights.
    config = lab.config | {'network': lab.config['network'] | network}
    return export._identity(dataclasses.replace(lab, config=config), {})

  two, four = ({'name': 'transformer', 'num_heads': heads} for heads in (2, 4))
  networks = [{'torso': two}, {'torso': four}, {'torso': two} | TIED]
  assert len({identity(**x) for x in networks}) == 3
  assert identity(torso=two) == identity(torso=two | {'widening': 4})
  mixture = BELIEFS['points']
  tasks = {
    'even': export.belief(mixture | {'weights': (0.5, 0.5)}),
    'odd': export.belief(mixture),
    'point': export.belief(BELIEFS['point']),
  }
  told = export._told_apart(tasks)
  assert told['even']['title'] == f'{tasks["even"]["title"]} (even)'
  assert told['odd']['title'] == f'{tasks["odd"]["title"]} (odd)'
  assert told['point'] == tasks['point']


def test_a_file_is_the_network(networks, tmp_path):
  network = networks[len(shipped.load_all())]
  (path,) = shipped.save([network], tmp_path)
  again = shipped.load(path)
  testing.assert_trees_identical(again.weights, network.weights)
  for field in ('options', 'tasks', 'lengths', 'title'):
    one, other = (getattr(x, field) for x in (again, network))
    assert json.dumps(one) == json.dumps(other)
  for one, other in zip(again.adapted, network.adapted, strict=True):
    testing.assert_trees_identical(
      dataclasses.asdict(one), dataclasses.asdict(other)
    )


@pytest.mark.parametrize(
  ('changed', 'told'),
  [
    (
      {'torso': settings.spec('mlstm', num_heads=2)},
      "network.torso: the page cannot run 'mlstm', it can run gru, linear, "
      'lstm, transformer',
    ),
    (
      {'task': ('dirichlet_categorical', {'concentration': (1.0,) * 7})},
      'tasks.world: has 7 tokens, the page has keys for 6 at most',
    ),
    (
      {
        'task': (
          'dirichlet_markov',
          {'order': 1, 'concentration': (1.0, 1.0)},
        )
      },
      "tasks.world: the page does not know exact Bayes of 'dirichlet_markov'",
    ),
    ({'unfinished': True}, 'holds no finished run'),
  ],
)
def test_what_the_page_cannot_show_is_one_line(changed, told, tmp_path):
  config = test_run.tiny(**{'tuning.methods': ('NoTuning',)})
  with config.unlocked():
    if 'torso' in changed:
      config.network.torso = changed['torso']
    if 'task' in changed:
      name, kwargs = changed['task']
      config.tasks = {'world': settings.spec(name, **kwargs)}
      config.pretraining.task = config.tuning.target = 'world'
      config.evaluation.tasks = ('world',)
  record = workdir.record(build.build(config).written, {})
  (tmp_path / 'config.json').write_text(json.dumps(record))
  if 'unfinished' not in changed:
    (tmp_path / 'results.nc').touch()
  with pytest.raises(errors.UserError) as caught:
    export.of_runs(tmp_path)
  line = str(caught.value)
  assert told in line and '\n' not in line and line.startswith('workdir: ')
