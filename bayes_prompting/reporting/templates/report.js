(function () {
  'use strict';
  const runs = JSON.parse(document.getElementById('report-data').textContent);
  const plot = document.getElementById('plot');
  const note = document.getElementById('note');
  const byId = (id) => document.getElementById(id);
  const pick = (name) => byId('pick-' + name);
  const hidden = new Set();  // Names of methods that were filtered out.
  const units = { cumulative_regret: 'nats', instantaneous_regret: 'nats per step' };

  // The page is dark if its reader said so, or else if the system is.
  const system = window.matchMedia('(prefers-color-scheme: dark)');
  const root = document.documentElement;
  const isDark = () =>
    root.dataset.theme ? root.dataset.theme === 'dark' : system.matches;
  const colour = (method) => isDark() ? method.dark : method.color;
  const css = (name) => getComputedStyle(root).getPropertyValue('--' + name).trim();

  // plotly reads text as a little HTML of its own; a name is only a name.
  const plain = (text) =>
    text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;');
  // A legend has no room for a long name.
  const short = (text, most) => text.length > most ? text.slice(0, most - 1) + '…' : text;
  const run = () => runs[Number(pick('run').value)];
  const task = () => run().tasks.find((one) => one.name === pick('task').value);

  function fill(select, names) {
    const before = select.value;
    select.replaceChildren(...names.map(([value, text]) => new Option(text, value)));
    if (names.some(([value]) => value === before)) select.value = before;
  }

  function fillTasks() {
    const names = run().tasks.map((one) => one.name);
    const title = (name) => name === run().target ? name + ' (target)' : name;
    fill(pick('task'), names.map((name) => [name, title(name)]));
  }

  // A polygon around the quartiles of every stretch where both are finite.
  function band(steps, low, high, floor) {
    const x = [], y = [];
    for (let i = 0; i < steps.length; i++) {
      if (low[i] === null || high[i] === null) continue;
      let end = i;
      while (end + 1 < steps.length && low[end + 1] !== null && high[end + 1] !== null) end++;
      if (x.length) { x.push(null); y.push(null); }
      for (let j = i; j <= end; j++) { x.push(steps[j]); y.push(Math.max(low[j], floor)); }
      for (let j = end; j >= i; j--) { x.push(steps[j]); y.push(Math.max(high[j], floor)); }
      i = end;
    }
    return { x, y };
  }

  function traces(steps, shown, unit, log, floor, narrow) {
    const bands = [], lines = [];
    const end = (value) => value === null ? '∞' : String(value);
    for (const { method, curve, index } of shown) {
      const [median, low, high] = curve;
      const common = {
        meta: method.name, name: plain(short(method.name, narrow ? 16 : 28)), legendgroup: String(index),
        type: 'scatter', visible: !hidden.has(method.name),
      };
      const color = colour(method);
      if (low) {
        bands.push(Object.assign({
          mode: 'lines', fill: 'toself', fillcolor: color, opacity: 0.15,
          line: { width: 0, color }, hoverinfo: 'skip', showlegend: false,
        }, band(steps, low, high, log ? floor : -Infinity), common));
      }
      const note = low
        ? steps.map((_, i) => '<br>quartiles ' + end(low[i]) + ' to ' + end(high[i]))
        : steps.map(() => '<br>one run, or all alike');
      lines.push(Object.assign({
        x: steps, y: median, customdata: note,
        mode: method.symbol ? 'lines+markers' : 'lines',
        line: { color, dash: method.dash, width: 2 },
        marker: { color, symbol: method.symbol || 'circle', size: 6, maxdisplayed: 9 },
        hovertemplate: '<b>%{fullData.name}</b><br>step %{x}<br>median %{y} ' + unit +
          '%{customdata}<extra></extra>',
      }, common));
    }
    // plotly stumbles over axes on which everything is hidden.
    const nothing = { type: 'scatter', x: [steps[0]], y: [null], showlegend: false, hoverinfo: 'skip' };
    return bands.concat(lines, [nothing]);
  }

  function marks(narrow, last) {
    const shapes = [], annotations = [];
    let before = -Infinity, row = 0;
    for (const mark of [...run().marks].sort((a, b) => a.step - b.step)) {
      // A name beside another has no room: it stands above it.
      row = mark.step - before < 0.25 * last ? 1 - row : 0;
      before = mark.step;
      shapes.push({
        type: 'line', x0: mark.step, x1: mark.step, yref: 'paper', y0: 0, y1: 1,
        layer: 'below', line: { color: css('mark'), width: 1.2, dash: '6px,4px' },
      });
      annotations.push(Object.assign({
        x: mark.step, y: 1, yref: 'paper', showarrow: false,
        text: mark.name, font: { size: 11, color: css('soft') },
      }, narrow  // No room for two side by side.
        ? { textangle: -90, xanchor: 'right', yanchor: 'top' }
        // At the right end are the buttons of the plot.
        : { yanchor: 'bottom', yshift: 13 * row, xanchor: mark.step > 0.9 * last ? 'right' : 'center' }));
    }
    return { shapes, annotations };
  }

  // Above a universal predictor all is a mean a token.
  const unitOf = (quantity) => task().above ? 'nats a token' : units[quantity];

  function layout(steps, quantity, log, top, narrow, height) {
    const grid = { gridcolor: css('grid'), linecolor: css('edge'), zerolinecolor: css('edge'), ticks: 'outside' };
    const name = task().above ? 'loss ' + task().above : quantity.replace('_', ' ');
    const label = name + ' (' + unitOf(quantity) + ')';
    const yaxis = Object.assign({
      title: { text: label }, type: log ? 'log' : 'linear', tickformat: '~g', automargin: true,
    }, grid);
    if (log) {  // What is next to nothing does not rule the axis.
      yaxis.autorangeoptions = { clipmin: top / 1e5 };
      yaxis.nticks = 5;  // 1, 2, 5 over two or three decades, else they touch.
    }
    return Object.assign({
      height,
      font: { family: 'system-ui, sans-serif', size: 13, color: css('ink') },
      paper_bgcolor: css('paper'), plot_bgcolor: css('paper'), hovermode: 'closest',
      hoverlabel: { bgcolor: css('paper'), font: { color: css('ink') } },
      modebar: { bgcolor: 'rgba(0,0,0,0)', color: css('edge'), activecolor: css('ink') },
      margin: { l: narrow ? 60 : 75, r: 10, t: 36, b: 50 },
      xaxis: Object.assign({ title: { text: 'step' }, range: [0, 1.01 * steps[steps.length - 1]] }, grid),
      yaxis,
      legend: narrow
        ? { orientation: 'h', y: -0.16, yanchor: 'top', font: { size: 12 }, entrywidth: 90, tracegroupgap: 0 }
        : { x: 1.01, y: 1, font: { size: 12 }, tracegroupgap: 0 },
    }, marks(narrow, steps[steps.length - 1]));
  }

  // Nothing that leads away from the page.
  function config(narrow) {
    return {
      responsive: true, displaylogo: false, displayModeBar: !narrow,
      modeBarButtons: [['toImage', 'zoom2d', 'pan2d', 'zoomIn2d', 'zoomOut2d', 'resetScale2d']],
    };
  }

  function describe(shown, steps, log) {
    const said = [];
    const infinite = shown.filter(({ curve }) => curve[0].includes(null)).map(
      ({ method, curve }) => method.name + ' from step ' + steps[curve[0].indexOf(null)]);
    if (infinite.length) said.push('Infinite, or not a number: ' + infinite.join(', ') + '.');
    const spread = shown.filter(({ curve }) => curve.length > 1 &&
      !curve[0].includes(null) && curve.some((part) => part.includes(null)));
    if (spread.length) {
      said.push('Infinite in some runs, no band there: ' +
        spread.map(({ method }) => method.name).join(', ') + '.');
    }
    const gone = shown.filter(({ curve }) => curve[0].some((value) => value !== null && value <= 0));
    if (log && gone.length) {
      said.push('A logarithmic axis cannot show what is zero or below, which holds for some or all of: ' +
        gone.map(({ method }) => method.name).join(', ') + '.');
    }
    note.textContent = said.join(' ');
  }

  function draw() {
    const { steps, methods } = run();
    const quantity = pick('quantity').value;
    // What may be below zero has no logarithm.
    const log = pick('axis').value === 'log' && !task().above;
    const curves = task().curves[quantity];
    const shown = methods.map((method, index) => ({ method, index, curve: curves[index] }))
      .filter(({ curve }) => curve);
    const medians = shown.flatMap(({ curve }) => curve[0]).filter((value) => value > 0);
    const top = medians.reduce((a, b) => Math.max(a, b), 0) || 1;
    const floor = Math.max(medians.reduce((a, b) => Math.min(a, b), top), top / 1e5);
    const narrow = plot.clientWidth < 640;
    plot.classList.toggle('narrow', narrow);
    // The legend is beside the curves, or below them, and needs no scrolling.
    const named = shown.filter(({ method }) => !hidden.has(method.name)).length;
    const height = narrow ? 430 + 20 * Math.ceil(named / 2) : Math.max(544, 19 * named + 100);
    plot.style.height = height + 'px';
    describe(shown.filter(({ method }) => !hidden.has(method.name)), steps, log);
    return Plotly.react(
      plot, traces(steps, shown, unitOf(quantity), log, floor, narrow),
      layout(steps, quantity, log, top, narrow, height), config(narrow));
  }

  // The filter: a box for each method, one for each kind, and a search. What is
  // chosen stands in the address, so that a link or a reload shows the same.
  const filter = byId('filter');
  const boxes = [...filter.querySelectorAll('[data-method]')];
  const rows = [...document.querySelectorAll('[data-row]')];
  const found = () => boxes.filter((box) => !box.parentElement.hidden);

  function search() {
    const words = byId('search').value.toLowerCase().split(/\s+/);
    for (const kind of filter.querySelectorAll('.kind')) {
      const title = kind.getAttribute('aria-label').toLowerCase();
      for (const chip of kind.querySelectorAll('.chip')) {
        const text = chip.textContent.toLowerCase() + ' ' + title;
        chip.hidden = !words.every((word) => text.includes(word));
      }
      kind.hidden = !kind.querySelector('.chip:not([hidden])');
    }
    showFilter();
  }

  function showFilter() {
    for (const box of boxes) box.checked = !hidden.has(box.dataset.method);
    for (const kind of filter.querySelectorAll('.kind')) {
      const own = found().filter((box) => kind.contains(box));
      const on = own.filter((box) => box.checked).length;
      const all = kind.querySelector('[data-kind]');
      all.checked = on === own.length;
      all.indeterminate = on > 0 && on < own.length;
    }
    const shown = boxes.filter((box) => box.checked).length;
    const matches = byId('search').value ? ', ' + found().length + ' found' : '';
    byId('shown').textContent = shown + ' of ' + boxes.length + ' shown' + matches;
    for (const row of rows) row.hidden = hidden.has(row.dataset.row);
    const banner = byId('filtered');
    banner.hidden = shown === boxes.length;
    banner.querySelector('strong').textContent =
      'The filter of the curves hides ' + (boxes.length - shown) + ' of ' + boxes.length + ' methods.';
  }

  // Sets which of some methods are shown, in curves and tables.
  function set(methods, on) {
    for (const method of methods) {
      if (on) hidden.delete(method);
      else hidden.add(method);
    }
    changed();
  }

  function changed() {
    showFilter();
    const view = new URLSearchParams();
    for (const name of ['run', 'task', 'quantity', 'axis']) {
      const value = name === 'run' ? run().name : pick(name).value;
      if (value !== usual[name]) view.set(name, value);
    }
    for (const method of hidden) view.append('hide', method);
    const text = String(view);
    // A link to a section stays, as long as there is nothing to tell.
    if (text || /=/.test(location.hash)) {
      try { history.replaceState(null, '', '#' + text); } catch { /* No address. */ }
    }
    return draw();
  }

  // Takes what the address says; what it does not say is as usual.
  function fromAddress() {
    if (location.hash && !/=/.test(location.hash)) return;  // A section.
    const view = new URLSearchParams(location.hash.slice(1));
    const index = runs.findIndex((one) => one.name === view.get('run'));
    pick('run').value = String(Math.max(index, 0));
    fillTasks();
    for (const name of ['task', 'quantity', 'axis']) {
      const value = view.get(name) ?? (name === 'task' ? usualTask() : usual[name]);
      if ([...pick(name).options].some((option) => option.value === value)) pick(name).value = value;
    }
    hidden.clear();
    for (const method of view.getAll('hide')) {
      if (boxes.some((box) => box.dataset.method === method)) hidden.add(method);
    }
    showFilter();
  }

  const names = (some) => some.map((box) => box.dataset.method);
  const usualTask = () =>
    (run().tasks.find((one) => one.name === run().target) ?? run().tasks[0]).name;
  fill(pick('run'), runs.map((one, index) => [String(index), one.name]));
  pick('run').parentElement.hidden = runs.length < 2;
  const usual = {
    run: run().name, task: usualTask(), quantity: pick('quantity').value, axis: pick('axis').value,
  };
  filter.hidden = false;
  filter.open = window.innerWidth >= 640;  // Elsewhere it is a screen high.
  fillTasks();
  pick('task').value = usual.task;  // Also where the address names a section.
  showFilter();
  fromAddress();
  pick('run').addEventListener('change', () => { fillTasks(); changed(); });
  for (const name of ['task', 'quantity', 'axis']) pick(name).addEventListener('change', changed);
  filter.addEventListener('change', ({ target }) => {
    if (target.dataset.method !== undefined) set([target.dataset.method], target.checked);
    else if (target.dataset.kind !== undefined) {
      set(names(found().filter((box) => target.closest('.kind').contains(box))), target.checked);
    }
  });
  byId('search').addEventListener('input', search);
  byId('show-all').addEventListener('click', () => set(names(found()), true));
  byId('show-none').addEventListener('click', () => set(names(found()), false));
  byId('filtered').querySelector('button').addEventListener('click', () => set(names(boxes), true));
  window.addEventListener('hashchange', () => { fromAddress(); draw(); });

  const theme = byId('theme');
  const label = () => { theme.textContent = isDark() ? 'Light' : 'Dark'; };
  theme.hidden = false;
  theme.addEventListener('click', () => {
    const next = isDark() ? 'light' : 'dark';
    root.dataset.theme = next;
    try { localStorage.setItem('bayes-prompting-theme', next); } catch { /* Forbidden. */ }
    label();
    draw();
  });
  system.addEventListener('change', () => { label(); draw(); });
  label();
  let width = plot.clientWidth;
  window.addEventListener('resize', () => {
    if ((width < 640) !== (plot.clientWidth < 640)) draw();
    width = plot.clientWidth;
  });
  // Paper is light, and narrower than most screens; plotly does not see it
  // coming.
  let chosen = '';
  window.addEventListener('beforeprint', () => {
    chosen = root.dataset.theme;
    root.dataset.theme = 'light';
    draw();
    Plotly.relayout(plot, { autosize: false, width: 640 });
  });
  window.addEventListener('afterprint', () => {
    root.dataset.theme = chosen;
    draw();
    Plotly.relayout(plot, { autosize: true, width: null });
  });
  draw().then(() => {
    // A curve that is filtered out is not in the legend: the filter brings it
    // back, and plotly's own ways with a legend are not needed.
    plot.on('plotly_legendclick', ({ fullData, curveNumber }) => {
      set([fullData[curveNumber].meta], false);
      return false;
    });
    plot.on('plotly_legenddoubleclick', ({ fullData, curveNumber }) => {
      const alone = fullData[curveNumber].meta;
      for (const name of names(boxes)) hidden.add(name);
      set([alone], true);
      return false;
    });
    plot.dataset.ready = 'yes';
  });
})();
