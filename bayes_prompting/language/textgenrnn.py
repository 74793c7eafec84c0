"""Character networks of textgenrnn (github.com/minimaxir/textgenrnn, MIT).

Two layers of LSTM and an average over a window of 40 characters, see
`torsos.windowed_lstm`. What textgenrnn saves is read and kept as a folder:
`NAME_weights.hdf5` with `NAME_vocab.json` beside it and, of a network of other
sizes, `NAME_config.json`. Before a text stand characters of their own that say
that there is nothing yet, as many as the window has.
"""

from collections.abc import Callable, Mapping
import dataclasses
import pathlib
from typing import Any

from flax import linen as nn
import numpy as np

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import types
from bayes_prompting.language import extra
from bayes_prompting.language import kept
from bayes_prompting.language import tokens
from bayes_prompting.system import files
from bayes_prompting.torsos import windowed_lstm

# As of `gguf_file`.
VERSION = 1
MAGIC = b'\x89HDF\r\n\x1a\n'

_KIND = 'textgenrnn'
_WEIGHTS = '_weights.hdf5'
_GATES = 'ifgo'  # In the order of Keras.
_NOTHING, _META = '<nothing>', '<s>'
# What its configuration may say, and the value that can be read.
_WITHOUT = {'word_level': False, 'rnn_bidirectional': False}
_MAX_LENGTH = 40


@dataclasses.dataclass(frozen=True)
class Architecture:
  """What a network of textgenrnn is like.

  Attributes:
    vocab_size: Characters, and what stands for none.
    width: E, of embeddings.
    cells: In each layer.
    num_layers: Of LSTM.
    window: Characters that are read before each prediction.
  """

  vocab_size: int
  width: int
  cells: int
  num_layers: int
  window: int

  tied_unembedding = False

  @property
  def padding(self) -> tuple[int, ...]:
    """Returns the tokens that stand before every text."""
    return (0,) * self.window

  def torso(self) -> nn.Module:
    """Returns the layers.

    Raises:
      UserError: If a number is too large.
    """
    return windowed_lstm.make(self.cells, self.num_layers, self.window)

  def shapes(self) -> dict[str, tuple[int, ...]]:
    """Returns the shape of each weight that is kept, by its name."""
    every = {'embedding': (self.vocab_size, self.width)}
    width = self.width
    for i in range(1, self.num_layers + 1):
      every |= {
        f'rnn_{i}.kernel': (width, 4 * self.cells),
        f'rnn_{i}.recurrent_kernel': (self.cells, 4 * self.cells),
        f'rnn_{i}.bias': (4 * self.cells,),
      }
      width = self.cells
    features = self.width + self.num_layers * self.cells
    return every | {
      'attention': (features,),
      'output.kernel': (features, self.vocab_size),
      'output.bias': (self.vocab_size,),
    }

  def params(self, weight: Callable[[str], np.ndarray]) -> types.Params:
    """Returns weights by the names that they have here.

    Args:
      weight: (name) -> float32 array.
    """
    layers = {
      f'layer_{i}': _cell(weight, f'rnn_{i + 1}')
      for i in range(self.num_layers)
    }
    return {
      'embedding': {'kernel': weight('embedding')},
      'torso': {**layers, 'attention': weight('attention')},
      'unembedding': {
        'kernel': weight('output.kernel'),
        'bias': weight('output.bias'),
      },
    }


def _cell(weight, name):
  """Returns the weights of one layer as Flax's cell has them."""

  def parts(kind):
    gates = np.split(weight(f'{name}.{kind}'), 4, axis=-1)
    return zip(_GATES, gates, strict=True)

  cell = {f'i{gate}': {'kernel': x} for gate, x in parts('kernel')}
  cell |= {f'h{gate}': {'kernel': x} for gate, x in parts('recurrent_kernel')}
  for gate, bias in parts('bias'):
    cell[f'h{gate}']['bias'] = bias
  return cell


_FIELDS = {
  'vocab_size': 'vocab_size',
  'dim_embeddings': 'width',
  'rnn_size': 'cells',
  'rnn_layers': 'num_layers',
  'max_length': 'window',
}


def read_config(values: Mapping[str, Any], where: str) -> Architecture:
  """Returns what a kept config.json describes; see `llama.read_config`."""
  sizes = {
    field: checks.integer(f'model: {where}: {name}', values.get(name), 1)
    for name, field in _FIELDS.items()
  }
  architecture = Architecture(**sizes)
  try:
    architecture.torso()
  except errors.UserError as error:
    raise errors.UserError(f'model: {where}: {error}') from None
  return architecture


def beside(path: pathlib.Path) -> tuple[pathlib.Path, ...]:
  """Returns the files that a file of weights is read with, itself the first.

  Raises:
    UserError: If its name does not say where they are, or if there is no
      vocabulary.
  """
  if not path.name.endswith(_WEIGHTS):
    raise errors.UserError(
      f'model: {str(path)!r} must be called NAME{_WEIGHTS}, with '
      'NAME_vocab.json beside it, as textgenrnn saves them'
    )
  name = path.name.removesuffix(_WEIGHTS)
  vocabulary, config = (
    path.with_name(f'{name}_{x}.json') for x in ('vocab', 'config')
  )
  if not vocabulary.is_file():
    raise errors.UserError(
      f'model: there is no {str(vocabulary)!r}, the characters of {path.name!r}'
    )
  return (path, vocabulary, *([config] if config.is_file() else []))


def convert(path: pathlib.Path, folder: pathlib.Path, digest: str) -> None:
  """Writes a network of textgenrnn to a folder; see `gguf_file.convert`."""
  _, vocabulary, *config = beside(path)
  said = files.read_json(config[0], 'model') if config else {}
  for name, value in _WITHOUT.items():
    if said.get(name, value) != value:
      raise errors.UserError(
        f'model: {str(config[0])!r} has {name}={checks.show(said[name])}; it '
        f'must be {value}'
      )
  window = said.get('max_length', _MAX_LENGTH)
  characters = _characters(vocabulary)
  stored = _read(path)
  weights = _weights(stored, path, len(characters) + 1)
  num_layers = sum(name.endswith('.recurrent_kernel') for name in weights)
  values = {
    'model_type': _KIND,
    'bos_token_id': characters[_META],
    'vocab_size': len(characters) + 1,
    'dim_embeddings': weights['embedding'].shape[1],
    'rnn_size': len(weights['rnn_1.recurrent_kernel']),
    'rnn_layers': num_layers,
    'max_length': window,
  }
  architecture = read_config(values, repr(str(path)))
  for name, shape in architecture.shapes().items():
    if weights[name].shape != shape:
      raise errors.UserError(
        f'model: {str(path)!r}: weight {name!r} must have shape '
        f'{list(shape)}, got {list(weights[name].shape)}'
      )
  made = tokens.of_characters(characters | {_NOTHING: 0}, (_NOTHING, _META))
  kept.write(folder, values, weights, made, digest)


def _characters(path):
  """Returns numbers from 1 on, by character; `<s>` among them."""
  read = files.read_json(path, 'model')
  others = [x for x in read if x != _META and not _is_character(x)]
  if others:
    raise errors.UserError(
      f'model: {str(path)!r} has {checks.show(others[0])}, which is no '
      'character; only networks of characters can be read'
    )
  numbers = [x for x in read.values() if type(x) is int]
  if sorted(numbers) != [*range(1, len(read) + 1)] or _META not in read:
    raise errors.UserError(
      f'model: {str(path)!r} must give numbers 1, 2, ... to characters, and to '
      f'{_META!r}'
    )
  return read


def _is_character(text):
  # Half of a pair of surrogates is one for JSON, and stands in no text.
  return len(text) == 1 and not '\ud800' <= text <= '\udfff'


def _read(path):
  """Returns all arrays of a file, by the names of layer and weight."""
  h5py = extra.library('h5py')
  arrays = {}

  def visit(name, item):
    if isinstance(item, h5py.Dataset):
      at = name.split('/')
      weight = at[-1].partition(':')[0]
      arrays[at[0], weight] = np.asarray(item, np.float32)

  try:
    with h5py.File(path) as file:
      file.visititems(visit)
  except (OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
    raise errors.UserError(
      f'model: {str(path)!r} is no HDF5 file of numbers, or is cut off '
      f'({files.why(error)})'
    ) from None
  return arrays


def _weights(stored, path, vocab_size):
  """Returns weights by the names of `Architecture.shapes`."""
  others = dict(stored)

  def weight(layer, name, ndim=1):
    array = others.pop((layer, name), None)
    if array is None:
      raise errors.UserError(
        f'model: {str(path)!r} lacks the weight {name!r} of {layer!r}, which a '
        'network of textgenrnn has'
      )
    if array.ndim != ndim:
      raise errors.UserError(
        f'model: {str(path)!r}: weight {name!r} of {layer!r} must have {ndim} '
        f'axes, got shape {list(array.shape)}'
      )
    return array

  table = weight('embedding', 'embeddings', 2)
  if len(table) != vocab_size:
    raise errors.UserError(
      f'model: {str(path)!r} has embeddings of shape {list(table.shape)}, and '
      f'its vocabulary {vocab_size - 1} characters'
    )
  weights = {'embedding': table}
  layers = max(1, sum(name == 'recurrent_kernel' for _, name in stored))
  for layer in (f'rnn_{i}' for i in range(1, layers + 1)):
    kernel = weight(layer, 'kernel', 2)
    recurrent = weight(layer, 'recurrent_kernel', 2)
    bias = weight(layer, 'bias')
    gates = 4 * len(recurrent)
    # Of other shapes it is refused by whoever called.
    if kernel.shape[1] == recurrent.shape[1] == gates == len(bias) / 2:
      # As cuDNN has them: two biases, and matrices of each gate transposed in
      # memory.
      kernel, recurrent = _of_cudnn(kernel), _of_cudnn(recurrent)
      bias = bias.reshape(2, gates).sum(0)
    weights |= {
      f'{layer}.kernel': kernel,
      f'{layer}.recurrent_kernel': recurrent,
      f'{layer}.bias': bias,
    }
  weights |= {
    'attention': weight('attention', 'attention_W', 2).reshape(-1),
    'output.kernel': weight('output', 'kernel', 2),
    'output.bias': weight('output', 'bias'),
  }
  for layer, name in others:
    raise errors.UserError(
      f'model: {str(path)!r} has the weight {name!r} of {layer!r}, which no '
      'network of textgenrnn has'
    )
  return weights


def _of_cudnn(matrix):
  """Returns [in, 4 D] of a matrix that Keras took from cuDNN."""
  gates = np.split(matrix, 4, axis=1)
  return np.concatenate(
    [x.reshape(x.shape[1], x.shape[0]).T for x in gates], axis=1
  )
