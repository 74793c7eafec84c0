"""Networks of textgenrnn, held to NumPy as Keras and cuDNN compute them."""

import json

from absl import flags
from absl.testing import flagsaver
import h5py
import jax
import numpy as np
import pytest

import bayes_prompting as bp
from bayes_prompting import errors
from bayes_prompting.experiment import build
from bayes_prompting.language import cache
from bayes_prompting.language import model as model_lib
from configs import language_model
from launch import language_model as script

WIDTH, CELLS, WINDOW = 5, 4, 6
CHARACTERS = {'a': 1, 'b': 3, ' ': 2, 'é': 4, '<s>': 5}
VOCAB = len(CHARACTERS) + 1
# What the preset writes.
SIDES = {x: i for i, x in enumerate((*'HTABCDEF', '<s>'), 1)}


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))


def draw(of_cudnn, vocab_size=VOCAB):
  """Draws weights by their names in a file."""
  rng = np.random.default_rng(0)
  features = WIDTH + 2 * CELLS
  shapes = {
    'embedding/embedding/embeddings:0': (vocab_size, WIDTH),
    'attention/attention/attention_W:0': (features, 1),
    'output/output/kernel:0': (features, vocab_size),
    'output/output/bias:0': (vocab_size,),
  }
  for i, width in (1, WIDTH), (2, CELLS):
    name = f'rnn_{i}/rnn_{i}'
    shapes |= {
      f'{name}/kernel:0': (width, 4 * CELLS),
      f'{name}/recurrent_kernel:0': (CELLS, 4 * CELLS),
      f'{name}/bias:0': ((8 if of_cudnn else 4) * CELLS,),
    }
  return {
    name: rng.normal(size=shape).astype(np.float32)
    for name, shape in shapes.items()
  }


def write(folder, weights, characters=None, **said):
  """Writes what textgenrnn saves; returns the path of the weights."""
  path = folder / 'small_weights.hdf5'
  with h5py.File(path, 'w') as file:
    for name, array in weights.items():
      file[name] = array
  said = {'max_length': WINDOW, **said}
  characters = CHARACTERS if characters is None else characters
  for name, values in ('vocab', characters), ('config', said):
    (folder / f'small_{name}.json').write_text(json.dumps(values))
  return path


def _sigmoid(x):
  return 1 / (1 + np.exp(-x))


def _lstm(x, weights, name, of_cudnn):
  """Runs one layer over [W, E], one gate at a time, in Keras's order."""
  kernel, recurrent, bias = (
    weights[f'{name}/{name}/{x}:0']
    for x in ('kernel', 'recurrent_kernel', 'bias')
  )
  cells = len(recurrent)
  hidden = cell = np.zeros(cells)
  outputs = []
  for row in x:
    z = []
    for gate in range(4):
      at = slice(gate * cells, (gate + 1) * cells)
      of_row, of_hidden, own = kernel[:, at], recurrent[:, at], bias[at]
      if of_cudnn:
        # The memory of a gate's matrix is that of [out, in].
        of_row = of_row.ravel().reshape(cells, len(row)).T
        of_hidden = of_hidden.ravel().reshape(cells, cells).T
        own = own + bias[4 * cells :][at]
      z.append(row @ of_row + hidden @ of_hidden + own)
    i, f, c, o = z
    cell = _sigmoid(f) * cell + _sigmoid(i) * np.tanh(c)
    hidden = _sigmoid(o) * np.tanh(cell)
    outputs.append(hidden)
  return np.array(outputs)


def expected(weights, numbers, of_cudnn, window=WINDOW):
  """Returns log probabilities [V] after tokens, as textgenrnn pads them."""
  weights = {name: x.astype(np.float64) for name, x in weights.items()}
  last = ([0] * window + list(numbers))[-window:]
  x = weights['embedding/embedding/embeddings:0'][last]
  first = _lstm(x, weights, 'rnn_1', of_cudnn)
  second = _lstm(first, weights, 'rnn_2', of_cudnn)
  every = np.concatenate([x, first, second], axis=1)
  scores = (every @ weights['attention/attention/attention_W:0'])[:, 0]
  mass = np.exp(scores - scores.max())
  mean = mass / mass.sum() @ every
  logits = mean @ weights['output/output/kernel:0']
  logits += weights['output/output/bias:0']
  logits -= logits.max()
  return logits - np.log(np.exp(logits).sum())


@pytest.mark.parametrize('of_cudnn', [False, True])
def test_it_predicts_as_keras_does(tmp_path, of_cudnn):
  weights = draw(of_cudnn)
  model = bp.language_model(write(tmp_path, weights))
  symbols = 'a', 'b', 'é'
  predictor = model.predictor(symbols=symbols, context='<s>b ')
  tokens = np.array([[0, 1, 2, 2, 1, 0, 0, 1]])
  state = predictor.start(model.params)
  log_probs = predictor.predict(model.params, state, tokens)
  outside = model.outside(state, tokens, symbols, context='<s>b ')
  context = [CHARACTERS[x] for x in ('<s>', 'b', ' ')]
  chosen = [CHARACTERS[x] for x in symbols]
  for n in range(tokens.shape[1]):
    seen = context + [chosen[x] for x in tokens[0, :n]]
    every = expected(weights, seen, of_cudnn)
    among = every[chosen] - np.log(np.exp(every[chosen]).sum())
    np.testing.assert_allclose(log_probs[0, n], among, atol=2e-5)
    others = 1 - np.exp(every[chosen]).sum()
    np.testing.assert_allclose(np.exp(outside[0, n]), others, atol=2e-5)


def test_a_text_begins_with_its_own_token(tmp_path):
  model = bp.language_model(write(tmp_path, draw(True)))
  predictor = model.predictor(symbols=('a', 'b'))
  said = model.predictor(symbols=('a', 'b'), context='<s>')
  tokens = np.array([[1, 0, 1]])
  one, other = (
    x.predict(model.params, x.start(model.params), tokens)
    for x in (predictor, said)
  )
  np.testing.assert_array_equal(one, other)
  assert model.tokenizer.decode(model.tokenizer.encode('é b a')) == 'é b a'
  with pytest.raises(errors.UserError, match="no tokens for 'Z'"):
    model.tokenizer.encode('aZ')


def test_token_by_token_is_the_same(tmp_path):
  model = bp.language_model(write(tmp_path, draw(False)))
  predictor = model.predictor(symbols=('a', 'b'))
  state = predictor.start(model.params)
  tokens = np.array([1, 0, 0, 1, 1, 0, 1, 0, 1])
  whole = predictor.predict(model.params, state, tokens[None])[0]

  @jax.jit
  def run(params):
    carry, first = predictor.begin(params, state, tokens[:2], 7)

    def step(carry, token):
      return predictor.step(params, carry, token)

    _, later = jax.lax.scan(step, carry, tokens[2:-1])
    return first, later

  first, later = run(model.params)
  np.testing.assert_allclose(first, whole[2], atol=1e-6)
  np.testing.assert_allclose(later, whole[3:], atol=1e-6)


@pytest.mark.parametrize('target', language_model.TARGETS)
def test_its_preset_can_be_run(target, tmp_path):
  path = write(tmp_path, draw(True, len(SIDES) + 1), SIDES)
  config = language_model.get_config(f'{target},textgenrnn')
  config.network.language_model.name = str(path)
  build.build(config)


@pytest.mark.parametrize(
  ('options', 'asked'),
  [
    (['--get=textgenrnn'], 'textgenrnn'),
    (['--get=textgenrnn', '--model=mine.gguf'], 'mine.gguf'),
    ([], 'smollm2'),
  ],
)
def test_a_text_is_put_to_the_model_that_was_fetched(
  options, asked, monkeypatch
):
  said = []
  monkeypatch.setattr(cache, 'get', lambda unused_name: None)
  monkeypatch.setattr(script, '_show', lambda *args: said.append(args))
  with flagsaver.flagsaver():
    flags.FLAGS(['language-model', '--text=ab', *options])
    script.main([])
  assert said == [(asked, 'ab', 5)]


def _without_bias(folder):
  weights = draw(False)
  del weights['rnn_2/rnn_2/bias:0']
  return write(folder, weights)


def _cut(folder):
  path = write(folder, draw(False))
  path.write_bytes(path.read_bytes()[:900])
  return path


def _without_characters(folder):
  path = write(folder, draw(False))
  (folder / 'small_vocab.json').unlink()
  return path


def _another_name(folder):
  return write(folder, draw(False)).rename(folder / 'small.hdf5')


def _narrow(folder):
  weights = draw(False)
  weights['output/output/kernel:0'] = weights['output/output/kernel:0'][1:]
  return write(folder, weights)


def _with(array, name='more/kernel:0', of_cudnn=False):
  """Returns a function that writes a file with another array."""
  return lambda folder: write(folder, draw(of_cudnn) | {name: array})


@pytest.mark.parametrize(
  ('make', 'message'),
  [
    (_without_bias, "lacks the weight 'bias' of 'rnn_2'"),
    (_cut, 'is no HDF5 file of numbers, or is cut off'),
    (_with(h5py.Empty('f4')), 'is no HDF5 file of numbers'),
    (_with(np.bytes_('text')), 'is no HDF5 file of numbers'),
    (
      _with(np.ones(3), 'context_output/kernel:0'),
      "weight 'kernel' of 'context_output', which no network of textgenrnn",
    ),
    (_with(np.ones(3), 'alone'), "weight 'alone' of 'alone', which no network"),
    (_with(np.ones(()), 'rnn_1/rnn_1/kernel:0'), r'2 axes, got shape \[\]'),
    (
      _with(np.ones((5, 18)), 'rnn_1/rnn_1/kernel:0'),
      r"'rnn_1.kernel' must have shape \[5, 16\], got \[5, 18\]",
    ),
    (
      _with(np.ones((4, 15)), 'rnn_2/rnn_2/recurrent_kernel:0', True),
      r"'rnn_2.recurrent_kernel' must have shape \[4, 16\], got \[4, 15\]",
    ),
    (_without_characters, 'there is no .*small_vocab.json'),
    (_another_name, 'must be called NAME_weights.hdf5'),
    (_narrow, r"'output.kernel' must have shape \[13, 6\], got \[12, 6\]"),
    (lambda x: write(x, draw(False), {'a': 1, '<s>': 3}), 'must give numbers'),
    (lambda x: write(x, draw(False), {'a': 1, 'b': 2}), "and to '<s>'"),
    (lambda x: write(x, draw(False), {'a': '1', '<s>': 2}), 'must give numb'),
    (lambda x: write(x, draw(False), {'a': True, '<s>': 2}), 'must give numb'),
    (lambda x: write(x, draw(False), {'a': 1.0, '<s>': 2}), 'must give numb'),
    (lambda x: write(x, draw(False), {'so': 1, '<s>': 2}), "'so', which is no"),
    (lambda x: write(x, draw(False), {'': 1, '<s>': 2}), "'', which is no"),
    (lambda x: write(x, draw(False), {'\ud83d': 1, '<s>': 2}), 'which is no'),
    (lambda x: write(x, draw(False), {'a': 1, '<s>': 2}), '2 characters'),
    (lambda x: write(x, draw(False), word_level=True), 'word_level=True'),
    (lambda x: write(x, draw(False), max_length=0), 'max_length'),
  ],
)
def test_what_is_no_such_network_is_refused(make, message, tmp_path):
  path = make(tmp_path)
  with pytest.raises(errors.UserError, match=message) as caught:
    model_lib.load(path)
  assert '\n' not in str(caught.value)
  assert not list(cache.folder().glob('textgenrnn*'))
