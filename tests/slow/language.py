"""Holds whole language models to independent NumPy forward passes.

    python -m tests.slow.language --gguf=SmolLM2-135M-Instruct.Q4_1.gguf
    python -m tests.slow.language --hdf5=textgenrnn_weights.hdf5

The model is read by the package; weights and sizes, and what NumPy makes of
them in float64, come from the file by the library `gguf` alone. Compared are
the log probabilities of all tokens, after every token of some texts. Also asks
the first for the capital of France, and has its tokenizer round-trip random
unicode. Prints a line of JSON for docs/language_models.md.
"""

import json
import time

from absl import app
from absl import flags
import gguf
import h5py
import jax
import numpy as np

from bayes_prompting.language import model
from tests.language import test_textgenrnn
from tests.language import tiny

_GGUF = flags.DEFINE_string('gguf', None, 'A file of Llama.')
_HDF5 = flags.DEFINE_string('hdf5', None, "textgenrnn's weights.")
flags.mark_flags_as_mutual_exclusive(['gguf', 'hdf5'], required=True)
_STRINGS = flags.DEFINE_integer('strings', 1000, 'That are round-tripped.')
_TEXTS = (
  'The capital of France is Paris, and the capital of Italy is',
  ' H T T H T T T T H T',
  '1, 2, 3, 4, 5, 6,',
)


def _sizes(reader):
  def field(name):
    return reader.get_field(f'llama.{name}').contents()

  return tiny.Sizes(
    field('block_count'),
    field('attention.head_count'),
    field('attention.head_count_kv'),
    field('rope.freq_base'),
    field('attention.layer_norm_rms_epsilon'),
  )


class _Weights(dict):
  """Weights by name, dequantised when they are asked for."""

  def __init__(self, reader):
    super().__init__({x.name: x for x in reader.tensors})

  def __getitem__(self, name):
    tensor = super().__getitem__(name)
    return gguf.dequantize(tensor.data, tensor.tensor_type)


def _random_strings(count):
  rng = np.random.default_rng(0)
  for _ in range(count):
    # SmolLM2 has no token for some bytes of control characters, nor of planes
    # beyond the first two. Half a pair is no character.
    numbers = rng.integers(0x20, 0x20000, size=rng.integers(1, 30))
    yield ''.join(chr(x) for x in numbers if not 0xD800 <= x < 0xE000)


def _of_textgenrnn(path):
  """Returns the largest difference within two windows of text, in nats."""
  weights = {}
  with h5py.File(path) as file:
    file.visititems(
      lambda name, x: weights.update({name: x[:]} if hasattr(x, 'size') else {})
    )
  loaded = model.load(path)
  text = (
    'How do I get rid of a coin that shows heads with probability 0.2? ' * 2
  )
  numbers = loaded.tokenizer.encode(text)
  predictor = loaded.predictor()
  actual = jax.jit(
    lambda params: predictor.predict(
      params, predictor.start(params), np.array([numbers])
    )[0]
  )(loaded.params)
  window = loaded.architecture.window
  wanted = [
    test_textgenrnn.expected(
      weights, (loaded.beginning, *numbers[:n]), True, window
    )
    for n in range(len(numbers))
  ]
  return float(np.abs(actual - np.array(wanted)).max())


def main(argv):
  del argv
  if _HDF5.value:
    print(json.dumps({'largest_difference_nats': _of_textgenrnn(_HDF5.value)}))
    return
  reader = gguf.GGUFReader(_GGUF.value)
  tensors, sizes = _Weights(reader), _sizes(reader)
  loaded = model.load(_GGUF.value)

  @jax.jit
  def log_probs(params, numbers):
    return predictor.predict(params, predictor.start(params), numbers[None])[0]

  worst = 0.0
  for text in _TEXTS:
    numbers = loaded.tokenizer.encode(text)
    # The first stands before everything else, so it is no symbol.
    first = loaded.tokenizer.decode(numbers[:1])
    predictor = loaded.predictor(context=first)
    log_probs.clear_cache()
    actual = log_probs(loaded.params, np.array(numbers[1:]))
    wanted = tiny.forward(tensors, numbers, sizes)[:-1]
    worst = max(worst, float(np.abs(actual - wanted).max()))
  predictor = loaded.predictor(context='The capital of France is')
  log_probs.clear_cache()
  (paris,) = loaded.tokenizer.encode(' Paris')
  mass = np.exp(log_probs(loaded.params, np.array([paris]))[0, paris])
  wrong = sum(
    loaded.tokenizer.decode(loaded.tokenizer.encode(x)) != x
    for x in _random_strings(_STRINGS.value)
  )
  print(
    json.dumps(
      {
        'largest_difference_nats': worst,
        'paris': float(mass),
        'strings': _STRINGS.value,
        'strings_that_differ': wrong,
        'date': time.strftime('%Y-%m-%d'),
      }
    )
  )


if __name__ == '__main__':
  app.run(main)
