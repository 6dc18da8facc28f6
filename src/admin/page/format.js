// Numbers and hostile text, made readable.

function formatRate(rate) {
  if (!(rate > 0)) return '0';
  if (rate < 0.1) return '<0.1';
  return rate < 10 ? rate.toFixed(1) : Math.round(rate).toLocaleString('en');
}

function formatShare(share) {
  if (!(share > 0)) return '0%';
  if (share < 0.001) return '<0.1%';
  return share < 0.1 ? `${(share * 100).toFixed(1)}%` : `${Math.round(share * 100)}%`;
}

const formatCount = (count) =>
  (count >= 1e7 ? `${(count / 1e6).toFixed(1)}M` : Math.round(count).toLocaleString('en'));

function formatSeconds(seconds, bounds) {
  if (!Number.isFinite(seconds)) return '\u2013';
  // At the last bound nobody knows how much longer it was.
  const most = bounds.findLast((bound) => bound !== Infinity);
  const sign = seconds >= most ? '\u2265' : '';
  if (seconds < 0.0095) return `${sign}${(seconds * 1000).toFixed(1)} ms`;
  if (seconds < 0.9995) return `${sign}${Math.round(seconds * 1000)} ms`;
  return `${sign}${seconds < 9.95 ? seconds.toFixed(2) : Math.round(seconds)} s`;
}

// Characters that are not seen, or that turn their neighbours round, as their code.
const UNSEEN = /[\u0000-\u001f\u007f-\u00a0\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

// The end of a path tells as much as its beginning: what is too long is cut in the middle.
const LONGEST = 72;

function middle(text) {
  if (text.length <= LONGEST) return text;
  return `${text.slice(0, LONGEST - 30)}\u2026${text.slice(-29)}`;
}

const visible = (text) => text.replace(UNSEEN, (c) =>
  `\\u${c.codePointAt(0).toString(16).padStart(4, '0')}`);

