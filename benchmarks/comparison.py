"""Whether two runs of one configuration found the same regrets."""

import numpy as np
import xarray as xr

from bayes_prompting import errors
from bayes_prompting import results


def compare(found: xr.Dataset, reference: xr.Dataset) -> list[dict]:
  """Compares headline regrets on the target, method by method.

  Both have the same sequences and the same random numbers of each repetition,
  so that differences are paired: sequence by sequence, run by run.

  Args:
    found: Results.
    reference: Results of the same configuration.

  Returns:
    For each method its mean regret in both in nats, their difference, and that
    in units of its standard error: over sequences of the mean over runs, and
    over runs if there are several. Infinite where all differ alike.
  """
  rows = []
  target, step = found.attrs['target'], int(found.report_step[0])
  for method in found.tuner.values:
    try:
      one, other = (
        results.sequence_regret(data, method, target, step)
        for data in (found, reference)
      )
    except errors.UserError:  # Not run on the target.
      continue
    paired = one - other
    variance = paired.mean(0).var(ddof=1) / paired.shape[1]
    if len(paired) > 1:
      variance += paired.mean(1).var(ddof=1) / len(paired)
    difference, error = float(paired.mean()), float(np.sqrt(variance))
    with np.errstate(divide='ignore'):
      ratio = np.float64(difference) / error if difference else 0.0
    rows.append(
      {
        'tuner': str(method),
        'regret': float(one.mean()),
        'reference': float(other.mean()),
        'difference': difference,
        'standard_errors': float(ratio),
      }
    )
  return rows
