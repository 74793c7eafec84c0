"""What to say where JAX can use none of the devices that it was told to."""

from collections.abc import Iterator
import contextlib
import re

from bayes_prompting import checks
from bayes_prompting import errors
from bayes_prompting.system import files


@contextlib.contextmanager
def named() -> Iterator[None]:
  """Says in one line that an exception inside comes of a missing device.

  JAX starts its backend at the first array, wherever that is, and what it then
  raises may have no text at all. Nothing is asked of JAX unless an exception
  was raised.

  Raises:
    UserError: Instead of any exception, if JAX has no device to use.
  """
  try:
    yield
  except errors.UserError:
    raise
  except Exception:
    check()
    raise


def check() -> None:
  """Checks that JAX has a device to compute on; this starts its backend.

  Raises:
    UserError: If it has none.
  """
  try:
    import jax
  except Exception as error:  # It reads the environment, and may refuse it.
    raise errors.UserError(
      f'JAX: cannot be imported ({files.why(error)})'
    ) from None
  try:
    jax.devices()
  except Exception as error:
    raise errors.UserError(_told(error, jax.config.jax_platforms)) from None


def _told(error, platforms):
  """Returns the one line, from what JAX raised."""
  # Without JAX's own advice, which ours replaces.
  text = re.sub(r'\s*\((set JAX_|you may need).*?\)$', '', str(error))
  text = re.sub(r'^Unable to initialize backend [^:]*: ', '', text)
  why = 'there is no such device, or its plugin is not installed'
  if text:
    why = files.why(RuntimeError(text.rstrip('.')))
  if not platforms:
    return f'JAX: cannot start ({why}); JAX_PLATFORMS=cpu computes on the CPU'
  return (
    f'JAX_PLATFORMS: {checks.show(platforms)} cannot be used here ({why}); '
    'leave it out for the best that there is, or set JAX_PLATFORMS=cpu'
  )
