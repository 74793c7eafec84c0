// What the page shows, from what was chosen and tossed.

const MOST_TOSSES = 200;
const METHODS = {
  SoftPT: 'Soft prefix', HardPT: 'Hard prefix', SimplexPT: 'Simplex prefix',
  RealPT: 'Real prefix', RandomPF: 'Random prefix', StatePT: 'The state itself',
  LoRAWT: 'LoRA', FullWT: 'All weights',
};
const $ = id => document.getElementById(id);
const DATA = JSON.parse($('data').textContent);
const color = token => `var(--t${token})`;

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === 'style') made.style.cssText = value;
    else if (value !== false) made.setAttribute(key, value === true ? '' : value);
  }
  made.append(...children);
  return made;
}

// What was tuned, with its arrays as numbers.
function decoded(adapted) {
  const all = arrays => Object.fromEntries(
    Object.entries(arrays).map(([at, array]) => [at, decode(array)]));
  return {
    ...adapted,
    rows: adapted.rows && rowsOf(decode(adapted.rows)),
    state: all(adapted.state),
    changes: all(adapted.changes),
  };
}

const NETWORKS = DATA.networks.map(spec => {
  const isAlike = (a, b) => a.method === b.method && a.target === b.target;
  const adapted = spec.adapted.map((a, i, all) => ({  // `number` among those alike.
    ...decoded(a), number: all.slice(0, i + 1).filter(b => isAlike(a, b)).length}));
  const sets = a => !a.rows || a.rows.length > 0;
  return {
    spec,
    prompts: [{kind: 'none'}, {kind: 'hard'}, ...adapted.filter(sets).map(a => ({kind: 'tuned', ...a}))],
    weights: [{kind: 'none', changes: {}}, ...adapted.filter(a => !sets(a))],
  };
});

// What was chosen.
const chosen = {
  network: 0, task: '', prompt: 0, weights: 0, hard: '', bayesReads: false,
  hand: [0, 0], tokens: [], at: 0, source: null,
};
// What follows from it, see `rebuild`.
const now = {};

function current() {
  const {spec, prompts, weights} = NETWORKS[chosen.network];
  return {spec, V: spec.vocabSize, prompt: prompts[chosen.prompt], weights: weights[chosen.weights]};
}

function hardTokens(V) {
  return [...chosen.hard].map(Number).filter(token => token < V);
}

// Where the network starts under a prompt.
function startOf(network, prompt) {
  if (prompt.kind === 'hard') {
    return network.start(hardTokens(current().V).map(network.embed));
  }
  if (prompt.kind === 'none') return network.start([]);
  return prompt.rows ? network.start(prompt.rows) : network.load(prompt.state);
}

// The network of what was chosen, and its plane.
function makeCurrent() {
  const {spec, prompt, weights} = current();
  now.network = makeNetwork(spec, {...weights.changes, ...prompt.changes});
  now.bayes = makeBayes(spec.tasks[chosen.task]);
  const belief = spec.tasks[spec.task];
  now.prior = belief.kind === 'dirichlets' && belief.rows.length === 1 ? belief.rows[0] : null;
  makePlane();
}

// The states of a network along sequences of its pretraining task.
function cloudOf(network, sequences) {
  const cloud = [];
  for (const sequence of sequences) {
    let point = network.start([]);
    cloud.push({memory: network.torso.memory(point), probs: network.logProbs(point).map(Math.exp)});
    for (const token of sequence) {
      point = network.step(point, +token);
      cloud.push({memory: network.torso.memory(point), probs: network.logProbs(point).map(Math.exp)});
    }
  }
  return cloud;
}

// The plane is that of the pretrained network, whatever was tuned since.
function makePlane() {
  const {spec, prompt, weights} = current(), home = NETWORKS[chosen.network];
  if (!home.plane) {
    home.pretrained = makeNetwork(spec);
    home.cloud = cloudOf(home.pretrained, spec.sequences);
    home.plane = planeOf(home.cloud.map(c => c.memory));
  }
  const isTuned = Object.keys({...weights.changes, ...prompt.changes}).length > 0;
  const cloud = isTuned ? cloudOf(now.network, spec.sequences) : home.cloud;
  now.plane = home.plane;
  now.dots = cloud.map(({memory, probs}) => ({at: home.plane.project(memory), probs}));
}

// The points on the way through a prompt, from the beginning of the sequence.
function prefixPath() {
  const {prompt, V} = current(), {network} = now;
  const rows = {none: [], hard: hardTokens(V).map(network.embed), tuned: prompt.rows || []}[prompt.kind];
  const path = [network.start([])];
  for (const row of rows) path.push(network.torso.step(path.at(-1).state, row));
  return path;
}

function byHand(point) {
  const {plane, network} = now;
  if (!network.torso.place || !chosen.hand.some(Boolean)) return point;
  const memory = network.torso.memory(point);
  return network.torso.place(memory.map((value, i) => value
    + chosen.hand[0] * plane.spread[0] * plane.axes[0][i]
    + chosen.hand[1] * plane.spread[1] * plane.axes[1][i]));
}

// All points from the start on, one for each toss.
function rebuild() {
  const {prompt, V} = current(), {network} = now;
  now.path = prefixPath();
  now.points = [byHand(startOf(network, prompt))];
  now.counts = Array(V).fill(0);
  if (prompt.kind === 'hard' && chosen.bayesReads) {
    for (const token of hardTokens(V)) now.counts[token]++;
  }
  now.history = [];
  for (const token of chosen.tokens) now.points.push(network.step(now.points.at(-1), token));
  const counts = [...now.counts];
  now.points.forEach((point, t) => {
    now.history.push(expectation(point, counts));
    if (t < chosen.tokens.length) counts[chosen.tokens[t]]++;
  });
  now.starts = NETWORKS[chosen.network].prompts.map(p =>
    p.state && Object.keys(p.changes || {}).length ? null : startOf(network, p));
  now.drawn = [];  // What stands before the tosses may be another.
  now.first = explain(ask(network, now.points[0], V), V);
  chosen.at = chosen.tokens.length;
}

function expectation(point, counts) {
  return {
    counts: [...counts],
    network: now.network.logProbs(point),
    bayes: now.bayes.logProbs(counts),
    at: now.plane.project(now.network.torso.memory(point)),
  };
}

function push(token) {
  chosen.tokens.push(token);
  now.points.push(now.network.step(now.points.at(-1), token));
  const counts = [...now.history.at(-1).counts];
  counts[token]++;
  now.history.push(expectation(now.points.at(-1), counts));
  chosen.at = chosen.tokens.length;
}

function toss(...tokens) {
  const begun = performance.now();
  tokens.slice(0, MOST_TOSSES - chosen.tokens.length).forEach(push);
  draw();
  now.milliseconds = performance.now() - begun;
}

function back() {
  if (!chosen.tokens.length) return;
  chosen.tokens.pop();
  now.points.pop();
  now.history.pop();
  chosen.at = chosen.tokens.length;
  draw();
}

function tossForMe(times) {
  chosen.source = chosen.source || now.bayes.draw();
  toss(...range(times).map(() => drawToken(chosen.source)));
}

function reset() {
  chosen.tokens = [];
  chosen.source = null;
  rebuild();
  draw();
}

// Losses in nats, of network and Bayes, up to each toss.
function losses() {
  const sums = {network: [0], bayes: [0]};
  chosen.tokens.forEach((token, t) => {
    for (const who of ['network', 'bayes']) {
      sums[who].push(sums[who][t] - now.history[t][who][token]);
    }
  });
  return {...sums, regret: sums.network.map((x, t) => x - sums.bayes[t])};
}

// Words.

// By names that users gave: they may be those of what every object has.
const ownOf = (object, name) => (Object.hasOwn(object, name) ? object[name] : undefined);
const taskOf = name => ownOf(current().spec.tasks, name);
const titleOf = name => taskOf(name)?.title || name;
const labelOf = a =>
  `${ownOf(METHODS, a.method) || a.method} for ${titleOf(a.target)}${a.number > 1 ? ` (${a.number})` : ''}`;
const plural = (n, what) => `${shown(n, n < 9.95 ? 1 : 0)} ${what}`;

function meaning() {
  const {prompt, weights, V, spec} = current(), {alpha, misfit, strength, fits, isSource} = now.first;
  const first = now.history[0].network.map(Math.exp), likely = first.indexOf(Math.max(...first));
  const token = V === 2 ? 1 : likely;
  const who = weights.kind !== 'none' ? 'With tuned weights, the network' : 'The network';
  const isPlain = prompt.kind === 'none' || (prompt.kind === 'hard' && !hardTokens(V).length);
  const before = isPlain ? who : `${who === 'The network' ? 'With this prompt, the network' : 'With this prompt and tuned weights, the network'}`;
  let text = `${before} first expects a ${token} with ${percent(first[token])}`;
  if (chosen.hand.some(Boolean)) text = `Set by hand, the network first expects a ${token} with ${percent(first[token])}`;
  if (!fits) {
    // What follows is true of one Dirichlet alone: each of its posteriors is another.
    const then = now.prior ? `: it believes in something else than ${titleOf(spec.task)}` : '';
    return `${text}. No ${V === 2 ? 'Beta' : 'Dirichlet'} belief predicts as it does (the best is ${shown(misfit)} nats off in ${PROBE_LENGTH} tosses)${then}.`;
  }
  if (isSource) return `${text}, and is sure of it: tosses teach it almost nothing.`;
  const counts = now.prior && alpha.map((a, v) => a - now.prior[v]);
  if (!counts) return `${text}, as a belief worth ${plural(strength, 'tosses')} would.`;
  if (counts.every(x => Math.abs(x) < 0.35)) return `${text}, as if it had seen nothing yet of ${titleOf(spec.task)}.`;
  if (counts.some(x => x < -0.35)) {
    return `${text}. It is less sure than before any prompt: ${fitText(alpha)} fits.`;
  }
  const name = V === 2 ? ['zeros', 'ones'] : range(V).map(v => `× ${v}`);
  const seen = counts.map((x, v) => `${shown(Math.max(x, 0), x < 9.95 ? 1 : 0)} ${name[v]}`);
  return `${text}, as if it had already seen ${V === 2 ? seen.reverse().join(' and ') : seen.join(', ')} of ${titleOf(spec.task)}.`;
}

function fitText(alpha) {
  const numbers = alpha.map(a => shown(a, a < 9.95 ? 2 : a < 99.5 ? 1 : 0));
  return alpha.length === 2 ? `Beta(${numbers[1]}, ${numbers[0]})` : `Dirichlet(${numbers.join(', ')})`;
}

// Drawing.

function drawChoices() {
  const {spec, V} = current(), {prompts, weights} = NETWORKS[chosen.network];
  $('network').replaceChildren(...NETWORKS.map((n, i) => element(
    'option', {value: i, selected: i === chosen.network}, `${n.spec.title} that knows ${n.spec.tasks[n.spec.task].title}`)));
  $('task').replaceChildren(...Object.entries(spec.tasks).map(([name, {title}]) => element(
    'option', {value: name, selected: name === chosen.task}, title[0].toUpperCase() + title.slice(1))));
  const pills = (name, entries, label) => entries.map((entry, i) => element('label', {},
    element('input', {type: 'radio', name, value: i, checked: i === chosen[name]}),
    ...label(entry, i)));
  const named = {none: 'None', hard: 'Hard tokens'};
  $('prompts').replaceChildren(...pills('prompt', prompts, (p, i) => [
    element('span', {class: 'badge', 'aria-hidden': true}, String(i)), named[p.kind] || labelOf(p)]));
  $('weights').replaceChildren(...pills('weights', weights, w => [
    w.kind === 'none' ? 'As pretrained' : labelOf(w)]));
  $('toss').replaceChildren(...range(V).map(v => element('button', {
    type: 'button', 'data-token': v, style: `--of: ${color(v)}`, 'aria-label': `Toss ${v}`}, String(v))));
  $('keys').replaceChildren(...range(V).flatMap(v => [element('kbd', {}, String(v)), ' ']), 'toss');
  $('bars').replaceChildren(...range(V).map(v => element('div', {class: 'token'},
    element('i', {style: `--of: ${color(v)}`}, String(v)),
    ...['bayes', 'network'].map(who => element('div', {class: `row ${who}`},
      element('div'), element('b'))))));
  $('hard').value = chosen.hard;
  drawExperiments();
}

// What to try with this network: what is chosen, and how many tosses follow.
function drawExperiments() {
  const {prompts, weights, spec} = NETWORKS[chosen.network];
  const isMixture = a => (taskOf(a.target)?.rows.length || 0) > 1;
  const isSource = a => taskOf(a.target)?.kind === 'points' && !isMixture(a);
  const single = prompts.findLastIndex(isSource), mixture = prompts.findIndex(isMixture);
  const tuned = weights.findIndex(isMixture);
  const every = [
    ['Type a prompt, and let exact Bayes read it too', {prompt: 1, hard: '1111', bayesReads: true}, 0],
    // Questions: what the answers are depends on the network.
    single > 0 && [`${labelOf(prompts[single])}: how many tosses is it worth?`, {prompt: single}, 20],
    mixture > 0 && [`${labelOf(prompts[mixture])}: is that what the network believes?`, {prompt: mixture}, 20],
    tuned > 0 && [`${labelOf(weights[tuned])}: which dots move?`, {weights: tuned}, 20],
  ].filter(Boolean);
  $('experiments').replaceChildren(...every.map(([text, choice, tosses]) => {
    const button = element('button', {type: 'button'}, text);
    button.addEventListener('click', () => {
      Object.assign(chosen, {prompt: 0, weights: 0, bayesReads: false, hand: [0, 0], tokens: [], ...choice});
      chooseTask(prompts[chosen.prompt].target || weights[chosen.weights].target || spec.task);
      $('hard').value = chosen.hard;
      $('bayes-reads').checked = chosen.bayesReads;
      document.querySelector(`#prompts input[value="${chosen.prompt}"]`).checked = true;
      document.querySelector(`#weights input[value="${chosen.weights}"]`).checked = true;
      change(true);
      tossForMe(tosses);
    });
    return element('li', {}, button);
  }));
}

function drawSequence() {
  const {prompt, V} = current();
  const chip = (token, kind) => element(
    'span', {class: kind, style: `--of: ${color(token)}`}, String(token));
  const chips = $('chips'), {drawn = []} = now;
  const isLonger = drawn.length > 0 && drawn.length <= chosen.tokens.length
    && drawn.every((token, t) => token === chosen.tokens[t]);
  if (!isLonger) {
    const before = {
      none: [],
      hard: hardTokens(V).map(token => chip(token, 'prompt')),
      tuned: (prompt.rows || [0]).map(() => element('span', {class: 'prompt soft'}, '∿')),
    }[prompt.kind];
    chips.replaceChildren(...before, ...(before.length ? [element('span', {class: 'bar'})] : []),
      ...(chosen.tokens.length ? [] : [element('span', {class: 'empty'}, 'No tosses yet. Press a button below.')]));
  }
  chips.append(...chosen.tokens.slice(isLonger ? drawn.length : 0).map(token => chip(token, '')));
  now.drawn = [...chosen.tokens];
  const count = chosen.tokens.length;
  $('sequence').setAttribute('aria-label',
    count ? `${count} tosses: ${chosen.tokens.join(' ')}` : 'No tosses yet');
}

function drawBars(here) {
  [...$('bars').children].forEach((row, v) => ['bayes', 'network'].forEach((who, i) => {
    const share = Math.exp(here[who][v]), bar = row.children[1 + i];
    bar.style.setProperty('--share', `${100 * share}%`);
    bar.children[1].textContent = percent(share);
    bar.setAttribute('title', `${who === 'bayes' ? 'exact Bayes' : 'the network'}: ${share.toFixed(5)}`);
  }));
  const apart = here.bayes.reduce(
    (total, log, v) => total + (log > -Infinity ? Math.exp(log) * (log - here.network[v]) : 0), 0);
  $('apart').textContent = here.bayes.every(log => log === -Infinity)
    ? 'Exact Bayes held what was tossed impossible.'
    : apart < 5e-5 ? 'The two agree.' : `The two differ by ${shown(apart, 4)} nats. The network must expect to lose as much on the next toss.`;
}

// Beliefs about the chance of a token, for `densityChart`.
function beliefOf(here, fit, token) {
  const {bayes} = now, after = bayes.posterior(here.counts).map(Math.exp);
  const theirs = bayes.isPoints
    ? {points: bayes.rows.map((row, m) => ({weight: after[m], at: row[token]})).filter(p => p.weight > 5e-4)}
    : {betas: bayes.rows.map((row, m) => {
      const a = row[token] + here.counts[token];
      const all = row.reduce((x, y) => x + y) + here.counts.reduce((x, y) => x + y);
      return {weight: after[m], a, b: all - a};
    })};
  const a = fit.alpha[token], ours = fit.strength > 2000  // Narrower than the grid.
    ? {points: [{weight: 1, at: a / fit.strength}]}
    : {betas: [{weight: 1, a, b: fit.strength - a}]};
  return [{who: 'bayes', ...theirs}, {who: 'network', ...ours, dashed: !fit.fits}];
}

function drawBelief(here) {
  const {V} = current(), fit = explain(ask(now.network, now.points[chosen.at], V), V);
  now.fit = fit;
  const tokens = V === 2 ? [1] : range(V);
  $('belief').innerHTML = tokens.map(v => densityChart(beliefOf(here, fit, v), `chance of a ${v}`, V === 2 ? HEIGHT : 126)).join('');
  const name = fit.isSource ? 'one who is sure of the source' : fitText(fit.alpha);
  const note = fit.fits ? `The network’s next predictions are those of ${name}.`
    : `Nothing fits the network well: its best, ${name} (dashed), is ${shown(fit.misfit)} nats off in ${PROBE_LENGTH} tosses.`;
  $('belief-note').textContent = note;
  $('belief').setAttribute('aria-label', `Density of the belief of exact Bayes and of the network. ${note}`);
}

function drawCurves() {
  const {V} = current(), token = V - 1, sums = losses(), upTo = chosen.at;
  const chances = who => now.history.slice(0, upTo + 1).map(h => Math.exp(h[who][token]));
  $('history').innerHTML = lineChart(
    ['bayes', 'network'].map(who => ({who, values: chances(who)})),
    {low: 0, high: 1, yText: t => `${Math.round(100 * t)}%`, xName: `tosses; chance of a ${token}`});
  $('history').setAttribute('aria-label',
    `Chance of a ${token} over the tosses. Now: exact Bayes ${percent(chances('bayes').at(-1))}, the network ${percent(chances('network').at(-1))}.`);
  const values = sums.regret.slice(0, upTo + 1), finite = values.filter(Number.isFinite);
  const low = Math.min(0, ...finite), high = Math.max(0.5, ...finite);
  $('regret').innerHTML = lineChart([{who: 'network', values: finite}], {
    low: low < -0.02 ? low * 1.1 : 0, high: high * 1.08, yText: t => +t.toFixed(2), zero: true,
    xName: 'tosses; nats above exact Bayes'});
  const [network, bayes, regret] = ['network', 'bayes', 'regret'].map(who => sums[who][upTo]);
  now.losses = {network, bayes, regret};
  const number = x => Number.isFinite(x) ? `${shown(x, 3)}` : '∞';
  const ruledOut = bayes === Infinity;
  $('numbers').replaceChildren(...[
    ['network', 'loss of the network', number(network)],
    ['bayes', 'loss of exact Bayes', number(bayes)],
    ['', 'regret, in nats', ruledOut ? 'Bayes ruled this out' : number(regret)],
  ].map(([who, name, value]) => element('div', {class: who}, element('dt', {}, name), element('dd', {}, value))));
  $('regret').setAttribute('aria-label', ruledOut
    ? 'Exact Bayes held this sequence impossible.'
    : `Regret of the network over the tosses: ${number(regret)} nats now.`);
}

// Of a point of the cloud: the colours of tokens, mixed by what it expects.
function mixed(probs, palette) {
  const parts = [0, 1, 2].map(i => Math.round(probs.reduce((x, p, v) => x + p * palette[v][i], 0)));
  return `rgb(${parts.join(' ')})`;
}

function tokenColors(V) {
  const style = getComputedStyle(document.documentElement);
  return range(V).map(v => {
    const hex = style.getPropertyValue(`--t${v}`).trim().slice(1);
    return [0, 2, 4].map(i => parseInt(hex.slice(i, i + 2), 16));
  });
}

// What stays as it is while one tosses: the cloud, and where prompts start.
function drawCloud() {
  const {V} = current(), {plane, network, dots} = now, palette = tokenColors(V);
  const starts = now.starts.map(p => p && plane.project(network.torso.memory(p)));
  now.prefix = now.path.map(p => plane.project(network.torso.memory(p)));
  now.place = planePlaces([...dots.map(d => d.at), ...starts.filter(Boolean), ...now.prefix, now.history[0].at]);
  // Two pictures, one over the other: a toss draws the upper one alone.
  $('cloud').innerHTML = svg(
    cloudDots(dots.map(d => ({at: d.at, color: mixed(d.probs, palette)})), now.place),
    PLANE.width, PLANE.height);
  $('over').innerHTML = svg('<g id="path"></g>'
    + starts.map((at, i) => {
      if (!at) return '';
      const [x, y] = now.place(at), on = i === chosen.prompt ? ' on' : '';
      return `<circle class="mark${on}" cx="${x}" cy="${y}" r="9"/><text class="mark-text" x="${x}" y="${y + 3.5}">${i}</text>`;
    }).join('') + '<g id="point"></g>', PLANE.width, PLANE.height);
  const {prompts, spec} = NETWORKS[chosen.network];
  const size = Object.values(spec.weights).reduce((n, {shape}) => n + shape.reduce((a, b) => a * b), 0);
  const name = p => ({none: 'No prompt', hard: 'Hard tokens'}[p.kind] || labelOf(p));
  $('starts').replaceChildren(...prompts.map((p, i) => element('li', {class: i === chosen.prompt ? 'on' : ''},
    element('span', {class: 'badge'}, String(i)), name(p))));
  $('hand').hidden = !network.torso.place;
  $('plane-note').replaceChildren(
    `Each dot is a state of the network (${size.toLocaleString('en')} weights) on a sequence of ${titleOf(spec.task)}, seen along the two directions in which states differ most (${percent(plane.shares[0])} and ${percent(plane.shares[1])} of the variance). Colours say what it expects there: `,
    ...range(V).flatMap(v => [element('span', {class: 'scale', style: 'display:inline'}, element('i', {style: `--of: ${color(v)}`}), `a ${v}`), v < V - 1 ? ', ' : '. ']),
    network.torso.note || '');
}

// Where a slider is: beside it, and for who does not see it.
function showAt(id, text, unit = '') {
  $(`${id}-text`).textContent = text;
  $(id).setAttribute('aria-valuetext', text + unit);
}

function drawPath() {
  const {place, history, prefix} = now;
  const tosses = history.slice(0, chosen.at + 1).map(h => place(h.at));
  $('path').innerHTML = `<path class="path prefix" d="${path(prefix.map(place))}"/>`
    + `<path class="path" d="${path(tosses)}"/>`;
  const [x, y] = tosses.at(-1);
  $('point').innerHTML = `<circle class="now" cx="${x}" cy="${y}" r="7"/>`;
  $('at').max = chosen.tokens.length;
  $('at').value = chosen.at;
  $('at').disabled = !chosen.tokens.length;
  showAt('at', `after ${chosen.at} of ${chosen.tokens.length} tosses`);
  $('x').value = chosen.hand[0];
  $('y').value = chosen.hand[1];
  ['x', 'y'].forEach((id, i) => showAt(id, shown(chosen.hand[i]), ' standard deviations'));
  $('plane').setAttribute('aria-label',
    `The plane of the network’s states, with the path of ${chosen.at} tosses.`);
}

// The focus must not be lost with a button that no longer works: keys need it.
function enable(buttons, isOn) {
  if (!isOn && buttons.includes(document.activeElement)) $('stage').focus();
  for (const button of buttons) button.disabled = !isOn;
}

function drawSaid(here) {
  const count = chosen.tokens.length, {V} = current(), token = V - 1;
  const network = percent(Math.exp(here.network[token])), bayes = percent(Math.exp(here.bayes[token]));
  const last = count && chosen.at === count ? `Toss ${count} was a ${chosen.tokens.at(-1)}. ` : count ? `After toss ${chosen.at}. ` : '';
  const end = Number.isFinite(now.losses.regret) && count ? ` Regret ${shown(now.losses.regret, 3)} nats.` : '';
  $('said').textContent = `${last}Chance of a ${token} next: the network ${network}, exact Bayes ${bayes}.${end}`;
  enable([$('back'), $('reset')], count > 0);
  enable([...$('toss').children, $('once'), $('ten')], count < MOST_TOSSES);
}

// After a toss.
function draw() {
  const here = now.history[chosen.at];
  drawSequence();
  drawBars(here);
  drawBelief(here);
  drawCurves();
  drawPath();
  drawSaid(here);
}

// After a choice.
function change(isNew = false) {
  const {prompt, spec, V} = current();
  if (isNew) makeCurrent();
  $('hard-row').hidden = prompt.kind !== 'hard';
  $('hard-row').style.display = prompt.kind === 'hard' ? '' : 'none';
  const dropped = [...chosen.hard].length - hardTokens(V).length;
  const long = spec.lengths[0];
  $('hard-note').textContent = dropped ? `This network knows the tokens 0 to ${V - 1}; others are left out.`
    : `The network was pretrained on sequences of ${long}.`;
  rebuild();
  drawCloud();
  draw();
  $('meaning').textContent = meaning();
}

function chooseNetwork(index) {
  const {spec} = NETWORKS[index];
  Object.assign(chosen, {
    network: index, task: spec.task, prompt: 0, weights: 0, hand: [0, 0], source: null,
    tokens: chosen.tokens.filter(token => token < spec.vocabSize),
    hard: [...chosen.hard].filter(token => +token < spec.vocabSize).join('') || '111011',
  });
  drawChoices();
  change(true);
}

function chooseTask(name) {
  if (!taskOf(name)) return;
  chosen.task = name;
  chosen.source = null;
  $('task').value = name;
}

function showTheme(theme) {
  document.documentElement.dataset.theme = theme;
  $('theme').textContent = theme === 'dark' ? 'Light' : 'Dark';
  $('theme').setAttribute('aria-label', `Change to ${theme === 'dark' ? 'light' : 'dark'} colours`);
}

const wanted = matchMedia('(prefers-color-scheme: dark)');
showTheme(wanted.matches ? 'dark' : 'light');
wanted.addEventListener('change', () => { showTheme(wanted.matches ? 'dark' : 'light'); drawCloud(); drawPath(); });
$('theme').addEventListener('click', () => {
  showTheme(document.documentElement.dataset.theme === 'dark' ? 'light' : 'dark');
  drawCloud();
  drawPath();
});
$('network').addEventListener('change', event => chooseNetwork(+event.target.value));
$('task').addEventListener('change', event => { chooseTask(event.target.value); change(true); });
$('prompts').addEventListener('change', event => {
  chosen.prompt = +event.target.value;
  const {prompt} = current();
  if (prompt.target) chooseTask(prompt.target);
  change(true);
});
$('weights').addEventListener('change', event => {
  chosen.weights = +event.target.value;
  const {weights} = current();
  if (weights.target) chooseTask(weights.target);
  change(true);
});
$('hard').addEventListener('input', () => {
  chosen.hard = $('hard').value.replace(/\D/g, '');
  if (chosen.hard !== $('hard').value) $('hard').value = chosen.hard;
  change();
});
$('bayes-reads').addEventListener('change', event => { chosen.bayesReads = event.target.checked; change(); });
$('toss').addEventListener('click', event => {
  const button = event.target.closest('button');
  if (button) toss(+button.dataset.token);
});
$('once').addEventListener('click', () => tossForMe(1));
$('ten').addEventListener('click', () => tossForMe(10));
$('back').addEventListener('click', back);
$('reset').addEventListener('click', reset);
$('at').addEventListener('input', event => { chosen.at = +event.target.value; draw(); });
['x', 'y'].forEach((id, i) => $(id).addEventListener('input', event => {
  chosen.hand[i] = +event.target.value;
  change();
}));
$('release').addEventListener('click', () => { chosen.hand = [0, 0]; change(); });
// Only with the focus there: elsewhere keys are the browser's.
$('stage').addEventListener('keydown', event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const {V} = current(), isButton = event.target.matches('button');
  if (/^\d$/.test(event.key) && +event.key < V) toss(+event.key);
  else if (event.key === 'Backspace') back();
  else if (event.key === 'r' || event.key === 'R') reset();
  else if (event.key === ' ' && !isButton) tossForMe(1);
  else return;
  event.preventDefault();
});
chooseNetwork(0);
