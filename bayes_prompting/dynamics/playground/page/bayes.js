// Exact Bayes. What a task holds possible is a mixture of Dirichlets
// (kind 'dirichlets'), or of single sources ('points'), with weights.

function makeBayes({kind, weights, rows}) {
  const isPoints = kind === 'points';
  const logWeights = weights.map(Math.log);

  // The log probability of one sequence with these counts, under one row.
  function evidence(row, counts) {
    let value = 0;
    if (isPoints) {
      counts.forEach((n, v) => { if (n) value += n * Math.log(row[v]); });
      return value;
    }
    let before = 0, seen = 0;
    row.forEach((a, v) => {
      before += a;
      seen += counts[v];
      if (counts[v]) value += a ? logGamma(a + counts[v]) - logGamma(a) : -Infinity;
    });
    return value + logGamma(before) - logGamma(before + seen);
  }

  // Log weights of the rows after these counts; all -Infinity if impossible.
  function posterior(counts) {
    const joint = rows.map((row, m) =>
      weights[m] ? logWeights[m] + evidence(row, counts) : -Infinity);
    const total = logSumExp(joint);
    return total === -Infinity ? joint : joint.map(x => x - total);
  }

  return {
    posterior,
    isPoints,
    rows,
    logProbs(counts) {
      const after = posterior(counts);
      const seen = counts.reduce((a, b) => a + b, 0);
      return counts.map((n, v) => logSumExp(rows.map((row, m) => {
        if (after[m] === -Infinity) return -Infinity;
        if (isPoints) return after[m] + Math.log(row[v]);
        return after[m] + Math.log(row[v] + n) - Math.log(row.reduce((a, b) => a + b) + seen);
      })));
    },
    // Draws a source, as probabilities of tokens.
    draw() {
      const row = rows[drawToken(weights)];
      return isPoints ? row : logSoftmax(row.map(drawLogGamma)).map(Math.exp);
    },
  };
}

// The logarithm of a draw: of a small shape, draws themselves are mostly too small
// for a number. Marsaglia and Tsang (2000).
function drawLogGamma(shape) {
  if (shape === 0) return -Infinity;
  if (shape < 1) return drawLogGamma(shape + 1) + Math.log(1 - Math.random()) / shape;
  const d = shape - 1 / 3, c = 1 / Math.sqrt(9 * d);
  for (;;) {
    const x = Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
    const v = (1 + c * x) ** 3;
    if (v > 0 && Math.log(1 - Math.random()) < x * x / 2 + d - d * v + d * Math.log(v)) return Math.log(d * v);
  }
}

// Only of those that are possible, however the probabilities were rounded.
function drawToken(probs) {
  const possible = range(probs.length).filter(v => probs[v] > 0);
  let left = Math.random() * probs.reduce((a, b) => a + b);
  return possible.find(v => (left -= probs[v]) < 0) ?? possible.at(-1);
}
