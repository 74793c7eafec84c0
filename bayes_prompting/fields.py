"""A field of the configuration that takes one value, or several."""

from typing import Any

import ml_collections


class OneOrMore(ml_collections.FieldReference):
  """A tuple, to which a single value may be assigned.

  ConfigDict would refuse it, as of another type; here `= 1e-2` is `= (1e-2,)`,
  in Python as on the command line. References to it are alike.
  """

  def __init__(self, value: Any):
    """Makes a field of a value, a tuple of them, or what another field has."""
    super().__init__(value, field_type=tuple)

  def set(self, value: Any, type_safe: bool = True) -> None:
    """Assigns a value, a tuple of them, or what another field has."""
    if hasattr(value, 'tolist'):  # NumPy's arrays and numbers.
      value = value.tolist()
    if isinstance(value, list | range):
      value = tuple(value)
    if not isinstance(value, tuple | ml_collections.FieldReference | None):
      value = (value,)
    super().set(value, type_safe)

  def identity(self) -> 'OneOrMore':
    """Returns a field that follows this one until something is assigned to it.

    It is what ConfigDict makes of this field for `get_oneway_ref`.
    """
    return OneOrMore(self)
