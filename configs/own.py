"""Sequences of your own: a network of a structured prior, tuned to a file.

    bayes-prompting run --config=own:weather --workdir=runs/weather
    bayes-prompting run --config=own:genome --workdir=runs/genome
    bayes-prompting run --config=own:phones --workdir=runs/phones
    bayes-prompting run --config=own:text --workdir=runs/text \
        --config.tasks.mine.path=book.txt

The weather is that of Seattle, day by day; the genome is that of a bacterium,
Corynebacterium diphtheriae. Both files come with packages (`pip install
vega-datasets`, `pip install pyrodigal`). docs/examples/phones.md makes the file
of phones. For a file of your own give its path, as for the text. With `,quick`
behind it everything is small. `docs/examples` says what comes out.
"""

import importlib.util
import pathlib
import string

from bayes_prompting import settings
from bayes_prompting.settings import arguments as preset_arguments

METHODS = (
  'NoTuning',
  'HardPT',
  'SoftPT',
  'EmbedWT',
  'UnembedWT',
  'LoRAWT',
  'FullWT',
)
# A day's weather: five symbols, a month in a window.
_WEATHER = {
  'columns': ('weather',),
  'vocabulary': ('drizzle', 'fog', 'rain', 'snow', 'sun'),
  'cut': 30,
  'split': (0.5, 0.2, 0.3),
  'depth': 2,
}
# The letters of unknown nucleotides end a sequence.
_GENOME = {'format': 'fasta', 'outside': 'cut', 'cut': 400, 'depth': 6}
# A word begins with #, and so does a window of some words.
_PHONES = {'format': 'words', 'cut': 400, 'depth': 2, 'alpha': 0.05}
_TEXT = {
  'format': 'text',
  'vocabulary': '\n' + ' ' + string.ascii_lowercase,
  'outside': 'cut',
  'cut': 400,
  'depth': 3,
  'alpha': 0.05,
}
EXAMPLES = {
  'weather': _WEATHER,
  'genome': _GENOME,
  'phones': _PHONES,
  'text': _TEXT,
}
_VOCABULARY = {'weather': 5, 'genome': 4, 'phones': 40, 'text': 28}
# Where the file is, in a package that has one; else what it is to be called.
_FILES = {
  'weather': ('vega_datasets', '_data/seattle-weather.csv'),
  'genome': (
    'pyrodigal',
    'tests/data/GCF_001457455.1_NCTC11397_genomic.fna.gz',
  ),
  'phones': (None, 'phones.txt'),
  'text': (None, 'book.txt'),
}


def file_of(name: str) -> str:
  """Returns where the file of an example is.

  Without its package it is a file of that name in the folder one is in.

  Args:
    name: One of `EXAMPLES`.
  """
  package, path = _FILES[name]
  found = importlib.util.find_spec(package) if package else None
  if found is None or not found.submodule_search_locations:
    return pathlib.PurePath(path).name
  return str(pathlib.Path(found.submodule_search_locations[0], path))


def get_config(argument: str = 'weather') -> settings.Configuration:
  """Returns the configuration of one example.

  Args:
    argument: One of `EXAMPLES`, and `quick` or nothing.
  """
  (name,), options = preset_arguments.split(
    'own', argument, {'EXAMPLE': EXAMPLES}, ('quick',)
  )
  vocab_size = _VOCABULARY[name]
  # Of many symbols, few follow each other.
  alpha = EXAMPLES[name].get('alpha', 0.5)
  config = settings.base_config()
  with config.unlocked():
    config.tasks = {
      # Contexts of any length up to two: what a prompt can choose from.
      'trees': settings.spec(
        'context_tree', vocab_size=vocab_size, depth=2, alpha=alpha
      ),
      'mine': settings.spec('sequences', path=file_of(name), **EXAMPLES[name]),
    }
  length = 30 if name == 'weather' else 100
  config.network.embedding_dim = 32
  config.network.torso = settings.spec('lstm', width=64, num_layers=1)
  config.pretraining.task = 'trees'
  config.pretraining.num_steps = 1000
  config.pretraining.batch_size = 64
  config.pretraining.length = length
  config.pretraining.learning_rate = 3e-3
  config.tuning.target = 'mine'
  config.tuning.methods = METHODS
  # A file of few sequences is soon learnt by heart.
  config.tuning.num_steps = 400 if name == 'weather' else 1200
  config.tuning.batch_size = 32
  config.tuning.length = length
  config.tuning.num_repetitions = 3
  config.tuning.prefix_length = 4
  # A search scores so many prefixes on so many windows; of letters there are
  # too many to try them all.
  config.methods.HardPT.max_candidates = 1024
  config.tuning.search_draws = 64
  config.tuning.early_stopping.patience = 4
  config.tuning.early_stopping.every = 20
  config.evaluation.tasks = ('mine',)
  config.evaluation.length = length
  config.evaluation.num_sequences = {'weather': 14, 'text': 40}.get(name, 400)
  if 'quick' in options:
    config.network.embedding_dim = config.network.torso.width = 8
    config.pretraining.num_steps = config.tuning.num_steps = 4
    config.tuning.num_repetitions = 1
    config.tuning.methods = ('NoTuning', 'SoftPT')
    config.tuning.early_stopping.every = 2
  return config
