"""The study of demonstrations as a page in Markdown: verdicts and regrets."""

from collections.abc import Mapping, Sequence

from bayes_prompting.claims import judge as judging
from bayes_prompting.claims import tables
from bayes_prompting.studies.demonstrations import curves
from bayes_prompting.studies.demonstrations import figures


def render(
  points: Mapping[tuple[str, str, curves.Curve], curves.Points],
  judged: Sequence[judging.Judged],
  networks: Sequence[str],
) -> str:
  """Returns the page.

  Args:
    points: What `curves.points` returns.
    judged: The claims.
    networks: Kinds of network that are shown.
  """
  claims = judging.table(judged)
  claims = claims.assign(network=[figures.title(x) for x in claims.network])
  lines = [
    '# Demonstrations, prompts and weights',
    '',
    'This page is made by `bayes-prompting demonstrations` from '
    '`networks.csv`, and overwritten by it. `report.html` has every claim with '
    'its bound, and why that bound.',
    '',
    '![Regret against how much was shown](figures/shown.png)',
    '',
    '## What was claimed',
    '',
    tables.markdown(claims).rstrip(),
    '',
    '## What is lost',
    '',
    'In nats within the scored window, of the typical network (geometric '
    'mean).',
  ]
  for question in curves.QUESTIONS:
    lines += _question(points, question, networks)
  return '\n'.join(lines) + '\n'


def _question(points, question, networks):
  """Returns a table with a row for each curve and kind of network."""
  rows = []
  for network in networks:
    for curve in question.curves:
      of_curve = points.get((network, question.title, curve))
      if of_curve is not None:
        cells = [
          tables.digits(of_curve[size].value) if size in of_curve else ''
          for size in question.sizes
        ]
        name = f'{curve.label} ({curve.tuner})'
        rows.append(
          f'| {figures.title(network)} | {name} | {" | ".join(cells)} |'
        )
  if not rows:
    return []
  heads = ' | '.join(f'{size}' for size in question.sizes)
  return [
    '',
    f'### {question.title}',
    '',
    f'Above {question.above}, within {question.window} scored tokens, by the '
    f'number of {question.shown}.',
    '',
    f'| network | what | {heads} |',
    '|---' * (2 + len(question.sizes)) + '|',
    *rows,
  ]
