'use strict';
// Arrays, layers and functions that networks are made of. Weights are float32,
// as they were trained; what is computed with them has 64 bits.

const TORSOS = {};  // Each file of torsos/ adds one, see network.js.

const range = n => Array.from({length: n}, (_, i) => i);
const zeros = n => new Float64Array(n);

function decode({shape, data}) {
  const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0));
  return {shape, values: new Float32Array(bytes.buffer)};
}

// x [I] times a kernel [I, O]; it is added to `start`, if there is one.
function product(x, kernel, start) {
  const out = kernel.shape[1], w = kernel.values;
  const y = start ? Float64Array.from(start) : zeros(out);
  for (let i = 0, at = 0; i < x.length; i++, at += out) {
    const value = x[i];
    if (value === 0) continue;
    for (let j = 0; j < out; j++) y[j] += value * w[at + j];
  }
  return y;
}

// Kernels of the same inputs, side by side, as one.
function beside(kernels) {
  const rows = kernels[0].shape[0];
  const widths = kernels.map(k => k.shape[1]);
  const width = widths.reduce((a, b) => a + b);
  const values = new Float32Array(rows * width);
  for (let i = 0; i < rows; i++) {
    let at = i * width;
    kernels.forEach((k, n) => {
      values.set(k.values.subarray(i * widths[n], (i + 1) * widths[n]), at);
      at += widths[n];
    });
  }
  return {shape: [rows, width], values};
}

const sum = (x, y) => x.map((value, i) => value + y[i]);
const sigmoid = x => 1 / (1 + Math.exp(-x));
const silu = x => x * sigmoid(x);
const gelu = x =>
  x / 2 * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));

function norm(x, {kind, epsilon, scale, bias}) {
  let mean = 0, square = 0;
  if (kind === 'layer') {
    for (const value of x) mean += value;
    mean /= x.length;
  }
  for (const value of x) square += (value - mean) ** 2;
  const by = 1 / Math.sqrt(square / x.length + epsilon);
  return x.map(
    (value, i) => (value - mean) * by * scale.values[i] + (bias ? bias.values[i] : 0));
}

function logSumExp(x) {
  const most = Math.max(...x);
  if (most === -Infinity) return most;
  let total = 0;
  for (const value of x) total += Math.exp(value - most);
  return most + Math.log(total);
}

function logSoftmax(x) {
  const total = logSumExp(x);
  return x.map(value => value - total);
}

// Lanczos' approximation, for x > 0.
const LANCZOS = [
  0.99999999999980993, 676.5203681218851, -1259.1392167224028,
  771.32342877765313, -176.61502916214059, 12.507343278686905,
  -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7,
];
function logGamma(x) {
  if (x < 0.5) return Math.log(Math.PI / Math.sin(Math.PI * x)) - logGamma(1 - x);
  x -= 1;
  let series = LANCZOS[0];
  for (let i = 1; i < 9; i++) series += LANCZOS[i] / (x + i);
  const t = x + 7.5;
  return Math.log(2 * Math.PI) / 2 + (x + 0.5) * Math.log(t) - t + Math.log(series);
}
