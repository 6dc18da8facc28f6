// Shows figures. Text from labels enters by textContent only.

const MAX_ROWS = 200;
const CLASSES = ['1xx', '2xx', '3xx', '4xx', '5xx'];
const $ = (id) => document.getElementById(id);
const view = { window: 10, sort: 'rate', descending: true, search: '', showAll: false };

function make(tag, name, text) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text !== undefined) element.textContent = text;
  return element;
}

function draw(tag, attributes, ...children) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// Writes only what has changed: nothing flickers, and a reader's selection stays.
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const COLUMNS = [
  { key: 'method', name: 'Method', text: (r) => visible(r.method), css: 'method' },
  { key: 'path', name: 'Path', text: (r) => middle(visible(r.path)), css: 'path' },
  { key: 'rate', name: 'Rate', title: 'requests per second', text: (r) => (r.recent ? formatRate(r.rate) : '\u2013') },
  { key: 'errors', name: 'Errors', title: 'share of requests', text: (r) => formatShare(r.errors) },
  { key: 'p50', name: 'p50', css: 'narrow', text: (r, b) => formatSeconds(r.p50, b) },
  { key: 'p95', name: 'p95', text: (r, b) => formatSeconds(r.p95, b) },
  { key: 'p99', name: 'p99', css: 'narrow', text: (r, b) => formatSeconds(r.p99, b) },
  { key: 'total', name: 'Total', title: 'requests since the start', css: 'total narrow', text: (r) => formatCount(r.total) },
];

function sparkline(values, width) {
  const most = Math.max(...values.filter((v) => v !== undefined), 1e-9);
  const step = width / Math.max(values.length - 1, 1);
  const points = [];
  values.forEach((v, i) => {
    if (v !== undefined) points.push(`${(i * step).toFixed(1)},${(19 - 18 * (v / most)).toFixed(1)}`);
  });
  const line = draw('polyline', { class: 'trend', points: points.join(' ') });
  return draw('svg', { viewBox: `0 0 ${width} 20`, preserveAspectRatio: 'none', 'aria-hidden': 'true' }, line);
}

// One value per second of the last minute, oldest first; undefined where nobody looked.
function perSecond(steps, now, of) {
  const values = new Array(60).fill(undefined);
  for (const step of steps) {
    if (step.missed) continue;
    const rate = of(step) / Math.max((step.to - step.from) / 1000, 0.001);
    const first = Math.max(Math.round(60 - (now - step.from) / 1000), 0);
    const last = Math.max(Math.round(60 - (now - step.to) / 1000), first + 1);
    for (let i = first; i < last && i < 60; i++) values[i] = rate;
  }
  return values;
}

const trends = { errors: [], p50: [], p95: [], p99: [], 'in-flight': [] };

function showFigures(figures, steps, now) {
  const { all, cold, bounds } = figures;
  const figure = (id, value, unit, trend, css) => {
    const parts = [make('span', '', value)];
    if (unit) parts.push(make('small', '', unit));
    if (trend) parts.push(sparkline(trend, 100));
    $(id).className = css ?? '';
    $(id).replaceChildren(...parts);
  };
  const remember = (id, value) => {
    trends[id].push(Number.isFinite(value) ? value : 0);
    if (trends[id].length > 60) trends[id].shift();
    return [...new Array(60 - trends[id].length).fill(undefined), ...trends[id]];
  };
  figure('rate', formatRate(all.rate), '/s', perSecond(steps, now, (s) => s.total));
  const errors = all.recent ? all.errors : 0;
  figure('errors', formatShare(errors), '', remember('errors', errors), errors >= 0.01 ? 'bad' : '');
  for (const id of ['p50', 'p95', 'p99']) {
    const [value, unit] = formatSeconds(all[id], bounds).split(' ');
    figure(id, value, unit, remember(id, all[id]), all.recent ? '' : 'stale');
  }
  const busy = cold.inFlight;
  figure('in-flight', busy === undefined ? '\u2013' : formatCount(busy), '', remember('in-flight', busy));
}

function showStrip(steps, now) {
  const height = 100;
  // Where nobody could look there is a gap, not one wide bar.
  const seen = steps.filter((s) => !s.missed);
  const most = Math.max(1, ...seen.map((s) => s.total / Math.max((s.to - s.from) / 1000, 0.001)));
  const counts = [0, 0, 0, 0, 0];
  const paths = ['', '', '', '', ''];
  for (const step of seen) {
    const seconds = Math.max((step.to - step.from) / 1000, 0.001);
    const right = 600 - (now - step.to) / 100;
    const left = Math.max(0, 600 - (now - step.from) / 100);
    let y = height;
    // The worst lies at the bottom, where it is seen best.
    for (const c of [4, 3, 2, 0, 1]) {
      const size = (step.classes[c] / seconds / most) * (height - 14);
      counts[c] += step.classes[c];
      if (size <= 0 || right <= left) continue;
      paths[c] += `M${left.toFixed(1)} ${y.toFixed(1)}V${(y - size).toFixed(1)}H${(right - 1.2).toFixed(1)}V${y.toFixed(1)}z`;
      y -= size;
    }
  }
  const lines = [0.25, 0.5, 0.75].map((at) =>
    draw('line', { class: 'grid', x1: 0, x2: 600, y1: height * at, y2: height * at }));
  const bars = paths.map((d, i) => draw('path', { class: `c${i + 1}`, d }));
  const words = CLASSES.map((name, i) => `${name}: ${Math.round(counts[i])}`).join(', ');
  const label = `Requests of the last 60 seconds by status class. ${words}`;
  const svg = draw('svg', { viewBox: `0 0 600 ${height}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': label }, ...lines, ...bars);
  $('strip').replaceChildren(svg, make('output', '', `${formatRate(most)}/s`));
  const entries = CLASSES.map((name, i) => {
    const entry = make('li');
    entry.append(make('span', `swatch c${i + 1}`), `${name} `, make('b', '', formatCount(counts[i])));
    return entry;
  });
  // 1xx are upgrades; most sidecars never see one.
  $('legend').replaceChildren(...entries.filter((entry, i) => i > 0 || counts[0] > 0));
}

function showFailed(reasons) {
  const found = reasons.filter((r) => r.total > 0).sort((a, b) => b.count - a.count || b.total - a.total);
  if (found.length === 0) {
    $('failed').replaceChildren(make('p', 'quiet', 'Nobody, since the start.'));
    return;
  }
  const table = make('table');
  const head = table.createTHead().insertRow();
  const window = view.window === Infinity ? 'so far' : view.window === 60 ? '1 min' : '10 s';
  head.append(...['Who', 'What happened', window, 'Total'].map((text, i) => {
    const cell = make('th', i === 1 ? 'what' : '', text);
    cell.scope = 'col';
    return cell;
  }));
  const body = table.createTBody();
  for (const { reason, count, total } of found.slice(0, 20)) {
    const [who, what] = blame(reason);
    const row = body.insertRow();
    row.className = count > 0 ? who : 'past';
    const name = make('th', '', who);
    name.scope = 'row';
    row.append(name, make('td', 'what', visible(what)), make('td', '', formatCount(count)), make('td', '', formatCount(total)));
  }
  $('failed').replaceChildren(table);
}

function showNotices(cold) {
  const notices = [];
  if (cold.up === 0 && cold.connects > 0) notices.push(['bad', 'The app is down: the last attempt to connect failed.']);
  if (cold.draining > 0) notices.push(['warn', 'Draining: the sidecar is shutting down.']);
  if (cold.overflow > 0) notices.push(['warn', `A limit was reached: ${formatCount(cold.overflow)} requests are counted under a coarser path (--max-paths, --max-series).`]);
  if (cold.refused > 0) notices.push(['warn', `${formatCount(cold.refused)} connections were refused (--max-connections or open files).`]);
  const key = JSON.stringify(notices);
  if ($('notices').dataset.key === key) return;
  $('notices').dataset.key = key;
  $('notices').replaceChildren(...notices.map(([css, text]) => make('li', css, text)));
}

function compare(a, b) {
  const [x, y] = [a[view.sort], b[view.sort]];
  const order = typeof x === 'string' ? (x < y ? -1 : Number(x > y))
    : (Number.isNaN(x) ? -1 : x) - (Number.isNaN(y) ? -1 : y);
  return (view.descending ? -order : order) || b.total - a.total || (a.key < b.key ? -1 : 1);
}

const drawn = new Map();

function rowOf(key) {
  let row = drawn.get(key);
  if (row) return row;
  const element = make('tr');
  const cells = COLUMNS.map((column) => {
    const cell = make(column.key === 'path' ? 'th' : 'td', column.css);
    if (column.key === 'path') cell.scope = 'row';
    const text = make('span');
    cell.append(text);
    element.append(cell);
    return { cell, text };
  });
  const trend = make('td', 'wide');
  element.append(trend);
  row = { element, cells, trend };
  drawn.set(key, row);
  return row;
}

function showRows(history, figures, now) {
  const wanted = view.search.toLowerCase();
  const matching = figures.rows.filter((r) => `${r.method} ${r.path}`.toLowerCase().includes(wanted)).sort(compare);
  const rows = view.showAll ? matching : matching.slice(0, MAX_ROWS);
  const elements = rows.map((figure) => {
    const row = rowOf(figure.key);
    row.element.classList.toggle('idle', !figure.recent);
    COLUMNS.forEach((column, i) => {
      const { cell, text } = row.cells[i];
      const value = column.text(figure, figures.bounds);
      setText(text, value);
      const whole = column.key === 'path' ? visible(figure.path) : '';
      if (cell.title !== whole) cell.title = whole;
      if (column.key === 'errors') cell.classList.toggle('failing', figure.recent && figure.failed > 0);
    });
    const values = perSecond(history.steps(figure.key), now, (s) => s.total);
    row.trend.replaceChildren(sparkline(values, 120));
    return row.element;
  });
  const body = $('rows');
  if (elements.length !== body.children.length || elements.some((e, i) => e !== body.children[i])) {
    body.replaceChildren(...elements);
  }
  if (drawn.size > 2 * figures.rows.length + 100) drawn.clear();
  const total = figures.rows.length;
  setText($('shown'), rows.length === total ? `${total}` : `${rows.length} of ${total}`);
  $('empty').hidden = total > 0 && matching.length > 0;
  setText($('empty'), total === 0 ? 'No request yet. Send one through the sidecar.' : 'Nothing matches the search.');
  $('more').hidden = matching.length <= rows.length;
}

// What the reserved labels in the table mean.
function showReserved(rows) {
  const found = Object.keys(RESERVED).filter((name) => rows.some((row) => row.path === name || row.path.endsWith(` ${name}`)));
  if ($('reserved').dataset.key === found.join()) return;
  $('reserved').dataset.key = found.join();
  $('reserved').replaceChildren(...found.flatMap((name) => [make('dt', '', name), make('dd', '', RESERVED[name])]));
}

function makeHeads() {
  for (const column of COLUMNS) {
    const head = make('th', column.css?.replace('method', '').replace('path', ''));
    head.scope = 'col';
    const button = make('button', '', column.name);
    button.type = 'button';
    if (column.title) button.title = column.title;
    button.addEventListener('click', () => {
      view.descending = view.sort === column.key ? !view.descending : !['method', 'path'].includes(column.key);
      view.sort = column.key;
      markSorted();
      show();
    });
    column.head = head;
    head.append(button);
    $('heads').append(head);
  }
  const trend = make('th', 'wide plain', 'Trend, 60 s');
  trend.scope = 'col';
  $('heads').append(trend);
  markSorted();
}

function markSorted() {
  for (const { key, head } of COLUMNS) {
    if (key === view.sort) head.setAttribute('aria-sort', view.descending ? 'descending' : 'ascending');
    else head.removeAttribute('aria-sort');
  }
}

let lastSummary = 0;

// For screen readers: now and then, not every second.
function summarize(figures, now) {
  if (now - lastSummary < 15000) return;
  lastSummary = now;
  const { all, cold, bounds } = figures;
  const app = cold.up === 0 && cold.connects > 0 ? 'The app is down.' : '';
  setText($('summary'), `${formatRate(all.rate)} requests per second, ${formatShare(all.recent ? all.errors : 0)} errors, ` +
    `95th percentile ${formatSeconds(all.p95, bounds)}, ${cold.inFlight ?? 0} in flight. ${app}`);
}

const history = new History();

function show() {
  if (!history.latest()) return;
  const now = history.latest().at;
  const figures = history.figures(view.window);
  const steps = history.steps();
  showFigures(figures, steps, now);
  showStrip(steps, now);
  showFailed(figures.reasons);
  showNotices(figures.cold);
  showRows(history, figures, now);
  showReserved(figures.rows);
  summarize(figures, now);
  setText($('version'), figures.cold.version ? `redcar ${figures.cold.version}` : 'redcar');
}

