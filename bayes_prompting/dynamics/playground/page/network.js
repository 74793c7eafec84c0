// A network in the page. A torso is a function of its weights, its options and
// the embedding's width, which returns
//   empty() -> state                     before anything was seen
//   step(state, x [E]) -> {state, output}
//   load(array) -> state                 from arrays by path, as tuners leave it
//   memory({state, output}) -> [D]       what is drawn in the plane
//   place(memory) -> {state, output}     its inverse, where the memory is all
//   note                                 what to say of it, where it is not
// States are never changed: a toss that is taken back costs nothing.

function makeNetwork(spec, changes = {}) {
  const arrays = {};
  for (const [path, array] of Object.entries({...spec.weights, ...changes})) {
    arrays[path] = array.values ? array : decode(array);
  }
  const embedding = arrays['embedding/kernel'];
  const start = Float64Array.from(arrays['embedding/bias'].values);
  const torso = TORSOS[spec.torso](
    path => arrays[`torso/${path}`], spec.options, spec.embeddingDim);

  const embed = token => {
    const at = token * spec.embeddingDim;
    return start.map((value, i) => value + embedding.values[at + i]);
  };
  const read = (point, rows) => rows.reduce((at, row) => torso.step(at.state, row), point);

  return {
    torso,
    embed,
    // What stands before the tokens: rows [K, E], or a state as it was tuned.
    start: rows => read({state: torso.empty()}, [start, ...rows]),
    load: tree => ({
      state: torso.load(path => tree[`torso/${path}`]),
      output: Float64Array.from(tree.output.values),
    }),
    step: (point, token) => torso.step(point.state, embed(token)),
    logProbs({output}) {
      if (!spec.tied) {
        const bias = arrays['unembedding/bias'].values;
        return logSoftmax([...product(output, arrays['unembedding/kernel'], bias)]);
      }
      return logSoftmax(range(spec.vocabSize).map(v => {
        let logit = 0;
        output.forEach((x, i) => {
          logit += x * embedding.values[v * output.length + i];
        });
        return logit;
      }));
    },
  };
}

// The rows [K, E] of a prefix, as vectors.
function rowsOf({shape: [count, width], values}) {
  return range(count).map(
    k => Float64Array.from(values.subarray(k * width, (k + 1) * width)));
}

// The two principal components of points [P][D]: their mean, two axes, and the
// standard deviation along each.
function planeOf(points) {
  const D = points[0].length, mean = zeros(D);
  for (const x of points) for (let i = 0; i < D; i++) mean[i] += x[i] / points.length;
  const covariance = range(D).map(() => zeros(D));
  for (const x of points) {
    for (let i = 0; i < D; i++) {
      const row = covariance[i], value = (x[i] - mean[i]) / points.length;
      for (let j = 0; j < D; j++) row[j] += value * (x[j] - mean[j]);
    }
  }
  const axes = [], spread = [];
  let total = 0;
  covariance.forEach((row, i) => { total += row[i]; });
  for (let n = 0; n < Math.min(2, D); n++) {
    let axis = Float64Array.from(range(D).map(i => Math.cos(1 + i * (n + 1))));
    let value = 0;
    for (let turn = 0; turn < 300; turn++) {
      for (const other of axes) {
        let along = 0;
        for (let i = 0; i < D; i++) along += axis[i] * other[i];
        axis = axis.map((x, i) => x - along * other[i]);
      }
      const next = zeros(D);
      for (let i = 0; i < D; i++) {
        const row = covariance[i];
        for (let j = 0; j < D; j++) next[i] += row[j] * axis[j];
      }
      value = Math.hypot(...next);
      if (value === 0) break;
      axis = next.map(x => x / value);
    }
    let most = 0;
    axis.forEach((x, i) => { if (Math.abs(x) > Math.abs(axis[most])) most = i; });
    axes.push(axis[most] < 0 ? axis.map(x => -x) : axis);
    spread.push(Math.sqrt(value));
  }
  while (axes.length < 2) { axes.push(zeros(D)); spread.push(0); }
  const shares = spread.map(x => x * x / (total || 1));
  const project = point => axes.map(axis => {
    let at = 0;
    for (let i = 0; i < D; i++) at += (point[i] - mean[i]) * axis[i];
    return at;
  });
  return {mean, axes, spread, shares, project};
}
