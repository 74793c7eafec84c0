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
      let left = Math.random(), m = 0;
      while (m < rows.length - 1 && (left -= weights[m]) > 0) m++;
      if (isPoints) return rows[m];
      const parts = rows[m].map(drawGamma);
      const total = parts.reduce((a, b) => a + b);
      return parts.map(x => x / total);
    },
  };
}

// Marsaglia and Tsang (2000).
function drawGamma(shape) {
  if (shape === 0) return 0;
  if (shape < 1) return drawGamma(shape + 1) * Math.random() ** (1 / shape);
  const d = shape - 1 / 3, c = 1 / Math.sqrt(9 * d);
  for (;;) {
    const x = Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
    const v = (1 + c * x) ** 3;
    if (v > 0 && Math.log(1 - Math.random()) < x * x / 2 + d - d * v + d * Math.log(v)) return d * v;
  }
}

function drawToken(probs) {
  let left = Math.random(), token = 0;
  while (token < probs.length - 1 && (left -= probs[token]) > 0) token++;
  return token;
}
