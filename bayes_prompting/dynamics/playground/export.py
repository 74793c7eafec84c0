"""Networks of finished runs, and what was tuned on them, for the page.

All is plain values and arrays. The page's JavaScript runs the same networks: a
torso can be shown if `page/torsos/` has a file of its name.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import json
import os
import pathlib
from typing import Any

from flax import linen as nn
import jax
import numpy as np

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import registry
from bayes_prompting import trees
from bayes_prompting import types
from bayes_prompting.experiment import build
from bayes_prompting.experiment import loading
from bayes_prompting.reporting import page as report
from bayes_prompting.storage import tensor_file
from bayes_prompting.storage import workdir
from bayes_prompting.system import console

SCRIPTS = pathlib.Path(__file__).parent / 'page'
# The page has a key and a colour for so many tokens.
MOST_TOKENS = 6
# Sequences of the pretraining task, whose states make the plane.
_NUM_SEQUENCES, _MOST_STEPS = 48, 24
# Of a task; of more their number is said.
_MOST_SHOWN = 3

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Adapted:
  """What a method tuned.

  Attributes:
    method: Its name.
    target: The task that it was tuned to.
    rows: [K, E], what the network reads before the tokens; None where the state
      was set in another way.
    state: Then that state, by path; else {}.
    changes: The weights that were tuned, by path.
  """

  method: str
  target: str
  rows: np.ndarray | None
  state: Arrays
  changes: Arrays


@dataclasses.dataclass(frozen=True)
class Network:
  """A pretrained network, and what was tuned on it.

  Attributes:
    title: How it is called.
    torso: The name of its torso.
    options: The attributes of the torso, plain values.
    vocab_size: V.
    embedding_dim: E.
    tied_unembedding: See `predictors.network`.
    weights: By path.
    task: The task that it was pretrained on.
    lengths: Of sequences in pretraining, and in tuning.
    tasks: What each task holds possible, by name, see `belief`.
    sequences: int [S, N] of the pretraining task.
    adapted: What was tuned.
  """

  title: str
  torso: str
  options: dict[str, Any]
  vocab_size: int
  embedding_dim: int
  tied_unembedding: bool
  weights: Arrays
  task: str
  lengths: tuple[int, int]
  tasks: dict[str, dict[str, Any]]
  sequences: np.ndarray
  adapted: tuple[Adapted, ...]


def torsos() -> tuple[str, ...]:
  """Returns the names of the torsos that the page can run."""
  return tuple(sorted(x.stem for x in (SCRIPTS / 'torsos').glob('*.js')))


# What a prior holds possible, by the name of its module: `dirichlets`, or
# sources, which are `points`; their weights, and a row for each.
_BELIEFS = {
  'categorical': lambda x: ('points', [1.0], [x['probabilities']]),
  'categorical_mixture': lambda x: (
    'points',
    x['weights'],
    x['probabilities'],
  ),
  'dirichlet_categorical': lambda x: (
    'dirichlets',
    [1.0],
    [x['concentration']],
  ),
  'dirichlet_mixture': lambda x: (
    'dirichlets',
    x['weights'],
    x['concentrations'],
  ),
}


def belief(spec: Mapping[str, Any]) -> dict[str, Any] | None:
  """Returns kind, weights [M] and rows [M, V] of a prior; None if not known."""
  if spec['name'] not in _BELIEFS:
    return None
  kind, weights, rows = _BELIEFS[spec['name']](spec)
  return {
    'kind': kind,
    'weights': [float(x) for x in weights],
    'rows': [[float(x) for x in row] for row in rows],
    'title': _title(kind, rows),
  }


def _title(kind: str, rows: Sequence[Sequence[float]]) -> str:
  """Returns what sources a prior has, in a few words."""
  is_coin = len(rows[0]) == 2
  one, many = ('coin', 'coins') if is_coin else ('die', 'dice')

  def source(row):  # A coin is said by the chance of a 1.
    numbers = [f'{x:.3g}' for x in row]
    return numbers[1] if is_coin else f'({", ".join(numbers)})'

  def dirichlet(row):
    if is_coin:  # Of the chance of a 1.
      return f'Beta({row[1]:.3g}, {row[0]:.3g})'
    return f'Dirichlet({", ".join(f"{x:.3g}" for x in row)})'

  if kind == 'dirichlets' and [*map(set, rows)] == [{1}]:
    return f'any {one}'
  shown = [*map(source if kind == 'points' else dirichlet, rows)]
  if len(shown) > _MOST_SHOWN:
    return f'{many} of {len(shown)} kinds'
  return f'a {one} of {" or ".join(shown)}'


def of_runs(
  path: str | os.PathLike[str],
  methods: Sequence[str] = (),
  seed: int = 0,
  allow_plugins: bool = False,
) -> list[Network]:
  """Returns the networks of finished runs.

  Runs of the same network are joined: it is one, with what was tuned in all of
  them. A task that differs from an earlier run's of the same name stays its
  own, and is called after its run too. Runs that are unfinished, and methods of
  which every repetition was stopped, are left out; warnings name them.

  Args:
    path: A run's workdir, or a folder of such folders.
    methods: Those that are taken; by default all that tune something.
    seed: The pretraining seed.
    allow_plugins: See `loading.load`.

  Raises:
    UserError: If there is no finished run or no such seed, if no run tuned a
      method on it that was asked for, or if the page cannot show the network:
      its torso or its task is not known there, or it has too many tokens.
  """
  folders, unfinished = report.find(pathlib.Path(path).expanduser())
  if unfinished:
    console.warn(f'unfinished and not shown: {", ".join(unfinished)}')
  joined: dict[str, _Joined] = {}
  for folder in folders:
    lab, place = loading.load(folder, allow_plugins)
    _check(lab, folder)
    with lab.precision():
      params = loading.pretrained(lab, place, seed)
      adapted = _adapted(lab, place, params, methods, seed)
      identity = _identity(lab, params)
      if identity not in joined:
        joined[identity] = _Joined(_network(lab, params), folder.name, {}, [])
    _join(joined[identity], lab, folder.name, adapted)
  tuned = {x.method for network in joined.values() for x in network.adapted}
  if missing := set(methods) - tuned:
    raise errors.UserError(
      f'methods: no run in {str(path)!r} tuned {checks.show(min(missing))} on '
      f'network {seed}'
    )
  # Coins before dice.
  return sorted(_whole([*joined.values()]), key=lambda x: x.vocab_size)


@dataclasses.dataclass(frozen=True)
class _Joined:
  """A network, and what its runs have.

  Attributes:
    network: Without tasks, and with nothing tuned on it.
    run: The name of the first run.
    specs: Those of the runs' tasks, by the name that each has on the page.
    adapted: What the runs tuned.
  """

  network: Network
  run: str
  specs: dict[str, Mapping[str, Any]]
  adapted: list[Adapted]


def _identity(lab: build.Lab, params: types.Params) -> str:
  """Returns what two runs share if the page can show their network as one.

  Weights alone do not tell: a Transformer has as many with more heads.
  """
  config, task = lab.config['network'], lab.pretraining_task
  torso = registry.make('torsos', 'network.torso', config['torso'])
  described = [
    config['torso']['name'],
    options(torso),
    config['tied_unembedding'],
    belief(lab.config['tasks'][task]),
    lab.pretraining.length,
  ]
  return json.dumps([*described, tensor_file.digest(params)], sort_keys=True)


def _join(
  joined: _Joined, lab: build.Lab, run: str, adapted: Sequence[Adapted]
) -> None:
  """Adds a run's tasks, and what it tuned, to those of its network."""
  names, config = {}, lab.config
  for task in (
    lab.pretraining_task,
    lab.target,
    *config['evaluation']['tasks'],
  ):
    spec, name = config['tasks'][task], task
    while not _mean_the_same(joined.specs.setdefault(name, spec), spec):
      name += f' of {run}'
    names[task] = name
  joined.adapted.extend(
    dataclasses.replace(x, target=names[x.target]) for x in adapted
  )


def _mean_the_same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
  return (belief(one) or one) == (belief(other) or other)


def _whole(every: Sequence[_Joined]) -> list[Network]:
  """Returns networks with all that is theirs; different ones look different."""
  networks = []
  for joined in every:
    beliefs = {name: belief(spec) for name, spec in joined.specs.items()}
    tasks = _told_apart({name: x for name, x in beliefs.items() if x})
    networks.append(
      dataclasses.replace(
        joined.network, tasks=tasks, adapted=tuple(joined.adapted)
      )
    )
  titles = [(x.title, x.tasks[x.task]['title']) for x in networks]
  return [
    network
    if titles.count(title) == 1
    else dataclasses.replace(network, title=f'{network.title} ({joined.run})')
    for network, title, joined in zip(networks, titles, every, strict=True)
  ]


def _told_apart(tasks: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
  """Adds their names to titles that tasks share with different ones."""

  def is_shared(task):
    alike = [x for x in tasks.values() if x['title'] == task['title']]
    return any(x != task for x in alike)

  return {
    name: x | {'title': f'{x["title"]} ({name})'} if is_shared(x) else x
    for name, x in tasks.items()
  }


def _check(lab: build.Lab, folder: pathlib.Path) -> None:
  """Checks that the page can show the network of a run."""
  network, task = lab.config['network'], lab.pretraining_task
  prior, name = lab.config['tasks'][task]['name'], network['torso']['name']
  place = f'workdir: {str(folder)!r}: '
  if network['language_model'] is not None:
    raise errors.UserError(
      f'{place}network.language_model: the page cannot run one, it can run '
      f'networks of the torsos {", ".join(torsos())}'
    )
  if name not in torsos():
    raise errors.UserError(
      f'{place}network.torso: the page cannot run {checks.show(name)}, it can '
      f'run {", ".join(torsos())}'
    )
  if lab.network.vocab_size > MOST_TOKENS:
    raise errors.UserError(
      f'{place}tasks.{task}: has {lab.network.vocab_size} tokens, the page has '
      f'keys for {MOST_TOKENS} at most'
    )
  if prior not in _BELIEFS:
    raise errors.UserError(
      f'{place}tasks.{task}: the page does not know exact Bayes of '
      f'{checks.show(prior)}, it knows that of {", ".join(_BELIEFS)}'
    )


def options(torso: nn.Module) -> dict[str, Any]:
  """Returns the attributes of a torso as plain values, for JavaScript."""
  values = {
    field.name: getattr(torso, field.name)
    for field in dataclasses.fields(torso)
    if field.name not in ('parent', 'name')
  }
  return {
    name: dataclasses.asdict(x) if dataclasses.is_dataclass(x) else x
    for name, x in values.items()
  }


def _network(lab: build.Lab, params: types.Params) -> Network:
  """Returns the network of a run, with nothing tuned on it."""
  config, task = lab.config['network'], lab.pretraining_task
  torso = registry.make('torsos', 'network.torso', config['torso'])
  lengths = lab.pretraining.length, lab.tuning.length
  prior, steps = lab.priors[task], min(lengths[0], _MOST_STEPS)
  draws = jax.random.split(jax.random.key(0), _NUM_SEQUENCES)
  draw = jax.jit(jax.vmap(lambda key: prior.sample(key, steps).tokens))
  return Network(
    title=type(torso).__name__,
    torso=config['torso']['name'],
    options=options(torso),
    vocab_size=lab.network.vocab_size,
    embedding_dim=config['embedding_dim'],
    tied_unembedding=config['tied_unembedding'],
    weights={name: np.asarray(x) for name, x in trees.by_path(params).items()},
    task=task,
    lengths=lengths,
    tasks={},
    sequences=np.asarray(draw(draws)),
    adapted=(),
  )


def _adapted(
  lab: build.Lab,
  place: workdir.Workdir,
  params: types.Params,
  methods: Sequence[str],
  seed: int,
) -> tuple[Adapted, ...]:
  """Returns what the methods of a run tuned on one network."""
  adapted = []
  for method in lab.methods.values():
    is_asked = not methods or method.name in methods
    if method.is_bayes or seed not in method.seeds or not is_asked:
      continue
    counts = ~loading.stopped(lab, place, method, seed)
    if not counts.any():
      console.warn(
        f'{place.path.name}: {method.name} is not shown: every repetition was '
        'stopped'
      )
      continue
    tuner, tunables = loading.tuned(lab, place, method, seed)
    tunable = loading.of_repetition(lab, method, tunables, int(counts.argmax()))
    taken = what_was_tuned(lab.network, tuner, params, tunable)
    rows, state, changes = taken
    if changes or state or len(rows):
      adapted.append(Adapted(method.name, lab.target, *taken))
  return tuple(adapted)


def what_was_tuned(
  network: types.Predictor,
  tuner: types.Tuner,
  params: types.Params,
  tunable: types.Tunable,
) -> tuple[np.ndarray | None, Arrays, Arrays]:
  """Returns `rows`, `state` and `changes`, see `Adapted`."""

  @jax.jit
  def bind(params, tunable):
    bound, state = tuner.bind(network, params, tunable)
    rows = network.embed(bound, np.zeros((0, network.vocab_size), np.float32))
    if tuner.rows is not None:
      rows = tuner.rows(network, params, tunable)
    return bound, state, rows, network.prefill(bound, rows)

  bound, state, rows, read = jax.tree.map(np.asarray, bind(params, tunable))
  before = trees.by_path(params)
  changes = {
    path: leaf
    for path, leaf in trees.by_path(bound).items()
    if not np.array_equal(leaf, before[path])
  }
  state, read = trees.by_path(state), trees.by_path(read)
  is_told_by_rows = state.keys() == read.keys() and all(
    state[path].shape == read[path].shape
    and np.allclose(state[path], read[path], rtol=0, atol=1e-6)
    for path in state
  )
  if is_told_by_rows:
    return rows, {}, changes
  return None, state, changes
