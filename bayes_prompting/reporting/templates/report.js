(function () {
  'use strict';
  const runs = JSON.parse(document.getElementById('report-data').textContent);
  const plot = document.getElementById('plot');
  const note = document.getElementById('note');
  const pick = (name) => document.getElementById('pick-' + name);
  const hidden = new Set();  // Names of methods that were clicked off.
  const units = { cumulative_regret: 'nats', instantaneous_regret: 'nats per step' };

  // plotly reads text as a little HTML of its own; a name is only a name.
  const plain = (text) =>
    text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;');
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

  function traces(steps, shown, unit, log, floor) {
    const bands = [], lines = [];
    const short = (value) => value === null ? '∞' : String(value);
    for (const { method, curve, index } of shown) {
      const [median, low, high] = curve;
      const common = {
        meta: method.name, name: plain(method.name), legendgroup: String(index),
        type: 'scatter', visible: hidden.has(method.name) ? 'legendonly' : true,
      };
      if (low) {
        bands.push(Object.assign({
          mode: 'lines', fill: 'toself', fillcolor: method.color, opacity: 0.15,
          line: { width: 0, color: method.color }, hoverinfo: 'skip', showlegend: false,
        }, band(steps, low, high, log ? floor : -Infinity), common));
      }
      const note = low
        ? steps.map((_, i) => '<br>quartiles ' + short(low[i]) + ' to ' + short(high[i]))
        : steps.map(() => '<br>one run, or all alike');
      lines.push(Object.assign({
        x: steps, y: median, customdata: note,
        mode: method.symbol ? 'lines+markers' : 'lines',
        line: { color: method.color, dash: method.dash, width: 2 },
        marker: { color: method.color, symbol: method.symbol || 'circle', size: 6, maxdisplayed: 9 },
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
        layer: 'below', line: { color: '#6b7280', width: 1.2, dash: '6px,4px' },
      });
      annotations.push(Object.assign({
        x: mark.step, y: 1, yref: 'paper', showarrow: false,
        text: mark.name, font: { size: 11, color: '#57606a' },
      }, narrow  // No room for two side by side.
        ? { textangle: -90, xanchor: 'right', yanchor: 'top' }
        // At the right end are the buttons of the plot.
        : { yanchor: 'bottom', yshift: 13 * row, xanchor: mark.step > 0.9 * last ? 'right' : 'center' }));
    }
    return { shapes, annotations };
  }

  // Above a universal predictor all is a mean a token.
  const unitOf = (quantity) => task().above ? 'nats a token' : units[quantity];

  function layout(steps, quantity, log, top, narrow) {
    const grid = { gridcolor: '#e8eaed', linecolor: '#8b949e', zerolinecolor: '#c3c8ce', ticks: 'outside' };
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
      font: { family: 'system-ui, sans-serif', size: 13, color: '#1a1a1a' },
      paper_bgcolor: '#fff', plot_bgcolor: '#fff', hovermode: 'closest',
      hoverlabel: { bgcolor: '#fff', font: { color: '#1a1a1a' } },
      margin: { l: narrow ? 60 : 75, r: 10, t: 36, b: 50 },
      xaxis: Object.assign({ title: { text: 'step' }, range: [0, 1.01 * steps[steps.length - 1]] }, grid),
      yaxis,
      legend: narrow
        ? { orientation: 'h', y: -0.16, yanchor: 'top', font: { size: 12 }, entrywidth: 90 }
        : { x: 1.01, y: 1, font: { size: 12 } },
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
    describe(shown, steps, log);
    return Plotly.react(
      plot, traces(steps, shown, unitOf(quantity), log, floor),
      layout(steps, quantity, log, top, narrow), config(narrow));
  }

  // What a click in the legend did is kept by name, for other runs and tasks.
  function remember() {
    for (const trace of plot.data.filter((one) => one.meta !== undefined)) {
      if (trace.visible === 'legendonly') hidden.add(trace.meta);
      else hidden.delete(trace.meta);
    }
  }

  fill(pick('run'), runs.map((one, index) => [String(index), one.name]));
  pick('run').parentElement.hidden = runs.length < 2;
  fillTasks();
  if (run().tasks.some((one) => one.name === run().target)) pick('task').value = run().target;
  pick('run').addEventListener('change', () => { fillTasks(); draw(); });
  for (const name of ['task', 'quantity', 'axis']) pick(name).addEventListener('change', draw);
  document.getElementById('show-all').addEventListener('click', () => { hidden.clear(); draw(); });
  document.getElementById('show-none').addEventListener('click', () => {
    for (const one of runs) for (const method of one.methods) hidden.add(method.name);
    draw();
  });
  let width = plot.clientWidth;
  window.addEventListener('resize', () => {
    if ((width < 640) !== (plot.clientWidth < 640)) draw();
    width = plot.clientWidth;
  });
  // Paper is narrower than most screens, and plotly does not see it coming.
  window.addEventListener('beforeprint', () => Plotly.relayout(plot, { autosize: false, width: 640 }));
  window.addEventListener('afterprint', () => Plotly.relayout(plot, { autosize: true, width: null }));
  draw().then(() => {
    plot.on('plotly_restyle', remember);
    plot.dataset.ready = 'yes';
  });
})();
