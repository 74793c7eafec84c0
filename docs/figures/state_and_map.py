"""Draws the README's picture: a prompt sets the state, weights are the map.

    python docs/figures/state_and_map.py

A point of the plane is a state of an exact Bayesian predictor of coins, its
counts of zeros and ones. A token moves the state by one step. The colour of a
state is the prediction there, of the prior named in the panel's title.
"""

import pathlib

import matplotlib

matplotlib.use('Agg')
from matplotlib import pyplot as plt
import numpy as np

import bayes_prompting as bp

SIZE = 8  # Counts from 0 to 7.
PROMPT = (1, 1, 0, 1, 1, 1)
SEQUENCE = (0, 1, 1)
COINS = bp.task_prior('dirichlet_categorical', concentration=(1, 1))
TWO_COINS = bp.task_prior(
  'categorical_mixture',
  weights=(0.5, 0.5),
  probabilities=((0.2, 0.8), (0.8, 0.2)),
)


def chances(prior):
  """Returns the predicted chance of a one, [zeros, ones]."""
  counts = np.stack(np.indices((SIZE, SIZE), float), axis=-1)  # Zeros, ones.
  return np.exp(prior.statistic.log_predictive(counts)[..., 1])


def walk(start, tokens):
  """Returns the states (ones, zeros) on the way from a start, one a row."""
  steps = [[1, 0] if token else [0, 1] for token in tokens]
  return np.cumsum([start, *steps], axis=0)


def draw(ax, prior, title, subtitle):
  """Draws the map of a prior: how tokens move, and what is predicted."""
  for x in range(SIZE):
    for y in range(SIZE):
      for dx, dy in ((1, 0), (0, 1)):
        if x + dx < SIZE and y + dy < SIZE:
          ax.annotate(
            '',
            (x + 0.74 * dx, y + 0.74 * dy),
            (x + 0.26 * dx, y + 0.26 * dy),
            arrowprops={'arrowstyle': '->', 'color': '0.7', 'lw': 0.8},
            zorder=0,
          )
  ones, zeros = np.meshgrid(range(SIZE), range(SIZE))
  points = ax.scatter(
    *(ones, zeros),
    s=190,
    c=chances(prior),
    cmap='coolwarm',
    vmin=0.1,
    vmax=0.9,
    edgecolors='white',
    zorder=2,
  )
  ax.set_title(f'{title}\n', fontsize=13, weight='bold')
  ax.text(0.5, 1.02, subtitle, transform=ax.transAxes, ha='center')
  ax.set(aspect='equal', xlabel='ones so far', ylabel='zeros so far')
  ax.set(xlim=(-0.6, SIZE - 0.4), ylim=(-1.4, SIZE - 0.4))
  ax.set(xticks=range(SIZE), yticks=range(SIZE))
  for side in ('top', 'right', 'bottom', 'left'):
    ax.spines[side].set_visible(False)
  ax.tick_params(length=0, labelcolor='0.5')
  return points


def mark(ax, start, text, at, **style):
  """Marks the state that a sequence starts from."""
  ax.scatter(*start, s=380, facecolors='none', zorder=4, **style)
  ax.annotate(
    text,
    start,
    at,
    arrowprops={'arrowstyle': '-', 'lw': 0.8, 'shrinkB': 9},
    bbox={'facecolor': 'white', 'edgecolor': 'none', 'alpha': 0.85, 'pad': 1.5},
    va='center',
  )


def main():
  """Draws both panels beside this file."""
  figure, (left, right) = plt.subplots(
    1, 2, figsize=(10.4, 6), layout='constrained'
  )
  origin = (0, 0)
  draw(left, COINS, 'A prompt sets the state', 'the same map, another start')
  points = draw(
    right,
    TWO_COINS,
    'Weight tuning changes the map',
    'the same start, another map',
  )
  solid = {'edgecolors': 'black', 'linewidths': 2.2}
  dotted = {**solid, 'linestyles': ':'}

  way = walk(origin, PROMPT)
  left.plot(*way.T, color='black', ls=':', lw=2, zorder=1)
  mark(left, origin, 'start without a prompt', (-0.4, -0.95), **dotted)
  mark(
    left,
    way[-1],
    'start after the prompt 110111',
    (3.0, -0.95),
    **solid,
  )
  left.plot(*walk(way[-1], SEQUENCE).T, color='black', lw=2.5, zorder=1)
  right.plot(*walk(origin, SEQUENCE).T, color='black', lw=2.5, zorder=1)
  mark(right, origin, 'start, as before', (-0.4, -0.95), **solid)
  bar = figure.colorbar(points, ax=(left, right), shrink=0.6, pad=0.02)
  bar.set_label('predicted chance that the next token is a one')
  bar.outline.set_visible(False)
  path = pathlib.Path(__file__).with_suffix('.png')
  figure.savefig(path, dpi=110, metadata={'Software': None})
  print(path)


if __name__ == '__main__':
  main()
