r"""Writes a page in which one tosses a coin and puts prompts before a network.

    bayes-prompting playground

In a checkout also `python -m launch.playground`. The page, playground.html,
needs no network and no other file. It has small networks that come with the
package, and runs them in the browser, beside exact Bayes. Of runs of your own:

    bayes-prompting playground --workdir=runs/demo --tuned=SoftPT,LoRAWT

The workdir is a finished run's folder, or one that holds several: what was
tuned on one network in many runs is shown together. Nothing is trained.
"""

from absl import flags

from . import flags as launch_flags

_TUNED = flags.DEFINE_list(
  'tuned',
  [],
  'Methods of the runs, with commas between, such as SoftPT,LoRAWT; all that '
  'tune something without it. Tuned weights make the page larger.',
)
_NETWORK = flags.DEFINE_integer(
  'network', 0, 'Pretraining seed of the networks.'
)
_FILE = flags.DEFINE_string(
  'file', None, 'The page; playground.html in the workdir, or here, without it.'
)
_PACK = flags.DEFINE_string(
  'pack',
  None,
  'Folder for a file of each network, in place of a page: how those were made '
  'that come with the package.',
)
launch_flags.define_allow_plugins()
flags.declare_key_flag('workdir')
flags.declare_key_flag('allow_plugins')


def _check():
  """Checks that flags go together."""
  launch_flags.refuse_config('it reads what the runs recorded')
  if not launch_flags.WORKDIR.value:
    for name in ('tuned', 'network', 'pack'):
      if flags.FLAGS[name].present:
        launch_flags.fail(f'--{name}: goes with --workdir')
  if _PACK.value and _FILE.value:
    launch_flags.fail('--pack, --file: give one of the two')


def main(argv):
  del argv
  _check()
  # Imported late, so that --help and mistakes in flags need no JAX.
  from bayes_prompting.dynamics.playground import export
  from bayes_prompting.dynamics.playground import page
  from bayes_prompting.dynamics.playground import shipped

  name = 'playground.html'
  if launch_flags.WORKDIR.value:
    folder = launch_flags.path(launch_flags.WORKDIR)
    networks = export.of_runs(folder, _TUNED.value, _NETWORK.value)
    default = folder / name
  else:
    networks, default = shipped.load_all(), name
  if _PACK.value:
    for path in shipped.save(networks, launch_flags.path(_PACK)):
      print(f'Network  {path} ({path.stat().st_size / 1e3:.0f} kB)')
    return
  path = launch_flags.path(_FILE) if _FILE.value else default
  path = page.write(networks, path)
  print(f'Page     {path} ({path.stat().st_size / 1e6:.2f} MB)')


def start():
  launch_flags.run(main, required={}, resumes=False)


if __name__ == '__main__':
  start()
