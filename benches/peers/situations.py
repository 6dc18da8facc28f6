"""What is measured: the rows that make a situation first. Idle connections, scrapes, and Flask."""

import http.client
import socket
import statistics
import threading
import time

import measure
from loads import Workload
from processes import Failure, cpu_nanos, free_port, rss_kib

import config

SERIES_METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH"]


class Idle(Workload):
    """Memory of keep-alive connections that had one request each. A fresh process every round:
    a second crowd would live in what the first one left."""

    columns = [
        ("kib_each", "KiB RSS/connection", 2),
        ("rss_before_kib", "RSS before KiB", 0),
        ("rss_peak_kib", "RSS with them KiB", 0),
        ("rss_after_kib", "RSS after KiB", 0),
        ("idle_cpu_us", "CPU µs/s while idle", 0),
    ]
    ratio = "kib_each"
    most_rounds = 3

    def set_up(self, bench):
        self.start_backend(bench)
        self.running = {peer.name: peer for peer in self.chosen(bench)}
        self.title = f"{bench.idle_connections:,} {self.title}"

    def measure(self, bench, name):
        running = self.start(bench, self.running[name])
        pid = running.process.pid
        before, open_sockets = rss_kib(pid), []
        try:
            for _ in range(bench.idle_connections):
                open_sockets.append(self.visit(running.port))
            time.sleep(bench.settle_seconds)
            cpu = cpu_nanos(pid)
            time.sleep(bench.settle_seconds)
            cpu = (cpu_nanos(pid) - cpu) / bench.settle_seconds / 1000
            during = rss_kib(pid)
            # The last check that all are served: the first one still is.
            self.ask(open_sockets[0])
        finally:
            for one in open_sockets:
                one.close()
        time.sleep(bench.settle_seconds)
        after = rss_kib(pid)
        bench.processes.stop(running.process)
        return {
            "kib_each": (during - before) / bench.idle_connections,
            "rss_before_kib": before,
            "rss_peak_kib": during,
            "rss_after_kib": after,
            "idle_cpu_us": cpu,
        }

    def visit(self, port):
        """A connection that has had its answer."""
        one = socket.create_connection(("127.0.0.1", port), 10)
        self.ask(one)
        return one

    def ask(self, one):
        """One request on a connection that stays open."""
        one.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = b""
        while not answer.endswith(b"hello"):
            part = one.recv(4096)
            if not part:
                raise Failure("a connection was closed instead of answered")
            answer += part


class Scrape(Workload):
    """A page of many series: its cost alone, and what requests feel of it."""

    columns = [
        ("cpu_ms", "CPU ms/scrape", 2),
        ("first_byte_ms", "first byte ms", 2),
        ("page_kib", "sent KiB", 0),
        ("series", "series", 0),
        ("p99_without_us", "p99 µs without", 0),
        ("p99_with_us", "p99 µs with", 0),
        ("with_ratio", "with ÷ without", 2),
    ]
    ratio = "cpu_ms"

    def chosen(self, bench):
        for peer in bench.peers.values():
            if not peer.per_path:
                self.cannot[peer.name] = "it has no series by path"
        return [peer for peer in bench.peers.values() if peer.per_path]

    def set_up(self, bench):
        super().set_up(bench)
        self.title = f"{self.title}, {bench.series:,} of them"

    def start(self, bench, peer, **settings):
        paths = [
            f"/series/{letter}{other}/list" for letter in "abcdefghij" for other in "abcdefghij"
        ]
        paths = paths[: max(1, bench.series // 50)]
        # Pinned, so that no build of redcar makes one label of several paths.
        pins = [word for path in paths for word in ("--route", path)]
        if peer.name in ["redcar", "baseline"]:
            settings["extra"] = pins
        running = super().start(bench, peer, **settings)
        client = http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)
        for path in paths:
            for method in SERIES_METHODS:
                for status in config.SERIES_STATUSES:
                    client.request(method, f"{path}?status={status}")
                    client.getresponse().read()
        client.close()
        return running

    def measure(self, bench, name):
        running = self.running[name]
        pid, port = running.process.pid, running.metrics
        cpu = cpu_nanos(pid)
        scrapes = [measure.scrape(port) for _ in range(bench.scrapes)]
        cpu = (cpu_nanos(pid) - cpu) / bench.scrapes / 1e6
        lines = measure.page_lines(*scrapes[-1][2:])
        series = sum(line.startswith("http_requests_total{") for line in lines)
        if series < bench.series:
            raise Failure(f"{name}: the page has {series} series instead of {bench.series}")
        rate = bench.rate or 5000
        without = measure.steady(bench, running.port, "/", rate, bench.seconds)["p99_us"]
        with_scrapes = self.while_scraped(bench, running, rate)["p99_us"]
        return {
            "cpu_ms": cpu,
            "first_byte_ms": statistics.median(s[0] for s in scrapes) * 1000,
            "page_kib": scrapes[-1][1] / 1024,
            "series": series,
            "p99_without_us": without,
            "p99_with_us": with_scrapes,
            "with_ratio": with_scrapes / without,
        }

    def while_scraped(self, bench, running, rate):
        """A fixed rate while somebody scrapes twice a second, thirty times as often as usual."""
        ending, failures = threading.Event(), []

        def scraper():
            while not ending.wait(0.5):
                try:
                    measure.scrape(running.metrics)
                except (Failure, OSError) as error:
                    failures.append(error)
                    return

        thread = threading.Thread(target=scraper)
        thread.start()
        try:
            result = measure.steady(bench, running.port, "/", rate, bench.seconds)
        finally:
            ending.set()
            thread.join()
        if failures:
            raise Failure(f"a scrape under load failed: {failures[0]}")
        return result


class Flask(Workload):
    """Flask on Gunicorn with two workers: plain, with the exporter in process, and behind a proxy.
    Everything but the load generator shares one core, so that what costs CPU costs requests."""

    columns = [
        ("per_second", "requests/s", 0),
        ("cpu_us", "CPU µs/request, with the proxy", 1),
        ("rss_peak_kib", "RSS peak KiB of the app", 0),
    ]
    ratio = "per_second"

    def __init__(self, name, title, worker):
        super().__init__(name, title)
        self.worker = worker

    def set_up(self, bench):
        path = bench.directory / f"{self.name}.sock"
        by_socket = self.gunicorn(bench, "socket", {}, "--bind", f"unix:{path}")
        self.apps = {
            "plain app": self.gunicorn(bench, "plain", {}),
            "exporter in the app": self.gunicorn(bench, "exporter", self.exporter(bench)),
        }
        self.check_exporter(self.apps["exporter in the app"][1])
        self.backend = self.apps["plain app"][1]
        # Their own names: here they stand with the app behind them.
        self.behind = {}
        for peer in bench.peers.values():
            if peer.name in ["redcar", "baseline", "haproxy", "nginx"]:
                self.behind[peer.name] = self.start(bench, peer), self.apps["plain app"][0]
            if peer.name == "redcar":
                running = self.start(bench, peer, socket=f"unix:{path}")
                self.behind["redcar, Unix socket"] = running, by_socket[0]
        self.running = {name: running for name, (running, _) in self.behind.items()}

    def check_exporter(self, port):
        """That the exporter counts: a request, then its page."""
        measure.exchange(port, b"GET / HTTP/1.0\r\n\r\n")
        _, page = measure.exchange(port, b"GET /metrics HTTP/1.0\r\n\r\n")
        if b'flask_http_request_total{method="GET",status="200"}' not in page:
            raise Failure(f"the exporter in the app does not count: {page[:500]!r}")

    def exporter(self, bench):
        """What the exporter needs with several workers: a directory, and a port for its page."""
        shared = bench.directory / "multiproc"
        shared.mkdir(exist_ok=True)
        return {"EXPORTER": "1", "PROMETHEUS_MULTIPROC_DIR": str(shared)}

    def gunicorn(self, bench, name, env, *more):
        port = free_port()
        command = [
            bench.python,
            "-m",
            "gunicorn",
            "--workers",
            "2",
            *self.worker,
            "--bind",
            f"127.0.0.1:{port}",
            *more,
            "--chdir",
            bench.here,
            "--log-level",
            "error",
            "--config",
            "python:flask_app" if env else bench.write("plain.conf.py", ""),
            "flask_app:app",
        ]
        env = env | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(bench.here)}
        return bench.processes.start(f"flask-{name}", command, bench.proxy_cores, port, env), port

    def check(self, bench, peer, spec):
        _, response = measure.exchange(spec.port, b"GET / HTTP/1.0\r\n\r\n")
        if not response.endswith(b"hello"):
            raise Failure(f"the app does not answer through it: {response[:100]!r}")

    def names(self):
        return [*self.running, *self.apps]

    def measure(self, bench, name):
        if name in self.apps:
            app, port = self.apps[name]
            others = []
        else:
            running, app = self.behind[name]
            port, others = running.port, [running.process]
        load = lambda: measure.wrk(bench, port, "/", bench.seconds, 16)
        return measure.accounted(app, load, *others)
