"""The fields of a configuration, with the paper's values."""

from typing import Any

import ml_collections

from bayes_prompting import checks
from bayes_prompting.settings import configuration

# Methods that need no entry of their own: they come with every evaluation.
REFERENCES = ('Oracle', 'TargetBayes', 'EvalBayes')
# Fields of tuning that are there for arguments of methods to follow.
SHARED = ('prefix_length', 'prefix_init', 'lora_rank', 'max_candidates')
PREDICTORS = ('network', 'bayes')
SCHEDULES = ('constant', 'cosine')
# Arguments of `network.language_model`, see `language.model`.
OF_LANGUAGE_MODEL = ('symbols', 'separator', 'context')
MATMUL_PRECISIONS = ('float32', 'tensorfloat32', 'bfloat16')


def spec(name: str, **kwargs: Any) -> ml_collections.ConfigDict:
  """Returns the spec of an extension: its module's name and `make`'s arguments.

  Args:
    name: A module of the package (`dirichlet_categorical`), or a dotted path to
      your own (`my_lab.priors.bursty`).
    **kwargs: Arguments of its `make`: plain values, or the name of a field that
      an argument follows, as `'@tuning.prefix_length'`.
  """
  return configuration.Configuration({'name': name, **kwargs})


def base_config() -> ml_collections.ConfigDict:
  """Returns a locked configuration with the values of arXiv 2505.17010.

  It meta-trains an LSTM on random coins and tunes it to a single coin.
  """
  c = configuration.Configuration()
  # Root of all randomness.
  c.seed = 0

  # The worlds, by the names that the fields below and the results use.
  c.tasks = configuration.Configuration()
  c.tasks.random_coins = spec('dirichlet_categorical', concentration=(1.0, 1.0))
  c.tasks.single_coin = spec('categorical', probabilities=(0.2, 0.8))
  c.tasks.two_coin_mixture = spec(
    'categorical_mixture',
    weights=(0.5, 0.5),
    probabilities=((0.2, 0.8), (0.8, 0.2)),
  )

  c.network = configuration.Configuration()
  c.network.embedding_dim = 128
  # Whether the unembedding is the embedding, transposed, without a bias. The
  # torso must be as wide, EmbedWT tunes both, and methods that tune the
  # unembedding, of which there is none, are refused: leave them out of
  # tuning.methods.
  c.network.tied_unembedding = False
  c.network.torso = spec('lstm', width=128, num_layers=1)
  # A language model from files, in place of all the above: None, or a spec of a
  # model's name or path and how symbols are written,
  # spec('smollm2', symbols=(' H', ' T'), separator='', context='').
  c.network.language_model = None

  # Meta-training. 0 steps leave the network as initialised.
  c.pretraining = configuration.Configuration()
  c.pretraining.task = 'random_coins'
  c.pretraining.num_steps = 1000
  c.pretraining.batch_size = 256
  c.pretraining.length = 100
  c.pretraining.learning_rate = 1e-3
  c.pretraining.schedule = 'constant'  # Or 'cosine', down to zero.
  c.pretraining.num_seeds = 1  # Networks; an axis of the results.

  # Adapting it to a target.
  c.tuning = configuration.Configuration()
  c.tuning.target = 'single_coin'
  c.tuning.num_steps = 1000
  c.tuning.batch_size = 256
  c.tuning.length = 50
  # A fixed sample of so many sequences of the target, each repetition its own:
  # batches are drawn from it, with replacement, and a search scores prefixes on
  # it. 0: fresh ones for every update. Of a grid of settings a small sample
  # chooses those that fit it best, not those that generalise.
  c.tuning.num_sequences = 0
  # One rate, or a grid of them: an axis of the results, of which the report
  # shows the best by its tuning loss, method by method.
  c.tuning.learning_rate = (5e-3,)
  c.tuning.schedule = 'constant'
  # Every so many updates each run is judged on as many sequences that no update
  # sees: of a recorded task those of its part for validation, else new ones. A
  # run ends after `patience` of these in a row that brought nothing better, and
  # keeps what did best. 0: all updates, and the last tunable.
  c.tuning.early_stopping = configuration.Configuration()
  c.tuning.early_stopping.patience = 0
  c.tuning.early_stopping.every = 50
  c.tuning.early_stopping.num_sequences = 256
  c.tuning.num_repetitions = 10
  c.tuning.prefix_length = 6
  # 'one_hot' (as the paper's published code), 'random_token', 'zeros', 'normal'
  # or 'uniform'; `tuners.prefix` says what each is. Several are an axis, as
  # rates are; a method's own `init` is one, and no axis.
  c.tuning.prefix_init = ('one_hot',)
  c.tuning.lora_rank = 4
  # A search over all hard prefixes: the sequences that all are scored on, and
  # the most prefixes that it may score.
  c.tuning.search_draws = 2048
  c.tuning.max_candidates = 4096

  # Every method that can be named: a tuner's spec, and which predictor it
  # adapts ('network', or 'bayes' for the exact one of the pretraining task or
  # of the `task` that the method names).
  # An argument with an @ follows that field. A method's own value replaces it,
  # e.g. --config.methods.SoftPT.length=25.
  c.methods = configuration.Configuration()

  names = []

  def method(name, tuner, predictor='network', **kwargs):
    names.append(name)
    c.methods[name] = spec(tuner, predictor=predictor, **kwargs)

  def prefix():
    return {
      'length': '@tuning.prefix_length',
      'init': '@tuning.prefix_init',
    }

  def hard(**kwargs):
    return {
      'length': '@tuning.prefix_length',
      'max_candidates': '@tuning.max_candidates',
      **kwargs,
    }

  method('PreBayes', 'none', predictor='bayes')
  method('PreBayesPT', 'hard_prefix', predictor='bayes', **hard())
  method('NoTuning', 'none')
  method('RandomPF', 'hard_prefix', **hard(choose='random'))
  method('HardPT', 'hard_prefix', **hard())
  method('SimplexPT', 'prefix', form='simplex', **prefix())
  method('RealPT', 'prefix', form='real', **prefix())
  method('SoftPT', 'prefix', form='soft', **prefix())
  method('StatePT', 'state', **prefix())
  method('EmbedWT', 'weights', patterns=('embedding',))
  method('UnembedWT', 'weights', patterns=('unembedding',))
  method('Un+EmbedWT', 'weights', patterns=('embedding', 'unembedding'))
  # All matrices of any torso. The paper's published code has LoRA in attention
  # alone, and refuses it for LSTMs: `configs/paper.py` narrows a Transformer's.
  method('LoRAWT', 'lora', rank='@tuning.lora_rank', patterns=('torso',))
  method('FullWT', 'weights', patterns=('*',))
  # Which of them are run, in the order of reports. Oracle and the Bayes
  # predictor of every evaluation task always are.
  c.tuning.methods = tuple(names)
  # Beyond the paper, other ways to set the state. What is added to the memory
  # wherever it is read, of torsos with such a memory. Keys and values of each
  # layer of a Transformer, as they are or made by an MLP (prefix tuning), and
  # from those of a sequence of the target.
  method('OffsetPT', 'state_offset')
  method('DeepPT', 'deep_prefix', **prefix())
  method('DeepMLPPT', 'deep_prefix', mlp_dim=512, **prefix())
  method(
    'PrefilledPT',
    'deep_prefix',
    length='@tuning.prefix_length',
    init='tokens',
    tokens='@tasks.{tuning.target}',
  )
  # And of weights. All biases (BitFit, arXiv 2106.10199); all weights of
  # norms, of which LSTMs and GRUs have none; scales of what layers put out;
  # LoRA's relatives.
  method('BitFitWT', 'weights', patterns=('bias',))
  method('NormWT', 'weights', patterns=('*norm*',))
  method('IA3WT', 'ia3', patterns=('torso',))
  method('DoRAWT', 'dora', rank='@tuning.lora_rank', patterns=('torso',))
  method('VeRAWT', 'vera', rank=256, patterns=('torso',))
  # A prompt and weights together.
  method(
    'SoftPT+LoRAWT',
    'compose',
    tuners={
      'SoftPT': spec('prefix', form='soft', **prefix()),
      'LoRAWT': spec('lora', rank='@tuning.lora_rank', patterns=('torso',)),
    },
  )

  c.evaluation = configuration.Configuration()
  c.evaluation.tasks = ('single_coin', 'two_coin_mixture', 'random_coins')
  c.evaluation.num_sequences = 2048
  c.evaluation.length = 200
  # Steps of the summary beside the lengths of tuning, pretraining, evaluation.
  c.evaluation.report_steps = ()
  # Tasks on which evidence (`experiment.by_network`) also says how far
  # predictions depend on the order of tokens, see `experiment.reorderings`.
  c.evaluation.reorderings = ()

  # How it is computed; none of it changes a result by more than the rounding
  # of the precision that it is computed in.
  c.compute = configuration.Configuration()
  # Sequences that are predicted, and whose gradient is taken, at once, and runs
  # (repetitions, and settings of a grid) that are trained as one vmapped
  # program. 0: automatic.
  c.compute.sequence_block = 0
  c.compute.run_block = 0
  # Precision of matrix products: 'float32', 'tensorfloat32' or 'bfloat16'. On a
  # GPU with TF32 the last two are the same, and faster than float32: TF32 has
  # 10 bits of mantissa, so compare regrets with float32 before trusting it. On
  # a TPU they take three passes of bfloat16, and one. On a CPU all are float32.
  c.compute.matmul_precision = 'float32'
  # Devices that a CPU is divided into, before JAX starts; 0: one for each core
  # that may be used, or what JAX_NUM_CPU_DEVICES says (`system.cores`).
  c.compute.cpu_devices = 0
  # Devices that the runs, and the sequences of a batch, are split over. 0:
  # automatic, all that divide them, the runs first (`training.mesh.choose`).
  c.compute.repetition_devices = 0
  c.compute.data_devices = 0

  # Of pretraining and tuning on the way, so that a run which is interrupted
  # goes on. They change no result.
  c.checkpoints = configuration.Configuration()
  c.checkpoints.every = 100  # Updates between two; 0: only what is finished.
  c.checkpoints.keep = 2  # The last few are kept, for when one is damaged.

  # A run (a repetition at a rate, from a start) whose loss or gradient is not
  # finite is stopped and marked; the others go on. To look closer: end with the
  # first such loss, or at the very operation that gave a NaN (JAX's debug_nans,
  # slow, with a traceback). They change no result.
  c.debug = configuration.Configuration()
  c.debug.check_finite = False
  c.debug.nans = False
  return c.lock()


def report_steps(config: ml_collections.ConfigDict) -> tuple[int, ...]:
  """Returns the steps of the summary: tuning, pretraining, evaluation length.

  The tuning length comes first; a pretraining length that is never reached in
  the evaluation is left out. Those of `evaluation.report_steps` come last.
  """
  tuning, last = config.tuning.length, config.evaluation.length
  more = checks.integers(
    'evaluation.report_steps', config.evaluation.report_steps
  )
  steps = dict.fromkeys((tuning, config.pretraining.length, last, *more))
  return tuple(step for step in steps if step <= last)
