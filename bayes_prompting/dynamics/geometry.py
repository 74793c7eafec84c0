"""Where vectors lie: in the plane of the most variance, and among others."""

from typing import NamedTuple

import numpy as np

from bayes_prompting import types


class Plane(NamedTuple):
  """The principal components of points in D dimensions.

  Attributes:
    mean: [D].
    axes: [2, D], orthonormal, the one with the most variance first; zeros
      beyond D.
    explained: [2], share of the variance.
  """

  mean: np.ndarray
  axes: np.ndarray
  explained: np.ndarray


def fit_plane(points: types.Array) -> Plane:
  """Returns the plane that points [P, D] lie closest to.

  The largest entry of each axis is positive, so that pictures do not flip.
  """
  points = np.asarray(points, np.float64)
  mean = points.mean(0)
  _, values, axes = np.linalg.svd(points - mean, full_matrices=False)
  variance = values**2 / max((values**2).sum(), np.finfo(float).tiny)
  largest = np.take_along_axis(axes, np.abs(axes).argmax(1)[:, None], axis=1)
  axes = (axes * np.sign(largest))[:2]
  missing = 2 - len(axes)
  return Plane(
    mean,
    np.pad(axes, ((0, missing), (0, 0))),
    np.pad(variance[:2], (0, missing)),
  )


def project(plane: Plane, points: types.Array) -> tuple[np.ndarray, np.ndarray]:
  """Returns where points [..., D] lie in the plane, and how far from it.

  Returns:
    Coordinates [..., 2], and distances [...].
  """
  centred = np.asarray(points, np.float64) - plane.mean
  coordinates = centred @ plane.axes.T
  rest = centred - coordinates @ plane.axes
  return coordinates, np.linalg.norm(rest, axis=-1)


def compare_rows(
  rows: types.Array, embeddings: types.Array
) -> dict[str, np.ndarray]:
  """Returns where rows of a prefix lie among the embeddings of tokens.

  Args:
    rows: [K, E].
    embeddings: [V, E].

  Returns:
    `row_norm`, `row_nearest` (a token), `row_distance` and `row_cosine` to its
    embedding, each [K].
  """
  rows = np.asarray(rows, np.float64)
  embeddings = np.asarray(embeddings, np.float64)
  distances = np.linalg.norm(rows[:, None] - embeddings, axis=-1)
  nearest = distances.argmin(-1)
  norms = np.linalg.norm(rows, axis=-1)
  product = norms * np.linalg.norm(embeddings[nearest], axis=-1)
  cosine = (rows * embeddings[nearest]).sum(-1) / np.where(product, product, 1)
  return {
    'row_norm': norms,
    'row_nearest': nearest,
    'row_distance': distances.min(-1),
    'row_cosine': cosine,
  }
