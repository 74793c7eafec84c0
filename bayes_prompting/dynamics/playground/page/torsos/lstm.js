// As `bayes_prompting/torsos/lstm.py`.
TORSOS.lstm = (weight, {width, num_layers}) => {
  const gates = [...'ifgo'];
  const layers = range(num_layers).map(i => {
    const all = (kind, name) => gates.map(g => weight(`layer_${i}/${kind}${g}/${name}`));
    return {
      input: beside(all('i', 'kernel')),
      recurrent: beside(all('h', 'kernel')),
      bias: all('h', 'bias').flatMap(b => [...b.values]),
    };
  });

  return {
    empty: () => layers.map(() => ({cell: zeros(width), hidden: zeros(width)})),
    load: array => layers.map((_, i) => ({
      cell: Float64Array.from(array(`${i}/0`).values),
      hidden: Float64Array.from(array(`${i}/1`).values),
    })),
    step(state, x) {
      const next = layers.map(({input, recurrent, bias}, n) => {
        const before = state[n];
        const z = product(before.hidden, recurrent, product(x, input, bias));
        const cell = zeros(width), hidden = zeros(width);
        for (let i = 0; i < width; i++) {
          cell[i] = sigmoid(z[width + i]) * before.cell[i]
            + sigmoid(z[i]) * Math.tanh(z[2 * width + i]);
          hidden[i] = sigmoid(z[3 * width + i]) * Math.tanh(cell[i]);
        }
        x = hidden;
        return {cell, hidden};
      });
      return {state: next, output: x};
    },
    memory: ({state}) =>
      Float64Array.from(state.flatMap(s => [...s.cell, ...s.hidden])),
    place(memory) {
      const state = layers.map((_, n) => {
        const at = 2 * n * width;
        return {
          cell: memory.slice(at, at + width),
          hidden: memory.slice(at + width, at + 2 * width),
        };
      });
      return {state, output: state.at(-1).hidden};
    },
  };
};
