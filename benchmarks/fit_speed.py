"""Updates per second of meta-training and of every gradient tuner.

    python -m benchmarks.fit_speed --config=configs/paper.py:lstm,single_coin

Each figure is the median over several runs of the same compiled program, after
a warm-up, with the device's work waited for. Beside it the ratio to FullWT in
the same run, which means something on a noisy machine too.
"""

import statistics
import time

from absl import flags

from launch import cli

flags.adopt_module_key_flags(cli)
_STEPS = flags.DEFINE_integer('steps', 20, 'Updates a run.', lower_bound=1)
_RUNS = flags.DEFINE_integer('runs', 5, 'Runs after warm-up.', lower_bound=1)


def _measure(fit, args, settings, steps, runs):
  """Returns the median of updates per second."""
  import dataclasses

  import jax

  settings = dataclasses.replace(
    settings, num_steps=steps * (runs + 1), chunk_size=steps
  )
  state, rates = None, []
  for run in range(runs + 1):
    started = time.perf_counter()
    state, _ = fit(*args, settings, 1, resume=state, stop=(run + 1) * steps)
    jax.block_until_ready(state.tunable)
    rates.append(steps / (time.perf_counter() - started))
  return statistics.median(rates[1:])


def main(argv):
  del argv
  import jax

  from bayes_prompting import fitting
  from bayes_prompting import lab as lab_lib
  from bayes_prompting import registry

  lab = lab_lib.build(cli.CONFIG.value)
  jax.config.update(
    'jax_default_matmul_precision', lab.config['compute']['matmul_precision']
  )
  params = lab.network.init(lab.root)
  device = jax.devices()[0].device_kind
  print(f'{device}, {lab.config["network"]["torso"]["name"]}')
  rates = {}
  for method in lab.methods.values():
    if method.tuner.trainable and not method.is_bayes:
      args = (lab.root, lab.network, params, method.tuner)
      args += (lab.priors[lab.target],)
      rates[method.name] = _measure(
        fitting.fit, args, lab.tuning, _STEPS.value, _RUNS.value
      )
  everything = registry.make('tuners', 'all', {'name': 'weights'})
  args = (lab.root, lab.network, params, everything)
  args += (lab.priors[lab.pretraining_task],)
  rates['pretraining'] = _measure(
    fitting.fit, args, lab.pretraining, _STEPS.value, _RUNS.value
  )
  for name, rate in rates.items():
    ratio = rate / rates.get('FullWT', rate)
    print(f'{name:<12} {rate:8.2f} updates/s   {ratio:5.2f} of FullWT')


if __name__ == '__main__':
  cli.run(main, required=('config',))
