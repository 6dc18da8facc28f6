// From pages to figures: rows by method and path, differences over a window, quantiles.

const HISTORY_SECONDS = 61;

function newRow(method, path) {
  return { method, path, total: 0, errors: 0, classes: [0, 0, 0, 0, 0], buckets: [], count: 0 };
}

// A failure that is not the client's: what the error ratio counts.
const isError = (status, error) =>
  status >= 500 || (error !== '' && blame(error)[0] !== 'client');

function profileOf(page) {
  const found = ['default', 'otel', 'flask'].find((name) =>
    page.includes(`# TYPE ${NAMES[name].duration} `));
  return NAMES[found ?? 'default'];
}

// One page as { at, rows, all, reasons, bounds, cold }.
function readPage(page, at) {
  const names = profileOf(page);
  const bucketName = `${names.duration}_bucket`;
  const bounds = [];
  const positions = new Map();
  const rows = new Map();
  const reasons = new Map();
  const all = newRow('', '');
  const cold = { overflow: 0, refused: 0, connects: 0 };
  const rowOf = (labels) => {
    // A path of one app is none of the other's.
    const listener = labels.listener ? `${labels.listener} ` : '';
    const [method, path] = [labels[names.method] ?? '', listener + (labels[names.path] ?? '')];
    const key = `${method} ${path}`;
    let row = rows.get(key);
    if (!row) rows.set(key, (row = newRow(method, path)));
    return row;
  };
  const request = (labels, value) => {
    const status = Number(labels[names.status]);
    // OpenTelemetry writes the status where there is no better word.
    const word = labels[names.error] ?? '';
    const error = /^\d*$/.test(word) ? '' : word;
    const reason = error || (status >= 500 ? OWN_FAILURE : '');
    if (reason) reasons.set(reason, (reasons.get(reason) ?? 0) + value);
    for (const row of [rowOf(labels), all]) {
      row.total += value;
      row.classes[Math.min(Math.max(Math.floor(status / 100) - 1, 0), 4)] += value;
      if (isError(status, error)) row.errors += value;
    }
  };
  const bucket = (labels, value) => {
    let position = positions.get(labels.le);
    if (position === undefined) {
      position = bounds.push(labels.le === '+Inf' ? Infinity : Number(labels.le)) - 1;
      positions.set(labels.le, position);
    }
    for (const row of [rowOf(labels), all]) {
      row.buckets[position] = (row.buckets[position] ?? 0) + value;
    }
  };
  eachSample(page, (name, labels, value) => {
    if (name === names.requests) request(labels, value);
    else if (name === bucketName) bucket(labels, value);
    else if (name === names.inFlight) cold.inFlight = (cold.inFlight ?? 0) + value;
    else readCold(cold, name, labels, value);
  });
  return { at, rows, all, reasons, bounds, cold };
}

function readCold(cold, name, labels, value) {
  const names = NAMES.sidecar;
  if (name === names.overflow) cold.overflow += value;
  else if (name === names.refused) cold.refused += value;
  else if (name === names.connects) cold.connects += value;
  // Of several apps the worst.
  else if (name === names.up) cold.up = Math.min(cold.up ?? value, value);
  else if (name === names.draining) cold.draining = value;
  else if (name === names.started) cold.started = value;
  else if (name === names.build) cold.version = labels.version;
}

// What was added to a row since `before`.
function added(row, before) {
  if (!before) return row;
  return {
    total: row.total - before.total,
    errors: row.errors - before.errors,
    classes: row.classes.map((value, i) => value - before.classes[i]),
    buckets: row.buckets.map((value, i) => value - (before.buckets[i] ?? 0)),
  };
}

// Prometheus' histogram_quantile: linear within the bucket; the last bound for what is above it.
function quantile(q, buckets, bounds) {
  const count = buckets[buckets.length - 1];
  if (!(count > 0)) return NaN;
  const rank = q * count;
  const index = buckets.findIndex((value) => value >= rank);
  if (bounds[index] === Infinity) return index > 0 ? bounds[index - 1] : NaN;
  const below = index > 0 ? buckets[index - 1] : 0;
  const from = index > 0 ? bounds[index - 1] : 0;
  const inside = buckets[index] - below;
  return inside > 0 ? from + (bounds[index] - from) * ((rank - below) / inside) : from;
}

class History {
  pages = [];

  // Takes a page in; returns whether the sidecar has restarted.
  add(page) {
    const last = this.latest();
    const restarted = Boolean(last) && (page.cold.started !== last.cold.started ||
      page.all.total < last.all.total || page.bounds.join() !== last.bounds.join() && last.bounds.length > 0);
    if (restarted) this.pages = [];
    else if (last) this.share(page, last);
    this.pages.push(page);
    while (this.pages.length > 2 && this.pages[1].at < page.at - HISTORY_SECONDS * 1000) this.pages.shift();
    return restarted;
  }

  // A row that has not changed is kept once.
  share(page, last) {
    for (const [key, row] of page.rows) {
      const before = last.rows.get(key);
      if (before && before.total === row.total && before.buckets.at(-1) === row.buckets.at(-1)) {
        page.rows.set(key, before);
      }
    }
  }

  latest() { return this.pages.at(-1); }

  // The newest page that is at least so old, or the oldest there is.
  before(seconds) {
    const moment = this.latest().at - seconds * 1000 + 100;
    let found = this.pages[0];
    for (const page of this.pages) if (page.at <= moment) found = page;
    return found;
  }

  // All figures over the last `seconds`; Infinity is since the start of the sidecar.
  figures(seconds) {
    const now = this.latest();
    const then = seconds === Infinity ? null : this.before(seconds);
    const uptime = now.at / 1000 - (now.cold.started ?? now.at / 1000);
    const elapsed = then ? (now.at - then.at) / 1000 : uptime;
    const over = (row, before) => {
      const delta = then ? (then === now ? newRow('', '') : added(row, before)) : row;
      // Without requests in the window: what is known since the start.
      const recent = delta.total > 0;
      const source = recent ? delta.buckets : row.buckets;
      const [p50, p95, p99] = [0.5, 0.95, 0.99].map((q) => quantile(q, source, now.bounds));
      return {
        method: row.method, path: row.path, total: row.total, recent,
        rate: elapsed > 0 ? delta.total / elapsed : 0,
        errors: recent ? delta.errors / delta.total : row.errors / row.total || 0,
        p50, p95, p99, count: delta.total, failed: delta.errors, classes: delta.classes,
      };
    };
    const rows = [];
    for (const [key, row] of now.rows) rows.push({ key, ...over(row, then?.rows.get(key)) });
    const reasons = [...now.reasons].map(([reason, total]) => {
      const count = then === now ? 0 : total - (then?.reasons.get(reason) ?? 0);
      return { reason, count, total };
    });
    return { all: over(now.all, then?.all), rows, reasons, elapsed, cold: now.cold, bounds: now.bounds };
  }

  // Differences from page to page over the last minute: [{ from, to, added }].
  steps(key) {
    const of = (page) => (key === undefined ? page.all : page.rows.get(key));
    const steps = [];
    for (let i = 1; i < this.pages.length; i++) {
      const [a, b] = [this.pages[i - 1], this.pages[i]];
      const [before, row] = [of(a), of(b)];
      const total = row === before ? 0 : (row?.total ?? 0) - (before?.total ?? 0);
      const classes = key === undefined ? row.classes.map((v, c) => v - before.classes[c]) : null;
      steps.push({ from: a.at, to: b.at, total, classes, missed: Boolean(b.missed) });
    }
    return steps;
  }
}

