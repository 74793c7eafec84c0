// As `bayes_prompting/torsos/transformer.py`, one position after the other: the
// state has the keys and values of each layer, a vector for each position.
TORSOS.transformer = (weight, {num_layers, options: o}, width) => {
  const heads = o.num_heads, size = width / heads;
  const shared = heads / o.num_kv_heads;
  const hidden = o.mlp_dim === null ? o.widening * width : o.mlp_dim;
  const isAfter = o.norm_place === 'after';
  const activation = {gelu, swiglu: silu, geglu: gelu}[o.mlp];
  const places = range(Math.ceil(width / 2)).map(i => 1e4 ** (-2 * i / width));
  const turns = range(size / 2).map(i => o.rope_base ** (-2 * i / size));
  const slopes = range(heads).map(h => 2 ** (-8 * (h + 1) / heads));

  const layers = range(num_layers).map(n => {
    const at = `layer_${n}`;
    const kernel = name => weight(`${at}/${name}/kernel`);
    const normed = (name, hasBias = true) => {
      const scale = weight(`${at}/${name}/scale`);
      const bias = o.norm === 'layer' && hasBias ? weight(`${at}/${name}/bias`) : null;
      return x => norm(x, {kind: o.norm, epsilon: o.norm_epsilon, scale, bias});
    };
    const same = x => x;
    const ends = isAfter || o.output_norm === 'every' || n === num_layers - 1;
    return {
      query: kernel('query'), key: kernel('key'), value: kernel('value'),
      output: kernel('attention_output'),
      mlpIn: hidden ? kernel('mlp_in') : null,
      mlpGate: hidden && o.mlp !== 'gelu' ? kernel('mlp_gate') : null,
      mlpOut: hidden ? kernel('mlp_out') : null,
      attentionNorm: normed('attention_norm'),
      mlpNorm: hidden ? normed('mlp_norm') : same,
      outputNorm: ends && !isAfter ? normed('output_norm') : same,
      queryNorm: o.query_key_norm ? normed('query_norm', false) : same,
      keyNorm: o.query_key_norm ? normed('key_norm', false) : same,
    };
  });

  function turned(x, position) {
    if (o.positions !== 'rope') return x;
    const y = Float64Array.from(x), half = size / 2;
    for (let at = 0; at < x.length; at += size) {
      for (let i = 0; i < half; i++) {
        const cos = Math.cos(position * turns[i]), sin = Math.sin(position * turns[i]);
        y[at + i] = x[at + i] * cos - x[at + half + i] * sin;
        y[at + half + i] = x[at + half + i] * cos + x[at + i] * sin;
      }
    }
    return y;
  }

  function attended(query, keys, values) {
    const y = zeros(width), count = keys.length, scores = zeros(count);
    for (let h = 0; h < heads; h++) {
      const at = h * size, from = Math.floor(h / shared) * size;
      let most = -Infinity, total = 0;
      for (let p = 0; p < count; p++) {
        const key = keys[p];
        let score = 0;
        for (let i = 0; i < size; i++) score += query[at + i] * key[from + i];
        score /= Math.sqrt(size);
        if (o.positions === 'alibi') score += slopes[h] * (p - count + 1);
        scores[p] = score;
        if (score > most) most = score;
      }
      for (let p = 0; p < count; p++) total += scores[p] = Math.exp(scores[p] - most);
      for (let p = 0; p < count; p++) {
        const share = scores[p] / total, value = values[p];
        for (let i = 0; i < size; i++) y[at + i] += share * value[from + i];
      }
    }
    return y;
  }

  function mlp(x, layer) {
    const gate = product(x, layer.mlpGate || layer.mlpIn).map(activation);
    if (!layer.mlpGate) return product(gate, layer.mlpOut);
    const inner = product(x, layer.mlpIn);
    return product(gate.map((value, i) => value * inner[i]), layer.mlpOut);
  }

  return {
    empty: () => layers.map(() => ({keys: [], values: []})),
    load: array => layers.map((_, n) => {
      const rows = name => {
        const {shape: [count, groups, channels], values} = array(`${n}/${name}`);
        const long = groups * channels;
        return range(count).map(
          p => Float64Array.from(values.subarray(p * long, (p + 1) * long)));
      };
      return {keys: rows('key'), values: rows('value')};
    }),
    step(state, x) {
      const position = state[0].keys.length;
      if (o.positions === 'sinusoidal') {
        const waves = [
          ...places.map(f => Math.sin(position * f)),
          ...places.map(f => Math.cos(position * f)),
        ];
        x = x.map((value, i) => value + waves[i]);
      }
      const next = layers.map((layer, n) => {
        const y = isAfter ? x : layer.attentionNorm(x);
        const query = turned(layer.queryNorm(product(y, layer.query)), position);
        const key = turned(layer.keyNorm(product(y, layer.key)), position);
        const keys = [...state[n].keys, key];
        const values = [...state[n].values, product(y, layer.value)];
        x = sum(x, product(attended(query, keys, values), layer.output));
        if (isAfter) x = layer.attentionNorm(x);
        if (hidden) {
          x = sum(x, mlp(isAfter ? x : layer.mlpNorm(x), layer));
          if (isAfter) x = layer.mlpNorm(x);
        }
        x = layer.outputNorm(x);
        return {keys, values};
      });
      return {state: next, output: x};
    },
    memory: ({output}) => output,
    note: 'This network’s state, its keys and values, grows with each toss; drawn is its last output.',
  };
};
