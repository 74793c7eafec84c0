// As `bayes_prompting/torsos/gru.py`.
TORSOS.gru = (weight, {width, num_layers}) => {
  const layers = range(num_layers).map(i => {
    const at = name => weight(`layer_${i}/${name}`);
    const gates = [...'rzn'];
    return {
      input: beside(gates.map(g => at(`i${g}/kernel`))),
      bias: gates.flatMap(g => [...at(`i${g}/bias`).values]),
      recurrent: beside(gates.map(g => at(`h${g}/kernel`))),
      hiddenBias: at('hn/bias').values,
    };
  });

  return {
    empty: () => layers.map(() => zeros(width)),
    load: array => layers.map((_, i) => Float64Array.from(array(`${i}`).values)),
    step(state, x) {
      const next = layers.map(({input, bias, recurrent, hiddenBias}, n) => {
        const before = state[n];
        const ours = product(x, input, bias), theirs = product(before, recurrent);
        x = before.map((h, i) => {
          const r = sigmoid(ours[i] + theirs[i]);
          const z = sigmoid(ours[width + i] + theirs[width + i]);
          const inner = theirs[2 * width + i] + hiddenBias[i];
          return (1 - z) * Math.tanh(ours[2 * width + i] + r * inner) + z * h;
        });
        return x;
      });
      return {state: next, output: x};
    },
    memory: ({state}) => Float64Array.from(state.flatMap(h => [...h])),
    place(memory) {
      const state = layers.map((_, n) => memory.slice(n * width, (n + 1) * width));
      return {state, output: state.at(-1)};
    },
  };
};
