"""What the tests of torsos compute by hand, in float64, and a torso to hold."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from bayes_prompting import registry

WIDTH = 8
LENGTH = 5
# On the host: an eager operation on a device is a program of its own.
X = np.random.default_rng(1).normal(size=(LENGTH, WIDTH)).astype(np.float32)


def moved(params):
  """Moves scales and biases away from one and zero: leaving one out shows."""
  return jax.tree.map(lambda p: p + 0.1 * jnp.cos(p * 50), params)


@functools.cache
def outputs(name, **kwargs):
  """Returns what a torso says to X, its last state, and its weights."""
  torso = registry.make('torsos', 'test', {'name': name, **kwargs})
  empty = torso.empty_state(WIDTH)

  @jax.jit
  def run(key):
    variables = moved(torso.init(key, X, empty))
    return torso.apply(variables, X, empty), variables['params']

  (y, state), params = run(jax.random.key(0))
  as_float64 = lambda tree: jax.tree.map(lambda x: np.asarray(x, 'f8'), tree)
  return as_float64(y), as_float64(state), as_float64(params)


# An offset of nothing, for each head.
NO_OFFSET = np.zeros((2, 1, 1))


@functools.cache
def offset_outputs(name, **kwargs):
  """Returns as `outputs`, of layers that add an offset, and those offsets."""
  torso = registry.make('torsos', 'test', {'name': name, **kwargs})
  empty = torso.empty_state(WIDTH)
  rng = np.random.default_rng(2)
  offset = jax.tree.map(
    lambda x: rng.normal(size=x.shape).astype('f4'), torso.empty_offset(WIDTH)
  )

  @jax.jit
  def run(key):
    variables = moved(torso.init(key, X, empty))
    state = torso.with_offset(empty, offset)
    return torso.apply(variables, X, state), variables['params']

  (y, state), params = run(jax.random.key(0))
  assert (
    jax.tree.map(np.shape, torso.memory(state)) == torso.memory(empty).shape
  )
  as_float64 = lambda tree: jax.tree.map(lambda x: np.asarray(x, 'f8'), tree)
  return as_float64(y), as_float64(state), as_float64(params), offset


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


def silu(x):
  return x * sigmoid(x)


def gelu(x):
  """In its tanh form."""
  return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def rms_norm(x, scale):
  return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * scale


def head_norm(x, params, head, epsilon=1e-6):
  """A layer norm of the outputs [N, D] of one head."""
  x = x - x.mean(-1, keepdims=True)
  x = x / np.sqrt((x**2).mean(-1, keepdims=True) + epsilon)
  channels = slice(head * x.shape[1], (head + 1) * x.shape[1])
  return x * params['scale'][channels] + params['bias'][channels]


def unit(x):
  """Of length 1 over the last axis."""
  return x / np.sqrt((x**2).sum(-1, keepdims=True) + 1e-6)


def softplus(x):
  return np.log1p(np.exp(x))


def convolve(x, kernel, bias=0.0):
  """A causal convolution of [N, D] with [W D]."""
  kernel = kernel.reshape(-1, x.shape[1])
  width = len(kernel)
  y = np.zeros_like(x, np.float64) + bias
  for t in range(len(x)):
    for k in range(width):
      if t - width + 1 + k >= 0:
        y[t] += kernel[k] * x[t - width + 1 + k]
  return y


def stack(params, x, mixer, activation=silu, mlp_mixer=None):
  """Returns a whole stack of layers, given `mixer(params, u [N, E])`."""
  for i in range(sum(name.startswith('layer') for name in params)):
    layer = params[f'layer_{i}']
    x = x + mixer(layer['mixer'], rms_norm(x, **layer['mixer_norm']))
    if mlp_mixer is not None:
      y = rms_norm(x, **layer['mlp_norm'])
      x = x + mlp_mixer(layer['mlp_mixer'], y)
    if 'mlp_in' in layer:
      y = rms_norm(x, **layer['mlp_norm'])
      gate, value = (
        y @ layer[name]['kernel'] for name in ('mlp_gate', 'mlp_in')
      )
      x = x + (activation(gate) * value) @ layer['mlp_out']['kernel']
  return rms_norm(x, **params['output_norm'])
