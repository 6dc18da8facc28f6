// Asks for the page again and again, while somebody looks.

const INTERVAL = 1000;
const TIMEOUT = 10000;
const SLOWEST = 15000;
// The page may be served below a path, with or without its slash.
const base = location.pathname.replace(/\/?$/, '/');
const polling = { timer: 0, failures: 0, crowded: 0, paused: false, busy: false, missed: false };

function setState(css, text) {
  if ($('state').className !== css) $('state').className = css;
  setText($('state-text'), text);
}

async function ask() {
  const answer = await fetch(`${base}metrics`, {
    headers: { Accept: 'text/plain;version=0.0.4', 'Redcar-Viewer': 'page' },
    cache: 'no-store', signal: AbortSignal.timeout(TIMEOUT),
  });
  const text = await answer.text();
  if (!answer.ok) throw Object.assign(new Error(`HTTP ${answer.status}`), { status: answer.status });
  return text;
}

async function poll() {
  if (polling.busy) return;
  polling.busy = true;
  const begun = performance.now();
  let wait = INTERVAL;
  try {
    const text = await ask();
    const page = readPage(text, Date.now());
    // Between this page and the one before there was a look that failed, or nobody looked.
    page.missed = polling.missed;
    const restarted = history.add(page);
    [polling.failures, polling.crowded, polling.missed] = [0, 0, false];
    show();
    const draining = history.latest().cold.draining > 0;
    setState(draining ? 'bad' : 'live', restarted ? 'live, the sidecar was restarted' : draining ? 'draining' : 'live');
    // A large page is asked for less often: a tenth of the time at most goes into it.
    wait = Math.max(INTERVAL - (performance.now() - begun), 9 * (performance.now() - begun - 100), 100);
  } catch (error) {
    // Somebody else watches: our turn comes soon.
    const crowded = error.status === 503 && ++polling.crowded < 10;
    if (!crowded) polling.failures += 1;
    if (!crowded) polling.missed = true;
    wait = crowded ? 200 + Math.random() * 400 : Math.min(INTERVAL * 2 ** polling.failures, SLOWEST);
    const why = error.status ? `answers ${error.status}` : 'does not answer';
    if (!crowded) setState('bad', `The sidecar ${why}. Next try in ${Math.round(wait / 1000)} s.`);
  }
  polling.busy = false;
  schedule(wait);
}

function schedule(wait) {
  clearTimeout(polling.timer);
  if (polling.paused || document.hidden) {
    polling.missed = true;
    if (polling.paused) setState('', 'paused');
    return;
  }
  polling.timer = setTimeout(poll, Math.min(wait, SLOWEST));
}

function scrapeConfig() {
  const lines = ['scrape_configs:', '  - job_name: redcar', '    scrape_interval: 15s'];
  if (location.protocol === 'https:') lines.push('    scheme: https');
  if (base !== '/') lines.push(`    metrics_path: '${base.replaceAll("'", "''")}metrics'`);
  return [...lines, '    static_configs:', `      - targets: ['${location.host}']`, ''].join('\n');
}

const MONITOR = `apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata:
  name: redcar
spec:
  selector: {}
  podMetricsEndpoints:
    - port: red-metrics
      interval: 15s
      relabelings:
        - action: keep
          sourceLabels: [__meta_kubernetes_pod_container_name]
          regex: redcar
`;

// Where the page is not on a secure origin, the browser has no clipboard for it.
async function copy(id) {
  try {
    await navigator.clipboard.writeText($(id).textContent);
    setText($('copied'), 'Copied.');
  } catch {
    getSelection().selectAllChildren($(id));
    setText($('copied'), 'Selected; copy it with the keyboard.');
  }
}

function start() {
  makeHeads();
  setText($('where'), location.host + (base === '/' ? '' : base));
  document.title = `redcar ${location.host}`;
  setText($('static'), scrapeConfig());
  setText($('monitor'), MONITOR);
  $('pause').addEventListener('click', () => {
    polling.paused = !polling.paused;
    $('pause').setAttribute('aria-pressed', polling.paused);
    schedule(0);
  });
  $('search').addEventListener('input', () => { view.search = $('search').value; show(); });
  $('more').addEventListener('click', () => { view.showAll = true; show(); });
  for (const input of document.getElementsByName('window')) {
    input.addEventListener('change', () => {
      view.window = input.value === 'all' ? Infinity : Number(input.value);
      show();
    });
  }
  for (const button of document.querySelectorAll('[data-copy]')) {
    button.addEventListener('click', () => copy(button.dataset.copy));
  }
  document.addEventListener('visibilitychange', () => schedule(0));
  document.addEventListener('keydown', (event) => {
    if (event.key !== '/' || event.ctrlKey || event.metaKey || event.target.closest('input')) return;
    event.preventDefault();
    $('search').focus();
  });
  poll();
}

start();
