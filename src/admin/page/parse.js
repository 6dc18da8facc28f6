// The Prometheus text format, as far as a page of a sidecar needs it.

const MAX_SERIES = 400000;
const ESCAPES = { n: '\n', '\\': '\\', '"': '"' };

// `name{a="b"}` as { name, labels }; null for what is no series.
function parseSeries(text) {
  const brace = text.indexOf('{');
  if (brace < 0) return { name: text, labels: {} };
  const labels = Object.create(null);
  const pattern = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"(?:,|})/y;
  pattern.lastIndex = brace + 1;
  let match;
  while ((match = pattern.exec(text))) {
    labels[match[1]] = match[2].replace(/\\(.)/g, (all, c) => ESCAPES[c] ?? all);
    if (pattern.lastIndex === text.length) return { name: text.slice(0, brace), labels };
  }
  return text.endsWith('{}') ? { name: text.slice(0, brace), labels } : null;
}

// Series are the same at every poll: each text is understood once.
const known = new Map();

function series(text) {
  let found = known.get(text);
  if (found === undefined) {
    if (known.size >= MAX_SERIES) known.clear();
    found = parseSeries(text);
    known.set(text, found);
  }
  return found;
}

// Calls `visit(name, labels, value)` for each sample.
function eachSample(page, visit) {
  let start = 0;
  while (start < page.length) {
    let end = page.indexOf('\n', start);
    if (end < 0) end = page.length;
    const space = page.lastIndexOf(' ', end - 1);
    if (page[start] !== '#' && space > start) {
      const found = series(page.slice(start, space));
      const text = page.slice(space + 1, end);
      const value = text === '+Inf' ? Infinity : Number(text);
      if (found && !Number.isNaN(value)) visit(found.name, found.labels, value);
    }
    start = end + 1;
  }
}

