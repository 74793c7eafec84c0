"""The colours of looks on a dark page."""

import functools

import numpy as np

# Lightness in OKLab of the colours of looks on a dark page: that of what is
# black on a light one, and how much of the lightness there it loses.
_LIGHTEST, _LOST = 0.95, 0.4
# From linear sRGB to the roots of OKLab, and from these to OKLab: B. Ottosson,
# A perceptual color space for image processing (2020).
_TO_CONES = np.array(
  [
    [0.4122214708, 0.5363325363, 0.0514459929],
    [0.2119034982, 0.6806995451, 0.1073969566],
    [0.0883024619, 0.2817188376, 0.6299787005],
  ]
)
_TO_OKLAB = np.array(
  [
    [0.2104542553, 0.7936177850, -0.0040720468],
    [1.9779984951, -2.4285922050, 0.4505937099],
    [0.0259040371, 0.7827717662, -0.8086757660],
  ]
)


@functools.cache
def color(on_white: str) -> str:
  """Returns the colour of a look on a dark page.

  The hue stays, and lightness turns around: what was darkest is lightest. So
  what can be told apart on white can be told apart on black.

  Args:
    on_white: As `#16206e`.
  """
  srgb = np.array([int(on_white[i : i + 2], 16) for i in (1, 3, 5)]) / 255
  linear = np.where(
    srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4
  )
  lightness, *hue = _TO_OKLAB @ np.cbrt(_TO_CONES @ linear)
  lightness = _LIGHTEST - _LOST * lightness
  # Colours that a screen does not have lose chroma until it has them.
  for chroma in np.linspace(1, 0, 51):
    roots = np.linalg.solve(_TO_OKLAB, [lightness, *np.multiply(hue, chroma)])
    linear = np.linalg.solve(_TO_CONES, roots**3)
    if linear.min() >= -1e-4 and linear.max() <= 1 + 1e-4:
      break
  linear = linear.clip(0, 1)
  srgb = np.where(
    linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055
  )
  return '#' + ''.join(f'{round(x):02x}' for x in 255 * srgb)
