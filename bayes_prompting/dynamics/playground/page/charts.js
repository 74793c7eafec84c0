// Charts as SVG. All text in them is numbers, and words that stand here.

const WIDTH = 440, HEIGHT = 210, LEFT = 40, RIGHT = 12, TOP = 12, BOTTOM = 30;

const shown = (x, digits = 2) =>
  (Math.abs(x) < 0.5 * 10 ** -digits ? 0 : x).toFixed(digits).replace('-', '−');

// Of a chance: one that is neither 0 nor 1 never looks like it.
function percent(x) {
  if (x > 0.0995 && x < 0.9005) return `${(100 * x).toFixed(0)}%`;
  if (x === 0 || x === 1) return `${100 * x}%`;
  const text = (100 * x).toFixed(1);
  return {'0.0': '<0.1%', '100.0': '>99.9%'}[text] || `${text}%`;
}

function svg(inside, width = WIDTH, height = HEIGHT) {
  return `<svg viewBox="0 0 ${width} ${height}" aria-hidden="true">${inside}</svg>`;
}

// Places of numbers from `low` to `high`, on the page from `from` to `to`.
function scale(low, high, from, to) {
  const span = high - low || 1;
  return x => Math.round(100 * (from + (x - low) / span * (to - from))) / 100;
}

function ticks(low, high, most = 5) {
  const rough = (high - low) / most || 1, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map(x => x * power).find(x => x >= rough);
  const first = Math.ceil(low / step - 1e-9);
  return range(Math.floor(high / step + 1e-9) - first + 1).map(i => (first + i) * step);
}

function axes(x, y, xTicks, yTicks, xName, yText, height = HEIGHT) {
  const bottom = height - BOTTOM;
  return yTicks.map(t =>
    `<path class="axis" d="M${LEFT} ${y(t)}H${WIDTH - RIGHT}"/>` +
    `<text x="${LEFT - 7}" y="${y(t) + 4}" text-anchor="end">${yText(t)}</text>`).join('')
    + xTicks.map(t =>
      `<text x="${x(t)}" y="${bottom + 16}" text-anchor="middle">${+t.toFixed(3)}</text>`).join('')
    + `<text x="${WIDTH - RIGHT}" y="${height - 1}" text-anchor="end">${xName}</text>`;
}

const path = (points, close = '') => points.length ? `M${points.map(p => p.join(' ')).join('L')}${close}` : '';

// Lines over the tosses: [{who, values}], from the first prediction on.
function lineChart(lines, {low, high, yText, atLeast = 10, xName = 'tosses', zero = false}) {
  const count = Math.max(atLeast, ...lines.map(l => l.values.length - 1));
  const x = scale(0, count, LEFT, WIDTH - RIGHT), y = scale(low, high, HEIGHT - BOTTOM, TOP);
  const clip = v => y(Math.min(Math.max(v, low), high));
  return svg(
    axes(x, y, ticks(0, count), ticks(low, high, 4), xName, yText)
    + (zero ? `<path class="zero" d="M${LEFT} ${y(0)}H${WIDTH - RIGHT}"/>` : '')
    + lines.map(({who, values}) => {
      const points = values.map((v, t) => [x(t), clip(v)]);
      const [end] = points.slice(-1);
      return `<g class="${who}"><path class="line" d="${path(points)}"/>`
        + (end ? `<circle class="dot" cx="${end[0]}" cy="${end[1]}" r="4"/>` : '') + '</g>';
    }).join(''));
}

const GRID = range(141).map(i => Math.min(Math.max(i / 140, 0.002), 0.998));

// Beliefs about the chance of one token: mixtures of Betas [{weight, a, b}], or
// sources [{weight, at}], of each `who`.
function densityChart(beliefs, xName, height = HEIGHT) {
  const drawn = beliefs.map(({who, betas, points, dashed}) => ({
    who, points, dashed,
    values: betas && betas.map(({weight, a, b}) => betaDensity(a, b).map(y => weight * y)).reduce(sum),
  }));
  const most = Math.max(2.2, ...drawn.flatMap(d => d.values || []).map(v => Math.min(v, 14)));
  const x = scale(0, 1, LEFT, WIDTH - RIGHT), y = scale(0, most * 1.06, height - BOTTOM, TOP);
  return svg(
    axes(x, y, [0, 0.2, 0.4, 0.6, 0.8, 1], ticks(0, most, height < HEIGHT ? 2 : 3), xName, t => +t.toFixed(1), height)
    + drawn.map(({who, values, points, dashed}) => {
      let inside = '';
      const dash = dashed ? ' dashed' : '';
      if (values) {
        const line = values.map((v, i) => [x(GRID[i]), y(Math.min(v, most * 1.06))]);
        const area = [[x(0), y(0)], ...line, [x(1), y(0)]];
        inside = `<path class="area" d="${path(area, 'Z')}"/>`
          + `<path class="line${dash}" d="${path(line)}"/>`;
      }
      for (const {weight, at} of points || []) {
        const top = y(weight * most);
        inside += `<path class="stem${dash}" d="M${x(at)} ${y(0)}V${top}"/>`
          + `<circle class="dot" cx="${x(at)}" cy="${top}" r="5"/>`
          + (weight > 0.995 ? '' : `<text class="of" x="${x(at) + (at > 0.8 ? -9 : 9)}" y="${top + 4}" text-anchor="${at > 0.8 ? 'end' : 'start'}">${percent(weight)}</text>`);
      }
      return `<g class="${who}">${inside}</g>`;
    }).join(''), WIDTH, height);
}

// The density of Beta(a, b) at the grid.
function betaDensity(a, b) {
  const constant = logGamma(a + b) - logGamma(a) - logGamma(b);
  return GRID.map(p => Math.exp(constant + (a - 1) * Math.log(p) + (b - 1) * Math.log1p(-p)));
}

const PLANE = {width: 640, height: 430, edge: 22};

// What of the plane does not change with the tosses: [x, y] and a colour each.
function cloudDots(dots, place) {
  return dots.map(({at, color}) => {
    const [x, y] = place(at);
    return `<circle cx="${x}" cy="${y}" r="3" fill="${color}" opacity=".55"/>`;
  }).join('');
}

function planePlaces(points) {
  const bounds = [0, 1].map(i => {
    const values = points.map(p => p[i]);
    const low = Math.min(...values), high = Math.max(...values), room = (high - low || 1) * 0.05;
    return [low - room, high + room];
  });
  const x = scale(...bounds[0], PLANE.edge, PLANE.width - PLANE.edge);
  const y = scale(...bounds[1], PLANE.height - PLANE.edge, PLANE.edge);
  return ([a, b]) => [x(a), y(b)];
}
