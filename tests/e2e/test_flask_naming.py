"""`--naming flask` beside the exporter that it stands in for.

The same app runs twice on Gunicorn with two workers: once with prometheus_flask_exporter in its
processes, once untouched behind the sidecar. Both get the same requests in the same order, one
real Prometheus scrapes both, and the panels of the exporter's own dashboard have to say the same.
"""

import math
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from helpers import HERE, KeepAlive, Samples, free_port, wait_until

JOBS = ("inside", "outside")
BOUNDS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, math.inf]
DURATION = "flask_http_request_duration_seconds"
OK = f'{DURATION}_count{{status="200"}}[30s]'

# The nine panels of the exporter's example dashboard.
PANELS = {
    "requests per second": f"rate({OK})",
    "errors per second": f'sum by (job) (rate({DURATION}_count{{status!="200"}}[30s]))',
    "total requests per minute": "increase(flask_http_request_total[1m])",
    "average response time": f'rate({DURATION}_sum{{status="200"}}[30s]) / rate({OK})',
    "p50": f'histogram_quantile(0.5, rate({DURATION}_bucket{{status="200"}}[30s]))',
    "p90": f'histogram_quantile(0.9, rate({DURATION}_bucket{{status="200"}}[30s]))',
    "under 250 ms": f'increase({DURATION}_bucket{{status="200",le="0.25"}}[30s])'
    f" / ignoring (le) increase({OK})",
    "memory usage": "process_resident_memory_bytes",
    "cpu usage": "rate(process_cpu_seconds_total[30s])",
}

# One round of traffic, and which status it gets.
ROUND = [
    ("GET", "/ruok", 200),
    ("GET", "/ruok?a=b", 200),
    ("HEAD", "/ruok", 200),
    ("GET", "/users/7", 200),
    ("GET", "/users/8", 200),
    ("GET", "/users/5000", 404),
    ("GET", "/nothing/here", 404),
    ("GET", "/fail", 500),
    ("PUT", "/ruok", 405),
    ("POST", "/orders", 201),
    ("GET", "/slow?seconds=0.15", 200),
    ("GET", "/slow?seconds=0.35", 200),
    ("GET", "/stream?wait=0.15&chunks=20", 200),
]


def bucket(seconds):
    return next(index for index, bound in enumerate(BOUNDS) if seconds <= bound)


def without_unknown(counts):
    """Counts by method, path and status; what was answered with 404 without its path.

    A path that the app has answered with nothing but 404 has no name of its own outside.
    """
    merged = Counter()
    for key, value in counts.items():
        labels = dict(key)
        path = None if labels["status"] == "404" else labels["path"]
        merged[labels["method"], path, labels["status"]] += value
    return merged


class SideBySide:
    """Both apps, under one Prometheus as the jobs `inside` and `outside`."""

    def __init__(self, gunicorn, proxy, prometheus, tmp_path):
        folder = tmp_path / "multiproc"
        folder.mkdir()
        port = free_port()
        inside = gunicorn(
            "gthread",
            *("--config", HERE / "instrumented_conf.py"),
            app="instrumented:app",
            PROMETHEUS_MULTIPROC_DIR=str(folder),
            METRICS_PORT=str(port),
        )
        # Raw paths, as the exporter has them.
        self.sidecar = proxy(gunicorn("gthread").upstream, "--naming", "flask", "--paths", "raw")
        self.clients = [
            KeepAlive(int(inside.upstream.rsplit(":")[1])),
            KeepAlive(self.sidecar.port),
        ]
        self.pool = ThreadPoolExecutor(len(self.clients))
        self.jobs = {"inside": port, "outside": self.sidecar.metrics_port}
        self.prometheus = prometheus(self.jobs)

    def send_round(self):
        """Each request to both at the same time."""
        for method, path, status in ROUND:
            body = b"one" if method in ("POST", "PUT") else None
            answers = self.pool.map(lambda client: client(method, path, body), self.clients)
            assert [got for got, _ in answers] == [status] * 2, (method, path)

    def by_job(self, promql, at=None):
        """{job: {labels that matter: value}}"""
        answer = {"inside": {}, "outside": {}}
        for labels, value in self.prometheus.query(promql, at):
            key = tuple(sorted((k, labels[k]) for k in ("method", "path", "status") if k in labels))
            answer[labels["job"]][key] = value
        return answer

    def scraped(self):
        """Waits for a scrape of both that began after now; returns a moment at which both are in."""
        now = time.time()
        wait_until(
            lambda: all(t > now for _, t in self.prometheus.query("timestamp(up)")), "both scrapes"
        )
        return time.time()


@pytest.mark.alone
def test_the_dashboard_of_the_exporter_shows_the_same(gunicorn, proxy, prometheus, tmp_path):
    both = SideBySide(gunicorn, proxy, prometheus, tmp_path)
    # A first round, so that every series exists before the panels' rates begin.
    both.send_round()
    count = f"{DURATION}_count"
    before = both.by_job(count, both.scraped())
    rounds = 12
    for _ in range(rounds):
        both.send_round()
    at = both.scraped()
    after = both.by_job(count, at)

    # Counts are exact.
    inside, outside = (without_unknown(after[job]) - without_unknown(before[job]) for job in JOBS)
    assert inside == outside and inside.total() == rounds * len(ROUND)

    panels = {name: both.by_job(promql, at) for name, promql in PANELS.items()}
    for name in ("requests per second", "errors per second", "total requests per minute"):
        inside, outside = panels[name]["inside"], panels[name]["outside"]
        assert inside.keys() == outside.keys() and inside, (name, inside, outside)
        for key, value in inside.items():
            # Both are scraped once a second, not at the same moment.
            assert math.isclose(value, outside[key], rel_tol=0.25), (name, key, value, outside[key])
    for name in ("p50", "p90"):
        inside, outside = panels[name]["inside"], panels[name]["outside"]
        assert inside.keys() == outside.keys() and inside, (name, inside, outside)
        for key, value in inside.items():
            distance = bucket(outside[key]) - bucket(value)
            assert distance in (-1, 0, 1), (name, key, value, outside[key])
    inside, outside = (panels["average response time"][job] for job in JOBS)
    assert inside.keys() == outside.keys() and inside
    for key, value in inside.items():
        # The way between both programs and the wait for a thread: what clients feel.
        assert value - 0.002 <= outside[key] <= value + 0.03, (key, value, outside[key])
    inside, outside = (panels["under 250 ms"][job] for job in JOBS)
    slow = next(key for key in inside if ("path", "/slow") in key)
    assert math.isclose(inside[slow], 0.5, abs_tol=0.05), inside
    for key, value in inside.items():
        assert math.isclose(value, outside[key], abs_tol=0.1), (key, value, outside[key])

    # What an outside observer cannot see is the app's own process. With several workers the
    # exporter does not show it either; the panels show the sidecar.
    for name in ("memory usage", "cpu usage"):
        assert panels[name]["inside"] == {} and len(panels[name]["outside"]) == 1, panels[name]
    assert 1e6 < panels["memory usage"]["outside"][()] < 1e8


def test_both_pages_have_the_same_families_labels_and_bounds(gunicorn, proxy, prometheus, tmp_path):
    both = SideBySide(gunicorn, proxy, prometheus, tmp_path)
    both.send_round()
    both.scraped()
    pages = {}
    for job, port in both.jobs.items():
        page = Samples(requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text)
        pages[job] = {
            (s.name, tuple(sorted(k for k in s.labels if k != "pid")))
            for s in page.samples
            if s.name.startswith("flask_") and not s.name.endswith("_created")
        }
        bounds = {s.labels["le"] for s in page.samples if s.name == f"{DURATION}_bucket"}
        assert {float(le) for le in bounds} == set(BOUNDS), job
        assert "1.0" in bounds and "+Inf" in bounds, job
        assert page.total("flask_http_request_exceptions_total", method="GET", status="500") == 1
    inside, outside = pages["inside"], pages["outside"]
    # The exporter's info is lost with several processes.
    assert outside - inside <= {("flask_exporter_info", ("version",))}
    assert inside <= outside, inside - outside
