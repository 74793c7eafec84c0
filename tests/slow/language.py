"""Holds a whole language model to an independent NumPy forward pass.

    python -m tests.slow.language --gguf=SmolLM2-135M-Instruct.Q4_1.gguf

The model is read by the package; weights and sizes, and what NumPy makes of
them in float64, come from the file by the library `gguf` alone. Compared are
the log probabilities of all tokens, after every token of some texts. Also asks
for the capital of France, and has the tokenizer round-trip random unicode.
Prints a line of JSON for docs/language_models.md.
"""

import json
import time

from absl import app
from absl import flags
import gguf
import jax
import numpy as np

from bayes_prompting.language import model
from tests.language import tiny

_GGUF = flags.DEFINE_string('gguf', None, 'The file.', required=True)
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


def main(argv):
  del argv
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
