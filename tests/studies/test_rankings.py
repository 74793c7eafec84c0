"""Statistics of rankings, on losses whose answers are known."""

import itertools
import json

import numpy as np
import pytest
import xarray as xr

import bayes_prompting as bp
from bayes_prompting import errors
from bayes_prompting import results
from bayes_prompting.studies.prompts import rankings
from tests import testing


def test_what_is_tied_is_on_one_level():
  losses = np.array([2.0, 1.0, 2.00005, np.inf, 1.0, np.inf])
  assert rankings.levels(losses).tolist() == [1, 0, 1, 2, 0, 2]
  assert rankings.levels(np.zeros(3)).tolist() == [0, 0, 0]


def test_what_a_search_proposed_has_no_ranking():
  # A searched method has no losses of all candidates in the file.
  searches = {'PreBayesPT': {'search': 'all'}, 'HardPT': {'search': 'race'}}
  dataset = xr.Dataset(
    coords={'tuner': [*rankings.BAYES, *rankings.NETWORK]},
    attrs={'searches': json.dumps(searches)},
  )
  with pytest.raises(errors.UserError, match=r'HardPT scored only .*\(race\)'):
    rankings.read(dataset)


def test_spearman_of_made_up_losses():
  rising = np.arange(5.0)
  assert rankings.spearman(rising, rising**3) == pytest.approx(1)
  assert rankings.spearman(rising, -rising) == pytest.approx(-1)
  # 1 - 6 * (1 + 1) / (5 * 24).
  swapped = np.array([1.0, 0, 2, 3, 4])
  assert rankings.spearman(rising, swapped) == pytest.approx(0.9)
  # Rounding does not break ties: ranks 1.5, 1.5, 3 and 1, 2, 3.
  tied = np.array([0.0, 1e-6, 1.0])
  expected = np.corrcoef([1.5, 1.5, 3], [1, 2, 3])[0, 1]
  assert rankings.spearman(tied, np.arange(3.0)) == pytest.approx(expected)
  assert np.isnan(rankings.spearman(np.ones(3), np.arange(3.0)))
  infinite = np.array([0.0, 1.0, np.inf, np.inf])
  assert rankings.spearman(infinite, infinite) == pytest.approx(1)


def test_no_ranking_without_ties_correlates_more():
  losses = np.array([0.0, 1, 1, 1, 2, 2])
  broken = rankings.spearman(losses, np.arange(6.0))
  assert rankings.ceiling(losses) == pytest.approx(broken)
  assert rankings.ceiling(np.arange(4.0)) == 1
  assert rankings.ceiling(np.ones(4)) == 0


def test_overlap_of_made_up_losses():
  one = np.array([0.0, 1, 2, 3, 4, 5])
  other = np.array([5.0, 0, 1, 2, 3, 4])
  assert rankings.overlap(one, one, 2) == 1
  assert rankings.overlap(one, other, 1) == 0
  assert rankings.overlap(one, other, 3) == pytest.approx(2 / 3)
  assert rankings.overlap(one, other, 6) == 1
  with pytest.raises(errors.UserError, match='k: must be at most 6'):
    rankings.overlap(one, other, 7)


def _by_enumeration(one, other, k):
  """The best k that ties allow, by all orders of what is tied."""

  def tops(losses):
    levels = rankings.levels(losses)
    last = sorted(levels)[k - 1]
    sure = {i for i, x in enumerate(levels) if x < last}
    tied = [i for i, x in enumerate(levels) if x == last]
    for some in itertools.combinations(tied, k - len(sure)):
      yield sure | {*some}

  return max(len(x & y) for x in tops(one) for y in tops(other)) / k


def test_overlap_with_ties_is_the_most_that_they_allow():
  generator = np.random.default_rng(0)
  for _ in range(200):
    one, other = generator.integers(0, 4, (2, 7)).astype(float)
    k = int(generator.integers(1, 8))
    expected = _by_enumeration(one, other, k)
    assert rankings.overlap(one, other, k) == pytest.approx(expected)


def test_what_a_borrowed_prefix_loses():
  one = np.array([0.0, 0, 5, 7])
  other = np.array([2.0, 4, 1, 0.5])
  assert rankings.transfer(one, other) == pytest.approx(2.5)
  assert rankings.transfer(other, one) == pytest.approx(7)
  assert rankings.transfer(one, one) == 0


def test_shares_are_the_target_s_probabilities():
  prefixes = testing.all_sequences(2, 3).astype(int)
  ones = prefixes.sum(-1)
  coin = rankings.shares(testing.single_coin(), prefixes)
  np.testing.assert_allclose(coin, 0.8**ones * 0.2 ** (3 - ones), rtol=1e-5)
  two = rankings.shares(testing.two_coins(), prefixes)
  mixed = (coin + 0.2**ones * 0.8 ** (3 - ones)) / 2
  np.testing.assert_allclose(two, mixed, rtol=1e-5)


def test_demonstrations_are_exact_sums():
  losses = np.array([1.0, 1.0, 4.0, 8.0, np.inf])
  shares = np.array([0.1, 0.2, 0.3, 0.4, 0.0])
  found = rankings.demonstrations(losses, shares, none=5.0)
  assert found.expected == pytest.approx(0.1 + 0.2 + 1.2 + 3.2)
  assert found.quantile == pytest.approx(3 / 5)
  assert found.helps == pytest.approx(0.6)
  assert found.best_share == pytest.approx(0.3)
  assert (found.best, found.none, found.uniform) == (1.0, 5.0, np.inf)


def test_demonstrations_agree_with_drawn_ones():
  prefixes = testing.all_sequences(2, 4).astype(int)
  shares = rankings.shares(testing.two_coins(), prefixes)
  generator = np.random.default_rng(0)
  losses = generator.normal(size=16)
  found = rankings.demonstrations(losses, shares, none=0.0)
  drawn = losses[generator.choice(16, 40_000, p=shares / shares.sum())]
  error = drawn.std() / 200
  assert abs(drawn.mean() - found.expected) < 4 * error
  assert abs((drawn < 0).mean() - found.helps) < 0.01


def dataset(target=('categorical', {'probabilities': (0.2, 0.8)}), **changes):
  """A made-up results file with the four prefixes of two tokens."""
  labels = ['00', '01', '10', '11']
  coords = {
    'tuner': ('PreBayes', 'PreBayesPT', 'NoTuning', 'HardPT'),
    'pretrain_seed': range(2),
    'learning_rate': [1e-3],
    'prefix_init': ['normal'],
    'repetition': range(2),
    'eval_task': ('home',),
    'reference': ('oracle', 'bayes'),
    'estimator': ('sampled', 'exact', 'paired'),
    'step': range(1, 4),
    'report_step': (2, 3),
    'sequence': range(2),
    'pretraining_step': (),
    'tuning_step': (),
    'candidate': labels,
  }
  builder = results.Builder(coords)
  found = {
    'PreBayes': [(2.0, None)],
    'PreBayesPT': [(0.5, [[23, 21, 21, 20], [24, 22, 22, 21]])],
    'NoTuning': [(2.5, None), (3.5, None)],
    'HardPT': [
      (0.7, [[23, 22, 21, 20], [25, 22, 21, 20]]),
      (0.9, [[20, 21, 22, 23], [20, 21, 22, np.nan]]),
    ],
  }
  for method, seeds in found.items():
    for seed, (regret, losses) in enumerate(seeds):
      at = {'tuner': method, 'pretrain_seed': seed}
      if losses is not None:
        builder.put('candidate_loss', losses, candidate=labels, **at)
      at |= {'eval_task': 'home', 'learning_rate': 1e-3}
      values = np.full((2, 2, 3, 3), 99.0)
      values[:, 1, 1, 1] = regret
      builder.put('cumulative_regret', values, prefix_init='normal', **at)
      builder.put('judged', np.ones(2), prefix_init='normal', **at)
  name, kwargs = target
  config = {'tasks': {'home': {'name': name, **kwargs}}}
  attributes = {
    'target': 'home',
    'tuning_length': 2,
    'config': json.dumps(config),
  }
  return builder.build(attributes | changes)


def test_rankings_are_read_as_regrets():
  found = rankings.read(dataset())
  assert found.prefixes.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
  np.testing.assert_allclose(found.shares, [0.04, 0.16, 0.16, 0.64], rtol=1e-5)
  assert found.steps == 2
  bayes, networks = found.bayes, found.networks
  np.testing.assert_allclose(bayes.mean, [3.5, 1.5, 1.5, 0.5], atol=1e-6)
  assert bayes.none == 2.0
  assert [one.none for one in networks] == [2.5, 3.5]
  np.testing.assert_allclose(networks[0].regrets[1], [5.7, 2.7, 1.7, 0.7])
  # What is NaN lost everything.
  assert networks[1].regrets[1, 3] == np.inf


def test_agreement_has_a_row_for_each_pair():
  table = rankings.agreement(rankings.read(dataset()))
  assert table.kind.tolist() == ['chance', 'bayes', 'bayes', 'networks']
  assert table.spearman[0] == pytest.approx(1)
  ranks = np.corrcoef([4, 2.5, 2.5, 1], [4, 3, 2, 1])[0, 1]
  assert table.spearman[1] == pytest.approx(ranks)
  assert table.spearman[2] == pytest.approx(-ranks)
  assert table.spearman[3] == pytest.approx(-1)
  assert table.top10pct.tolist() == [1, 1, 0, 0]
  np.testing.assert_allclose(table.transfer[:3], [0, 0, np.inf])


def test_demonstrations_of_every_predictor():
  table = rankings.shown(rankings.read(dataset()))
  assert len(table) == 3
  expected = 0.04 * 3.5 + 0.32 * 1.5 + 0.64 * 0.5
  assert table.expected[0] == pytest.approx(expected)
  assert table.best.tolist() == pytest.approx([0.5, 0.7, 0.9])
  assert table.helps[0] == pytest.approx(0.96)
  assert table.best_share[0] == pytest.approx(0.64)


def test_the_document_s_lines_run(monkeypatch, capsys):
  (block,) = testing.blocks('docs/experiments/prompts.md')
  monkeypatch.setattr(bp, 'load_results', lambda path: dataset())
  exec(block, {})
  assert 'spearman' in capsys.readouterr().out


def test_a_dataset_without_a_search_is_refused():
  without = dataset().drop_vars('candidate_loss')
  with pytest.raises(errors.UserError, match='nothing was searched'):
    rankings.read(without)
  some = dataset().isel(tuner=slice(0, 3))
  with pytest.raises(errors.UserError, match='HardPT'):
    rankings.read(some)
