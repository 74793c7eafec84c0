"""Plans: what a study runs, fixed before any of it is run."""

from collections.abc import Callable
from typing import NamedTuple

import ml_collections

# What may stand behind the name of a torso, and an underscore, in the name of a
# kind of network.
KINDS = ('untrained', 'narrow', 'large', 'deep')


def torso_and_kind(network: str) -> tuple[str, str]:
  """Returns the torso of a kind of network, and what kind; '' for the usual.

  Args:
    network: Such as `linear_recurrence` or `lstm_untrained`.
  """
  torso, _, kind = network.rpartition('_')
  return (torso, kind) if torso and kind in KINDS else (network, '')


class Planned(NamedTuple):
  """What is run of one experiment.

  Attributes:
    preset: Returns a configuration for a text, `get_config` of a preset.
    arguments: The text.
    networks: How many networks.
    methods: What adapts each of them.
    repetitions: How often each adapts it. The paper tunes one network ten
      times; many networks, each tuned once, say more of other networks.
    few: Whether no more networks than these are ever wanted.
    where_allowed: Whether methods that the network refuses are left out. Such a
      method is a mistake without it.
  """

  preset: Callable[[str], ml_collections.ConfigDict]
  arguments: str
  networks: int
  methods: tuple[str, ...]
  repetitions: int = 1
  few: bool = False
  where_allowed: bool = False

  @property
  def name(self) -> str:
    """The name of the experiment, that of its folder."""
    return name(self.arguments) + '-tunings' * (self.repetitions > 1)

  def config(self, quick: bool = False) -> ml_collections.ConfigDict:
    """Returns its configuration; with `quick` everything is small."""
    config = self.preset(self.arguments + ',quick' * quick)
    config.tuning.num_repetitions = self.repetitions
    return config


def name(arguments: str) -> str:
  """Returns the name of the experiment that a preset's argument asks for."""
  return arguments.replace(',', '-')
