"""What computed a run is said in full."""

import importlib.metadata
import json

import bayes_prompting
from bayes_prompting.system import provenance


def test_provenance_tells_versions_and_device():
  found = provenance.provenance()
  assert json.loads(json.dumps(found)) == found
  assert found == provenance.provenance()
  numerical = found['numerical']
  assert found['other']['bayes_prompting'] == bayes_prompting.__version__
  for name in ('jax', 'jaxlib', 'flax', 'optax'):
    assert numerical[name] == importlib.metadata.version(name)
  assert numerical['backend'] in ('cpu', 'gpu', 'tpu')
