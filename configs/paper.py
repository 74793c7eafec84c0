"""The paper's experiments (arXiv 2505.17010), at its settings.

    python -m launch.experiment --config=configs/paper.py:TORSO,TARGET \
        --workdir=runs/TORSO-TARGET

TORSO: lstm, transformer, lstm_untrained, transformer_untrained.
TARGET: single_coin, two_coin_mixture, random_coins.

What to expect, in nats at step 50 (cumulative regret against the oracle,
paired), for a pretrained LSTM:

* single_coin: PreBayes 1.477 and PreBayesPT 0.571 exactly; SoftPT and FullWT
  under 0.05; HardPT and SimplexPT 0.5 to 0.7.
* two_coin_mixture: TargetBayes ln 2 = 0.693 and FullWT close to it; no prefix
  tuner reaches it, SoftPT about 1.1; StatePT about 1.0, and still falling (0.92
  after 4000 updates).

Untrained networks are the same with `pretraining.num_steps=0`.

Any field can be overridden, e.g. `--config.tuning.num_repetitions=1`.
"""

from bayes_prompting import checks
from bayes_prompting import settings

TORSOS = {
  'lstm': settings.spec('lstm', width=128, num_layers=1),
  'transformer': settings.spec(
    'transformer', num_layers=1, num_heads=4, widening=4
  ),
}
NAMES = (*TORSOS, *(f'{torso}_untrained' for torso in TORSOS))
TARGETS = ('single_coin', 'two_coin_mixture', 'random_coins')


def get_config(arguments: str = 'lstm,single_coin'):
  """Returns the configuration for `TORSO,TARGET`."""
  torso, _, target = arguments.partition(',')
  checks.one_of('paper.py:TORSO', torso, NAMES)
  checks.one_of('paper.py:TORSO,TARGET', target, TARGETS)
  config = settings.base()
  # A copy, so that an override does not reach the next configuration.
  torso_spec = TORSOS[torso.removesuffix('_untrained')]
  config.network.torso = torso_spec.copy_and_resolve_references()
  if torso.endswith('_untrained'):
    config.pretraining.num_steps = 0
  config.tuning.target = target
  return config
