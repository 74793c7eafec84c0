"""The error for what a user can cause."""


class UserError(ValueError):
  """A mistake of the user: one line, with the field, its value, the allowed."""


class MissingNetwork(UserError):
  """Of a part that needs pretrained networks where there are none."""


class RefusedByNetwork(UserError):
  """A method is all right in itself, and no method for this network."""
