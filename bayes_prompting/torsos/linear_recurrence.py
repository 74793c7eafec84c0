"""Linear recurrences with complex diagonal matrices: LRU and S5.

LRU is by Orvieto et al., arXiv 2303.06349, and S5 by Smith et al., arXiv
2208.04933. With u_t the normed input of a layer,

    h_t = a * h_{t-1} + B u_t,  y_t = Re(C h_t) + d * u_t,

where h, a, B and C are complex, and * is elementwise. They differ in what a and
B are made of, see `Mixer`. As in S5, what is added to the stream is
g * sigmoid(W g), where g = GELU(y).
"""

import math

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from bayes_prompting import checks
from bayes_prompting import types
from bayes_prompting.torsos import _diagonal
from bayes_prompting.torsos import _stack

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 3

VARIANTS = ('lru', 's5')
EXAMPLES = (
  {'state_dim': 3},
  {'state_dim': 2, 'variant': 's5', 'num_layers': 2, 'mlp_dim': 5},
)

# LRU's start: |a| in between, and the largest phase (section 3.4 there).
_RADII = (0.9, 0.999)
_MAX_PHASE = math.pi / 10
# S5's start: the smallest and the largest step.
_STEPS = (1e-3, 1e-1)


def _lru_decay(key, shape):
  """Returns log(-log |a|), a uniform on a ring of the complex plane."""
  low, high = _RADII
  squared = jax.random.uniform(key, shape, jnp.float32, low**2, high**2)
  return jnp.log(-0.5 * jnp.log(squared))


def _lru_scale(decay):
  # Radii are near 1, where 1 - exp(.) has few digits.
  return 0.5 * jnp.log(-jnp.expm1(-2 * jnp.exp(decay)))


def _lru_phase(key, shape):
  return jnp.log(jax.random.uniform(key, shape, jnp.float32, 1e-6, _MAX_PHASE))


def _log_steps(key, shape):
  low, high = map(math.log, _STEPS)
  return jax.random.uniform(key, shape, jnp.float32, low, high)


def hippo(state_dim: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns the eigenvalues and eigenvectors of HiPPO-N that S5 keeps.

  HiPPO-N is the normal part of HiPPO-LegS (arXiv 2208.04933, appendix B.1):
  -1/2 on the diagonal, and skew otherwise. Of each conjugate pair one is kept.

  Args:
    state_dim: P, half of the size of the matrix.

  Returns:
    complex [P] and [2 P, P].
  """
  root = np.sqrt(np.arange(2 * state_dim) + 0.5)
  lower = np.tril(np.outer(root, root), -1)
  skew = lower.T - lower
  frequencies, vectors = np.linalg.eigh(-1j * skew)
  return -0.5 + 1j * frequencies[state_dim:], vectors[:, state_dim:]


def _lru_kernels(state_dim):
  """Returns the initialisers of B and of C, real and imaginary parts joined."""

  def first(key, shape, dtype=jnp.float32):
    return jax.random.normal(key, shape, dtype) / math.sqrt(2 * shape[0])

  def last(key, shape, dtype=jnp.float32):
    return jax.random.normal(key, shape, dtype) / math.sqrt(state_dim)

  return first, last


def _s5_kernels(state_dim):
  """Returns those of S5: real matrices in the basis of the eigenvectors."""
  _, vectors = hippo(state_dim)
  real, imaginary = (x.astype(np.float32) for x in (vectors.real, vectors.imag))
  to_state = np.concatenate([real, -imaginary], 1)
  from_state = np.concatenate([real, imaginary], 1)

  def first(key, shape, dtype=jnp.float32):
    # x B^T conj(V): B's rows are of the matrix's space, its columns of x.
    kernel = jax.random.normal(key, (shape[0], len(to_state)), dtype)
    return kernel @ to_state / math.sqrt(shape[0])

  def last(key, shape, dtype=jnp.float32):
    # Re(C V h) is C Re(V) Re(h) - C Im(V) Im(h), and `mix` gives it -Im(h).
    kernel = jax.random.normal(key, (shape[1], len(from_state)), dtype)
    return (kernel @ from_state).T / math.sqrt(len(from_state))

  return first, last


_KERNELS = {'lru': _lru_kernels, 's5': _s5_kernels}


class Mixer(nn.Module):
  """The recurrence, and the gate behind it.

  LRU: a = exp(-exp(decay) + i exp(phase)), and B's rows are scaled by
  exp(scale), which starts as sqrt(1 - |a|^2). S5: a = exp(L D) with steps D and
  eigenvalues L, which start as HiPPO-N's, and B is scaled by (a - 1) / L. The
  real part of L is -exp(decay), so that it stays negative, and Re(C h) counts
  twice, for the conjugate of h.

  Attributes:
    state_dim: P, complex channels of the state.
    variant: One of `VARIANTS`.
  """

  state_dim: int
  variant: str

  def empty_state(self, width: int) -> types.State:
    """Returns zeros: real and imaginary parts, [P] each."""
    del width
    zeros = jnp.zeros(self.state_dim, jnp.float32)
    return {'real': zeros, 'imaginary': zeros}

  def empty_offset(self, width: int) -> types.Offset:
    """Returns zeros: real and imaginary parts, [P] each."""
    return self.empty_state(width)

  def setup(self):
    """Makes what `project` needs, of which `mix` takes the decay."""
    size = (self.state_dim,)
    first, _ = _KERNELS[self.variant](self.state_dim)
    self.first = nn.Dense(
      2 * self.state_dim, use_bias=False, kernel_init=first, name='input'
    )
    if self.variant == 'lru':
      decay = self.param('decay', _lru_decay, size)
      phase = self.param('phase', _lru_phase, size)
      self.decay = _exponential(-jnp.exp(decay), jnp.exp(phase))
      scale = self.param('scale', lambda key: _lru_scale(decay))
      self.scale = jnp.exp(scale), jnp.zeros(size, jnp.float32)
    else:
      eigenvalues, _ = hippo(self.state_dim)
      real = self.param('decay', _constant(np.log(-eigenvalues.real)), size)
      imaginary = self.param('phase', _constant(eigenvalues.imag), size)
      steps = jnp.exp(self.param('steps', _log_steps, size))
      real = -jnp.exp(real)
      self.decay = _exponential(real * steps, imaginary * steps)
      # (a - 1) / L, which is (a - 1) times L's conjugate, by |L|^2.
      squared = real**2 + imaginary**2
      inverse = real / squared, -imaginary / squared
      less = _less_one(real * steps, imaginary * steps)
      self.scale = _diagonal.times(less, inverse)

  def project(self, x: types.Array) -> types.PyTree:
    """Maps inputs [..., E] to B u, and keeps them."""
    inputs = tuple(jnp.split(self.first(x), 2, axis=-1))
    scale = tuple(jnp.broadcast_to(s, inputs[0].shape) for s in self.scale)
    return {'inputs': _diagonal.times(scale, inputs), 'skip': x}

  @nn.compact
  def mix(self, projected: types.PyTree, state: types.State, fast: bool):
    """Runs over [..., N, P] and gates; see `_stack`."""
    inputs, skip = projected['inputs'], projected['skip']
    width = skip.shape[-1]
    start = state['real'], state['imaginary']
    run = _diagonal.recurrence if fast else _diagonal.by_steps
    decay = tuple(x[None] for x in self.decay)
    real, imaginary = _stack.over_batch(
      lambda inputs, decay, start: run(decay, inputs, start),
      inputs,
      skip.ndim - 2,
      decay,
      start,
    )
    ends = _stack.last(start, (real, imaginary), skip.ndim - 2)
    if 'offset' in state:
      real, imaginary = (
        x + jnp.broadcast_to(state['offset'][name], x.shape)
        for name, x in (('real', real), ('imaginary', imaginary))
      )
    _, last = _KERNELS[self.variant](self.state_dim)
    y = nn.Dense(width, use_bias=False, kernel_init=last, name='output')(
      jnp.concatenate([real, -imaginary], axis=-1)
    )
    y = 2 * y if self.variant == 's5' else y
    direct = self.param(
      'skip', nn.initializers.normal(1.0), (width,), jnp.float32
    )
    y = y + jnp.broadcast_to(direct, skip.shape) * skip
    y = nn.gelu(y)
    y = y * nn.sigmoid(nn.Dense(width, name='gate')(y))
    return y, dict(zip(('real', 'imaginary'), ends, strict=True))


def _constant(value):
  return lambda key, shape: jnp.asarray(value, jnp.float32).reshape(shape)


def _exponential(real, imaginary):
  size = jnp.exp(real)
  return size * jnp.cos(imaginary), size * jnp.sin(imaginary)


def _less_one(real, imaginary):
  """Returns exp(.) - 1, with all digits where the exponent is near 0."""
  # exp(x) cos(y) - 1 is (exp(x) - 1) cos(y) - (1 - cos(y)).
  of_angle = 2 * jnp.sin(imaginary / 2) ** 2
  less = jnp.expm1(real) * jnp.cos(imaginary) - of_angle
  return less, jnp.exp(real) * jnp.sin(imaginary)


ELSEWHERE = _stack.ELSEWHERE


def make(
  state_dim: int = 128,
  num_layers: int = 1,
  variant: str = 'lru',
  mlp_dim: int = 0,
) -> _stack.Stack:
  """Builds linear recurrences, as wide as the embedding.

  Args:
    state_dim: P, complex channels of each layer's state.
    num_layers: Number of layers.
    variant: 'lru' or 's5'.
    mlp_dim: Width of the hidden layer of each layer's MLP; 0 for none, as in
      both papers.
  """
  mixer = Mixer(
    checks.integer('state_dim', state_dim, 1, checks.MOST_CHANNELS),
    checks.one_of('variant', variant, VARIANTS),
  )
  return _stack.repeat(mixer, num_layers, mlp_dim)
