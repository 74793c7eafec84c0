// The Dirichlet that explains predictions best, as `dynamics.dirichlet_fit`: the
// one with the least misfit, the KL from the predictions to its own, summed over
// the steps of a continuation, mean over continuations.

const MOST_ALPHA = 1e6, LEAST_ALPHA = 1e-4;
const PROBE_LENGTH = 8;
// Nats: with more, predictions are not those of the best Dirichlet. A strength
// above this one is no belief that could still change, but one source.
const MOST_MISFIT = 0.05, MOST_STRENGTH = 1e4;

// Continuations that predictions are asked for: each token again and again, and
// all in turn.
function probes(V) {
  return [
    ...range(V).map(v => Array(PROBE_LENGTH).fill(v)),
    range(PROBE_LENGTH).map(t => t % V),
    range(PROBE_LENGTH).map(t => V - 1 - t % V),
  ];
}

// Counts before each step of the continuations, and what is predicted there.
function ask(network, point, V) {
  const asked = [];
  for (const tokens of probes(V)) {
    const counts = Array(V).fill(0);
    let at = point;
    tokens.forEach((token, t) => {
      asked.push({counts: [...counts], probs: network.logProbs(at).map(Math.exp)});
      counts[token]++;
      if (t < tokens.length - 1) at = network.step(at, token);
    });
  }
  return asked;
}

function misfitOf(alpha, asked, V) {
  const total = alpha.reduce((a, b) => a + b);
  let value = 0;
  for (const {counts, probs} of asked) {
    const n = counts.reduce((a, b) => a + b);
    for (let v = 0; v < V; v++) {
      const p = probs[v];
      if (p > 0) value += p * Math.log(p * (n + total) / (counts[v] + alpha[v]));
    }
  }
  return value / (V + 2);
}

// Solves a small symmetric system by elimination.
function solve(matrix, right) {
  const size = right.length, a = matrix.map((row, i) => [...row, right[i]]);
  for (let i = 0; i < size; i++) {
    let pivot = i;
    for (let r = i + 1; r < size; r++) if (Math.abs(a[r][i]) > Math.abs(a[pivot][i])) pivot = r;
    [a[i], a[pivot]] = [a[pivot], a[i]];
    for (let r = 0; r < size; r++) {
      if (r === i || !a[r][i]) continue;
      const by = a[r][i] / a[i][i];
      for (let c = i; c <= size; c++) a[r][c] -= by * a[i][c];
    }
  }
  return a.map((row, i) => row[size] / row[i]);
}

// Newton's method with damping, in logarithms.
function descend(start, asked, V) {
  const clip = x => Math.min(Math.max(x, Math.log(LEAST_ALPHA)), Math.log(MOST_ALPHA));
  const each = asked.map(({counts, probs}) => ({counts, probs, n: counts.reduce((a, b) => a + b)}));
  let x = start.map(clip), value = misfitOf(x.map(Math.exp), asked, V), damping = 1e-3;
  for (let turn = 0; turn < 60; turn++) {
    const alpha = x.map(Math.exp), total = alpha.reduce((a, b) => a + b);
    let slope = 0, bend = 0;
    const first = Array(V).fill(0), second = Array(V).fill(0);
    for (const {counts, probs, n} of each) {
      slope += 1 / (n + total);
      bend -= 1 / (n + total) ** 2;
      for (let v = 0; v < V; v++) {
        first[v] += probs[v] / (counts[v] + alpha[v]);
        second[v] += probs[v] / (counts[v] + alpha[v]) ** 2;
      }
    }
    const scale = 1 / (V + 2);
    const gradient = alpha.map((a, v) => scale * a * (slope - first[v]));
    const hessian = alpha.map((a, v) => alpha.map((b, w) =>
      scale * a * b * bend + (v === w ? scale * a * a * second[v] + gradient[v] : 0)));
    let gained = 0;
    for (let tries = 0; tries < 12; tries++) {
      const damped = hessian.map((row, v) => row.map((h, w) =>
        v === w ? Math.abs(h) + damping * (Math.abs(h) + 1e-9) : h));
      const step = solve(damped, gradient);
      const next = x.map((at, v) => clip(at - Math.max(-3, Math.min(3, step[v]))));
      const then = misfitOf(next.map(Math.exp), asked, V);
      if (then < value) {
        gained = value - then;
        x = next;
        value = then;
        damping = Math.max(damping / 5, 1e-9);
        break;
      }
      damping = damping * 5 + 1e-6;
    }
    if (gained <= 1e-14) break;
  }
  return {alpha: x.map(Math.exp), misfit: Math.max(value, 0)};
}

// The best Dirichlet, its misfit and its strength; `fits` says whether it explains
// the predictions at all, `isSource` whether it is a single source.
function explain(asked, V) {
  const mean = Array(V).fill(0);
  for (const {probs} of asked) probs.forEach((p, v) => { mean[v] += p / asked.length; });
  const best = [0.3, 3, 30, 300, 3e5]
    .map(strength => descend(mean.map(m => Math.log(Math.max(m, 1e-9) * strength)), asked, V))
    .reduce((a, b) => (b.misfit < a.misfit ? b : a));
  const strength = best.alpha.reduce((a, b) => a + b);
  return {...best, strength, fits: best.misfit <= MOST_MISFIT, isSource: strength > MOST_STRENGTH};
}
