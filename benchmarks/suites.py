"""What is measured: meta-training, tuning, evaluation, and how they scale."""

from collections.abc import Callable, Iterator
import dataclasses
import inspect
import math
import pathlib
import tempfile

from absl import logging
import jax
import jax.numpy as jnp
import numpy as np

from bayes_prompting import registry
from bayes_prompting import settings as settings_lib
from bayes_prompting.experiment import arithmetic
from bayes_prompting.experiment import build
from bayes_prompting.experiment import cost
from bayes_prompting.experiment import evaluation
from bayes_prompting.training import fit as fit_lib
from bayes_prompting.training import search as search_lib
from benchmarks import timing
from configs import language_model as language_model_preset
from configs import paper

# Those of the paper have its presets, and all suites. Others stand in the same
# place with the defaults of their `make`.
PAPER = tuple(paper.TORSOS)
TORSOS = (*PAPER, *(x for x in registry.names('torsos') if x not in PAPER))
# Of the suite for vocabularies of real data: the bytes of a file.
_NUM_BYTES, _LONG = 256, 512


def _config(torso):
  """Returns the configuration with a torso, as `Bench.make` says."""
  preset = torso if torso in PAPER else PAPER[0]
  config = paper.get_config(f'{preset},single_coin')
  if torso != preset:
    make = registry.module('torsos', torso).make
    defaults = inspect.signature(make).parameters.values()
    with config.unlocked():
      config.network.torso = {'name': torso}
      config.network.torso.update({x.name: x.default for x in defaults})
    config.methods.LoRAWT.patterns = ('torso',)
  return config


@dataclasses.dataclass(frozen=True)
class Row:
  """One figure.

  Attributes:
    suite: Its suite.
    torso: Which network.
    name: What was measured.
    seconds: Of one update, or of the whole where there are none; the median.
    spread: Slowest run over fastest.
    operations: Matrix-product operations that it needs in plain form, with
      nothing shared between sequences.
    rate: The machine's own, measured right before.
    moved: Bytes that its loops over positions move, in plain form.
    bandwidth: The machine's own, in bytes a second.
    ratio: Speed relative to another row.
    to: Which.
  """

  suite: str
  torso: str
  name: str
  seconds: float
  spread: float
  operations: float
  rate: float
  moved: float = 0.0
  bandwidth: float = math.inf
  ratio: float | None = None
  to: str = ''

  @property
  def share(self) -> float:
    """Its arithmetic as a share of what the machine could do meanwhile."""
    return self.operations / self.seconds / self.rate

  @property
  def memory_share(self) -> float:
    """What its loops move as a share of what the machine could."""
    return self.moved / self.seconds / self.bandwidth

  def beside(self, other: 'Row', to: str = '') -> 'Row':
    """Returns it with its speed relative to another row."""
    ratio = other.seconds / self.seconds
    return dataclasses.replace(self, ratio=ratio, to=to or other.name)


@dataclasses.dataclass(frozen=True)
class Bench:
  """Measures one network of the paper.

  Attributes:
    torso: Its name in `configs/paper.py`.
    lab: What its configuration describes.
    params: Its weights; as initialised, since speed does not depend on them.
    runs: Of each figure, after warm-up.
    seconds: That a run takes, about.
  """

  torso: str
  lab: build.Lab
  params: dict
  runs: int
  seconds: float

  @classmethod
  def make(cls, torso: str, runs: int, seconds: float, **network) -> 'Bench':
    """Builds the network of `configs/paper.py:TORSO,single_coin`.

    Of a torso that the paper has not, that network with this one in its place.
    """
    config = _config(torso)
    for name, value in network.items():
      config.update_from_flattened_dict({name.replace('__', '.'): value})
    return cls.of(torso, config, runs, seconds)

  @classmethod
  def of(cls, name: str, config, runs: int, seconds: float) -> 'Bench':
    """Builds the network of a configuration, under a name."""
    lab = build.build(config)
    params = jax.jit(lab.network.init)(lab.root)
    return cls(name, lab, params, runs, seconds)

  @classmethod
  def of_model(cls, name: str, runs: int, seconds: float) -> 'Bench':
    """Builds a language model that tosses a coin, at its study's size."""
    config = language_model_preset.get_config('coin')
    config.network.language_model.name = name
    return cls.of(pathlib.Path(name).stem, config, runs, seconds)

  @property
  def plain(self):
    """The same network with nothing shared between sequences."""
    return cost.plain_network(self.lab)

  def row(self, suite, name, fn: Callable, operations, times=1) -> Row:
    """Times a function that does something `times` times."""
    jax.block_until_ready(fn())
    rate = timing.product_rate(3)
    found = timing.measure(fn, self.runs, times)
    logging.info('%s %s: %.4f s', self.torso, name, found.seconds)
    return Row(
      suite, self.torso, name, found.seconds, found.spread, operations, rate
    )

  def fit(self, suite, name, settings, task, tuner, plain=False, runs=1):
    """Measures updates of a tuner; seconds are those of one update."""
    predictor = self.plain if plain else self.lab.network
    prior = self.lab.priors[task]
    several = fit_lib.runs(runs, 1e-3)  # Speed does not depend on it.

    def updates(count):
      """Returns what makes so many updates, whose data are drawn at once."""
      steps = dataclasses.replace(settings, num_steps=10**6, chunk_size=count)
      problem = fit_lib.Problem(predictor, tuner, prior, steps)
      state = None

      def some():
        nonlocal state
        start = 0 if state is None else state.step
        state, _ = fit_lib.fit(
          self.lab.root,
          problem,
          self.params,
          several,
          state=state,
          stop=start + count,
        )
        return state.tunable

      some()
      return some

    one = timing.measure(updates(1), 2).seconds
    count = max(1, min(1000, round(self.seconds / one)))
    some = updates(count)
    operations = runs * self.fit_operations(settings, tuner)
    row = self.row(suite, name, some, operations, count)
    moved = runs * self.fit_operations(settings, tuner, arithmetic.loop_bytes)
    bandwidth = timing.memory_rate(3)
    return dataclasses.replace(row, moved=moved, bandwidth=bandwidth)

  def fit_operations(
    self, settings, tuner, count: Callable = arithmetic.matrix_operations
  ) -> int:
    """Counts one update of a tuner in plain form."""
    size = settings.batch_size, settings.length
    return cost.update(self.plain, tuner, *size, count)

  def predict_operations(self, count, length) -> int:
    """Counts the prediction of sequences in plain form."""
    plain = self.plain
    tokens = jnp.zeros((1, length), jnp.int32)

    def predict(params):
      return plain.predict(params, plain.start(params), tokens)

    return count * arithmetic.matrix_operations(predict, self.params)


def everything():
  """Returns the tuner of all weights, which is meta-training."""
  return registry.make('tuners', 'all', {'name': 'weights'})


def train(bench: Bench) -> Iterator[Row]:
  """Meta-training, and the same in plain form."""
  lab = bench.lab
  task = lab.pretraining_task
  args = ('train', lab.pretraining, task, everything())
  suite, settings, task, tuner = args
  fast = bench.fit(suite, 'pretraining', settings, task, tuner)
  plain = dataclasses.replace(settings, sequence_block=settings.batch_size)
  slow = bench.fit(suite, 'pretraining, plain', plain, task, tuner, plain=True)
  yield fast.beside(slow)
  yield slow


def tune(bench: Bench) -> Iterator[Row]:
  """Every gradient tuner, and the search over hard prefixes."""
  lab = bench.lab
  methods = [
    method
    for method in lab.methods.values()
    if method.tuner.trainable and not method.is_bayes
  ]
  methods.sort(key=lambda method: method.name != 'FullWT')
  full = None
  for method in methods:
    row = bench.fit('tune', method.name, lab.tuning, lab.target, method.tuner)
    full = full or row
    yield row.beside(full)
  yield _search(bench)


def _search(bench):
  lab = bench.lab
  (method,) = (
    method
    for method in lab.methods.values()
    if method.tuner.candidates is not None and not method.is_bayes
  )
  draws = lab.config['tuning']['search_draws']
  # What it takes, in scores of one: a search that proposes has others beside.
  count = cost.of_method(lab, method).updates
  problem = fit_lib.Problem(
    lab.network, method.tuner, lab.priors[lab.target], lab.tuning
  )

  def search():
    return search_lib.search(
      lab.root, problem, bench.params, 1, num_draws=draws
    ).losses

  operations = bench.predict_operations(count * draws, lab.tuning.length)
  name = f'search, {count} on {draws} x {lab.tuning.length}'
  return dataclasses.replace(bench, runs=2).row(
    'tune', name, search, operations
  )


def evaluate(bench: Bench) -> Iterator[Row]:
  """Evaluation of one predictor at the paper's size."""
  lab = bench.lab
  sizes = lab.config['evaluation']
  count, length = sizes['num_sequences'], sizes['length']
  task = evaluation.make_task(lab.root, lab.priors[lab.target], count, length)
  untuned = registry.make('tuners', 'none', {'name': 'none'})
  args = (bench.params, untuned, {}, task, lab.report_steps)
  operations = bench.predict_operations(count, length)
  yield bench.row(
    'evaluate',
    f'{count} x {length}',
    lambda: evaluation.evaluate(lab.network, *args),
    operations,
  )


def scaling(bench: Bench) -> Iterator[Row]:
  """Prefix lengths, blocks of sequences, and runs beside each other."""
  lab = bench.lab
  first = None
  for length in (1, 64):
    spec = {'name': 'prefix', 'form': 'soft', 'length': length}
    tuner = registry.make('tuners', 'soft', spec)
    name = f'SoftPT, prefix {length}'
    row = bench.fit('scaling', name, lab.tuning, lab.target, tuner)
    first = first or row
    yield row.beside(first)
  whole = None
  for block in (256, 64, 32, 16, 8):
    settings = dataclasses.replace(lab.pretraining, sequence_block=block)
    name = f'pretraining, blocks of {block}'
    task = lab.pretraining_task
    row = bench.fit('scaling', name, settings, task, everything())
    whole = whole or row
    yield row.beside(whole)
  for width in (128, 32):
    yield from _runs(bench, width)


def _runs(bench, width):
  """Four runs of SoftPT in turn and vmapped, of a network of some width."""
  sizes = {'network__embedding_dim': width}
  if 'width' in bench.lab.config['network']['torso']:
    sizes['network__torso__width'] = width
  bench = Bench.make(bench.torso, bench.runs, bench.seconds, **sizes)
  lab = bench.lab
  alone = None
  for block, how in ((1, 'in turn'), (4, 'vmapped')):
    settings = dataclasses.replace(lab.tuning, run_block=block)
    tuner = lab.methods['SoftPT'].tuner
    name = f'SoftPT, width {width}, 4 runs {how}'
    row = bench.fit('scaling', name, settings, lab.target, tuner, runs=4)
    alone = alone or row
    yield row.beside(alone)


def vocabulary(bench: Bench) -> Iterator[Row]:
  """Meta-training on the bytes of a file, in windows of 512."""
  config = _config(bench.torso)
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder, 'bytes.npy')
    some = np.random.default_rng(0).integers(0, _NUM_BYTES, (256, 2 * _LONG))
    np.save(path, some)
    with config.unlocked():
      config.tasks.bytes = settings_lib.spec(
        'sequences', path=str(path), vocabulary=_NUM_BYTES, depth=0
      )
    config.pretraining.task = config.tuning.target = 'bytes'
    config.evaluation.tasks = ('bytes',)
    config.pretraining.length = _LONG
    config.tuning.methods = ('NoTuning', 'FullWT')
    config.evaluation.num_sequences, config.evaluation.length = 2, 1
    config.tuning.length = 1
    bench = Bench.of(bench.torso, config, bench.runs, bench.seconds)
  settings = bench.lab.pretraining
  name = f'pretraining, V = {_NUM_BYTES}, N = {_LONG}'
  yield bench.fit('vocabulary', name, settings, 'bytes', everything())


def language_model(bench: Bench) -> Iterator[Row]:
  """Evaluation and updates of a language model, and what they are in tokens."""
  lab = bench.lab
  tokens = lab.tuning.batch_size * lab.tuning.length
  for row in evaluate(bench):
    sizes = lab.config['evaluation']
    count = sizes['num_sequences'] * sizes['length']
    yield _in_tokens(row, count)
  for name in ('SoftPT', 'LoRAWT'):
    tuner = lab.methods[name].tuner
    row = bench.fit('language_model', name, lab.tuning, lab.target, tuner)
    yield _in_tokens(row, tokens)


def _in_tokens(row, count):
  name = f'{row.name}: {count / row.seconds:.0f} tokens a second'
  return dataclasses.replace(row, suite='language_model', name=name)


SUITES = {
  'train': train,
  'tune': tune,
  'evaluate': evaluate,
  'scaling': scaling,
  'vocabulary': vocabulary,
}
