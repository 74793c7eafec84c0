"""The parts of pages that are made of the package itself.

Each function returns Markdown, and the folder that its links start from.
"""

import importlib
import inspect
import json
import os
import pathlib
import pprint
import re

import docstrings
import links
import pandas as pd

import bayes_prompting as bp
from bayes_prompting import registry
from bayes_prompting.claims import tables
from bayes_prompting.results import evidence

_SINGULAR = {'task_priors': 'task_prior', 'torsos': 'torso', 'tuners': 'tuner'}


def include(path: str) -> tuple[str, pathlib.Path]:
  """Returns a file outside of docs/, without its title."""
  file = links.ROOT / path
  _, _, text = file.read_text('utf-8').partition('\n')
  return text, file.parent


def extensions(kind: str) -> tuple[str, pathlib.Path]:
  """Returns every extension of a kind, with its formula and arguments."""
  parts = []
  for name in registry.names(kind):
    module = importlib.import_module(f'bayes_prompting.{kind}.{name}')
    call = f'bp.{_SINGULAR[kind]}'
    path = f'bayes_prompting/{kind}/{name}.py'
    parts += [
      f'### `{name}`',
      docstrings.of(module.__doc__),
      docstrings.of(module.make.__doc__, module.make),
      _example(call, name, module.EXAMPLES[0]),
      f'File: {links.source(path)}',
    ]
  return '\n\n'.join(parts), links.DOCS


def _example(call, name, arguments):
  """Returns how an extension is built, with arguments that tests use."""
  text = ', '.join([repr(name), *(f'{k}={v!r}' for k, v in arguments.items())])
  code = f'{call}({text})'
  if len(code) > 72:
    pieces = [f'  {name!r},\n'] + [
      f'  {key}='
      + pprint.pformat(value, width=66, sort_dicts=False).replace('\n', '\n  ')
      + ',\n'
      for key, value in arguments.items()
    ]
    code = f'{call}(\n{"".join(pieces)})'
  return f'```python\n{code}\n```'


def public() -> tuple[str, pathlib.Path]:
  """Returns every public name, with its signature and docstring."""
  names = [name for name in bp.__all__ if name[0].islower()]
  classes = [name for name in bp.__all__ if name not in names]
  parts = ['## Functions']
  for name in names:
    value = getattr(bp, name)
    call = docstrings.signature(value, f'bp.{name}')
    parts += [
      f'### `{name}`',
      f'```python\n{call}\n```',
      docstrings.of(value.__doc__, value),
    ]
  parts += ['## Types']
  for name in classes:
    value = getattr(bp, name)
    parts += [f'### `{name}`', docstrings.of(value.__doc__)]
    for method, function in vars(value).items():
      plain = inspect.isfunction(function) or isinstance(function, property)
      if method.startswith('_') or not plain or not function.__doc__:
        continue
      function = getattr(function, 'fget', function)
      parts += [
        f'**`{docstrings.signature(function, method)}`**',
        docstrings.of(function.__doc__, function),
      ]
  return '\n\n'.join(parts), links.DOCS


def playground() -> tuple[str, pathlib.Path]:
  """Returns where the page is that `site_pages` writes."""
  button = (
    '<p><a class="sd-btn sd-btn-primary" href="play.html">Open the playground'
    '</a></p>'
  )
  return button, links.DOCS


def notebooks() -> tuple[str, pathlib.Path]:
  """Returns a list of the notebooks, and how to open each."""
  lines = ['| notebook | what it shows |', '|---|---|']
  for file in sorted((links.ROOT / 'notebooks').glob('[!.]*.ipynb')):
    cells = json.loads(file.read_text('utf-8'))['cells']
    text = next(''.join(x['source']) for x in cells if x['cell_type'] != 'code')
    title, _, rest = text.strip().partition('\n')
    title = title.lstrip('# ')
    title += '' if title.endswith('?') else '.'
    about = ' '.join(rest.strip().partition('\n\n')[0].split())
    # Its links lead on from its own folder.
    about = re.sub(r'\]\((?!http)', '](../notebooks/', about)
    name = file.relative_to(links.ROOT).as_posix()
    lines.append(
      f'| [{file.name}](../{name}) | **{title}** {about} {links.colab(name)} |'
    )
  return '\n'.join(lines), links.DOCS


def gallery() -> tuple[str, pathlib.Path]:
  """Returns a card for every study of the package.

  Its page is `docs/experiments/NAME.md`, or `results/NAME/README.md`. The
  question is the title there, the answer the paragraph that begins with
  `**Answer.**`, the thumbnail the first picture, and the commands the first
  block of them. Studies with a picture come first: the others are still to run.
  """
  parts = []
  pages = {page: read_study(page) for page in studies().values()}
  for page, study in sorted(
    pages.items(), key=lambda item: item[1]['picture'] is None
  ):
    shown = links.SHOWN.get(page.relative_to(links.ROOT).as_posix())
    target = shown or page.relative_to(links.DOCS).as_posix()
    parts.append(
      '\n'.join(
        [
          f'## {study["question"]}',
          '',
          '::::{grid} 1 1 2 2',
          ':gutter: 3',
          '',
          *(
            [
              ':::{grid-item}',
              ':columns: 12 12 4 4',
              f'[![{study["alt"]}]({study["picture"]})]({target})',
              ':::',
            ]
            if study['picture']
            else []
          ),
          ':::{grid-item}',
          f':columns: {"12 12 8 8" if study["picture"] else "12"}',
          study['answer'],
          '',
          f'```sh\n{study["command"]}\n```',
          '',
          f'[Read the study]({target})',
          ':::',
          '::::',
        ]
      )
    )
  return '\n\n'.join(parts), links.DOCS


def studies() -> dict[str, pathlib.Path]:
  """Returns the page of each study of the package, where there is one."""
  folder = links.ROOT / 'bayes_prompting' / 'studies'
  pages = {}
  for name in sorted(path.parent.name for path in folder.glob('*/__init__.py')):
    for page in (
      links.DOCS / 'experiments' / f'{name}.md',
      links.ROOT / 'results' / name / 'README.md',
    ):
      if page.exists():
        pages.setdefault(name, page)
  return pages


def read_study(page: pathlib.Path) -> dict[str, str | None]:
  """Returns what the gallery shows of a study, read from its page."""
  text = page.read_text('utf-8')
  picture = re.search(r'!\[([^\]]*)\]\(([^)]+)\)', text)
  answer = re.search(r'^\*\*Answer\.\*\* (.*?)\n\n', text, re.M | re.S)
  command = re.search(r'^ {4}(bayes-prompting .*(?:\n {4}.*)*)', text, re.M)
  if answer is None or command is None:
    raise ValueError(f'{page}: needs an **Answer.** and a command.')
  path = picture and (page.parent / picture[2]).resolve()
  return {
    'question': re.match('# (.*)', text)[1],
    'answer': ' '.join(answer[1].split()),
    'command': command[1].replace('\n    ', '\n'),
    'picture': path
    and pathlib.Path(os.path.relpath(path, links.DOCS)).as_posix(),
    'alt': picture and picture[1],
  }


_TARGETS = ('single_coin', 'two_coin_mixture')


def paper_claims() -> tuple[str, pathlib.Path]:
  """Returns every claim of the paper, as its table of claims has it."""
  table = pd.read_csv(links.ROOT / 'results' / 'paper' / 'claims.csv')
  verdicts = table.verdict.value_counts()
  counts = ', '.join(f'{n} *{verdict}*' for verdict, n in verdicts.items())
  ran = table[table.verdict != 'not run']
  missing = table[table.verdict == 'not run'].groupby('claim', sort=False)
  lines = [
    f'{len(table)} rows, one for each claim and kind of network: {counts}. The '
    'brackets behind a number say how many networks were pretrained, and how '
    'often each was tuned.',
    '',
    tables.markdown(ran),
    '',
    'Not run:',
    '',
    *(f'* {name}: {", ".join(rows.network)}' for name, rows in missing),
  ]
  return '\n'.join(lines), links.DOCS


def paper_networks() -> tuple[str, pathlib.Path]:
  """Returns what each tuner loses on its target, from the rows of networks."""
  table, _ = evidence.current(evidence.read(links.ROOT / 'results' / 'paper'))
  parts = [
    'Networks with rows in `networks.csv`, of each kind: '
    f'{table.pretrain_seed.nunique()}. A number is the mean over them.'
  ]
  table = evidence.at(table, step=50, reference='bayes', estimator='exact')
  for target in _TARGETS:
    rows = table[
      (table.task == target) & table.experiment.str.endswith(f'-{target}')
    ]
    means = rows.pivot_table(
      'mean', 'tuner', 'experiment', aggfunc='mean', sort=False
    ).sort_index(axis=1)
    means = means.loc[means.mean(axis=1).sort_values().index]
    head = [name.removesuffix(f'-{target}') for name in means.columns]
    parts += [
      f'### Target `{target}`',
      '\n'.join(
        [
          f'| tuner | {" | ".join(head)} |',
          '|---|' + '--:|' * len(head),
          *(
            f'| {tuner} | '
            + ' | '.join('' if pd.isna(x) else f'{x:.3f}' for x in row)
            + ' |'
            for tuner, row in zip(means.index, means.to_numpy(), strict=True)
          ),
        ]
      ),
    ]
  return '\n\n'.join(parts), links.DOCS


def paper_text() -> tuple[str, pathlib.Path]:
  """Returns the paper's page without its table of claims: it stands above."""
  text, folder = include('results/paper/README.md')
  table = r'<!-- These are the rows(?s:.*?)-->\n\n(?:\|.*\n)+'
  return re.sub(table, 'The table stands [above](#the-claims).\n', text), folder
