"""Formulas of the Dirichlet: what all priors that draw from one share.

Concentrations alpha are float64 NumPy [..., V], zero for tokens that never
occur, and broadcast to the counts. What counts of such tokens mean is up to the
caller, except for `log_evidence`, where they are impossible.
"""

import jax
import jax.numpy as jnp
from jax.scipy import special as jspecial
import numpy as np

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting import types
from bayes_prompting.task_priors import _axes

# Raise it when numbers change: networks and results depend on it.
NUMERICS = 1

# Smaller concentrations are taken for this one: float32 has not many more.
_LEAST = 1e-30
# Where Stirling's series, with the terms below, is good to 1e-11.
_LARGE = 8


def concentrations(field: str, value: object, axes: str) -> np.ndarray:
  """Returns `value` as concentrations [V], or rows [M, V] of them.

  Args:
    field: The name to show.
    value: What the user gave: nested sequences of numbers.
    axes: `V` or `MV`.

  Raises:
    UserError: If a number is negative or not finite, or a row has only zeros.
  """
  alpha = checks.non_negative_array(field, value, axes)
  if not np.all(np.any(alpha > 0, axis=-1)):
    each = ' in each row' if len(axes) > 1 else ''
    raise errors.UserError(
      f'{field}: at least one must be above 0{each}, got {checks.show(value)}'
    )
  return np.where(alpha > 0, np.maximum(alpha, _LEAST), 0.0)


def log_sample(key: types.Key, alpha: types.Array) -> types.Array:
  """Returns log probabilities of drawn sources, float32 [..., V].

  Args:
    key: Consumed.
    alpha: [..., V].
  """
  alpha = jnp.asarray(alpha, jnp.float32)
  occurs = alpha > 0
  # In log space: gammas of a small shape underflow to zero.
  gammas = jax.random.loggamma(
    key, jnp.where(occurs, alpha, 1), dtype=jnp.float32
  )
  return jax.nn.log_softmax(jnp.where(occurs, gammas, -jnp.inf))


def log_mean(alpha: np.ndarray, counts: types.Array) -> types.Array:
  """Returns log (b_v / sum(b)), b = alpha + counts: the log predictive."""
  alpha = _axes.under(alpha, counts)
  weight = alpha.astype(counts.dtype) + counts
  log_weight = jnp.log(jnp.where(alpha > 0, weight, 1.0))
  predictive = log_weight - jnp.log(weight.sum(-1, keepdims=True))
  return jnp.where(alpha > 0, predictive, -jnp.inf)


def mean_entropy(alpha: np.ndarray, counts: types.Array) -> types.Array:
  """Returns the mean entropy [...] in nats of a source, given counts.

  It is digamma(B + 1) - sum_v b_v / B digamma(b_v + 1) with b = alpha + counts
  and B = sum(b) (Wolpert and Wolf, 1995, "Estimating functions of probability
  distributions from a finite set of samples").
  """
  weight = _axes.under(alpha, counts).astype(counts.dtype) + counts
  total = weight.sum(-1, keepdims=True)
  digamma = jspecial.digamma
  return jnp.sum(
    weight / total * (digamma(total + 1) - digamma(weight + 1)), axis=-1
  )


def log_evidence(alpha: np.ndarray, counts: types.Array) -> types.Array:
  """Returns the log probability [...] of a sequence with these counts.

  It is log G(A) / G(A + n) + sum_v log G(alpha_v + c_v) / G(alpha_v), with G
  the gamma function, A = sum(alpha), n = sum(c) (the Dirichlet-multinomial,
  without the coefficient that counts the orders); -inf where a token that never
  occurs has been seen.
  """
  alpha = _axes.under(alpha, counts)
  occurs = alpha > 0
  some = np.where(occurs, alpha, 1.0).astype(counts.dtype)
  total = alpha.sum(-1, keepdims=True).astype(counts.dtype)
  seen = counts.sum(-1, keepdims=True)
  unit = total + seen
  rises = _log_rise(some, counts, unit)
  rises = jnp.where(occurs, rises, jnp.where(counts > 0, -jnp.inf, 0.0))
  return rises.sum(-1) - _log_rise(total, seen, unit)[..., 0]


@jax.jit  # One program instead of 40, where a caller is not compiled.
def _log_rise(a, c, unit):
  """Returns log G(a + c) / G(a) / unit^c, accurate for large a and c too.

  The difference of two `gammaln` loses all digits in float32: for counts of 200
  it is wrong by 1e-2 nats at a = 5e3, by 4 at a = 3e6. So the series of both
  are subtracted term by term (as in DiDonato and Morris, 1992, "Algorithm 708:
  Significant digit computation of the incomplete beta function ratios"), after
  G(x) = G(x + 8) / (x (x + 1) ... (x + 7)). In an evidence the units cancel;
  they keep its terms as small as their sum.
  """
  b = a + _LARGE
  rise = c * jnp.log((b + c) / unit) - c + (b - 0.5) * jnp.log1p(c / b)
  rise += _stirling(b + c) - _stirling(b)
  a, c = a[..., None], c[..., None]
  steps = _axes.under(np.arange(_LARGE, dtype=c.dtype), a)
  return rise - jnp.log1p(c / (a + steps)).sum(-1)


def _stirling(x):
  """Returns gammaln(x) - (x - 1/2) log x + x - log(2 pi) / 2, for x >= 8."""
  y = 1 / (x * x)
  return (1 / 12 - y * (1 / 360 - y * (1 / 1260 - y / 1680))) / x
