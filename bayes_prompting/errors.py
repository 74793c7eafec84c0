"""The error for what a user can cause."""


class UserError(ValueError):
  """A mistake of the user: one line, with the field, its value, the allowed."""
