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


class IdleH2(Idle):
    """The same over HTTP/2, with prior knowledge, and as many that the figure is no noise."""

    h2 = True
    # The preface, empty SETTINGS, and `GET /` by the static table of HPACK.
    OPENING = (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
        + bytes([0, 0, 14, 1, 5, 0, 0, 0, 1, 0x82, 0x86, 0x84, 0x41, 9])
        + b"localhost"
    )
    ACKNOWLEDGEMENT = bytes([0, 0, 0, 4, 1, 0, 0, 0, 0])
    PING = bytes([0, 0, 8, 6, 0, 0, 0, 0, 0]) + b"sidecar!"

    def ask(self, one):
        """The one request of a connection; afterwards a PING, which is answered if it lives."""
        fresh = one not in self.opened
        self.opened.add(one)
        one.sendall(self.OPENING if fresh else self.PING)
        answer = b""
        while (b"hello" if fresh else b"sidecar!") not in answer:
            part = one.recv(4096)
            if not part:
                raise Failure(f"a connection was closed instead of answered: {answer}")
            answer += part
        if fresh:
            one.sendall(self.ACKNOWLEDGEMENT)

    def set_up(self, bench):
        self.opened = set()
        super().set_up(bench)


class Stuck(Workload):
    """Memory that recipients cost who ask for much and read nothing: what a proxy keeps for them
    in its own memory and in pipes. What is in the kernel's queues of sockets does not show; it is
    there with any proxy. A fresh process every round."""

    columns = [
        ("grown_mib", "MiB more", 1),
        ("rss_before_kib", "RSS before KiB", 0),
        ("rss_peak_kib", "RSS with them KiB", 0),
        ("pipes_kib", "in pipes KiB", 0),
    ]
    ratio = "grown_mib"
    most_rounds = 3
    RECIPIENTS = 500

    def set_up(self, bench):
        # A file of nothing: its pages are read from no disk, and all connections share them.
        with (bench.directory / "www" / "64m").open("wb") as file:
            file.truncate(64 << 20)
        self.start_backend(bench)
        self.running = {peer.name: peer for peer in self.chosen(bench)}
        self.title = f"{self.RECIPIENTS} {self.title}"

    def measure(self, bench, name):
        running = self.start(bench, self.running[name])
        pid = running.process.pid
        before, stuck = rss_kib(pid), []
        try:
            for _ in range(self.RECIPIENTS):
                one = socket.socket()
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
                one.settimeout(10)
                one.connect(("127.0.0.1", running.port))
                one.sendall(b"GET /64m HTTP/1.1\r\nHost: localhost\r\n\r\n")
                stuck.append(one)
            time.sleep(bench.settle_seconds)
            during, pipes = rss_kib(pid), measure.pipe_bytes(pid) // 1024
            if not stuck[0].recv(16).startswith(b"HTTP/1.1 200"):
                raise Failure(f"{name} does not answer")
        finally:
            for one in stuck:
                one.close()
        bench.processes.stop(running.process)
        return {
            "grown_mib": (during - before + pipes) / 1024,
            "rss_before_kib": before,
            "rss_peak_kib": during,
            "pipes_kib": pipes,
        }


class Beside(Workload):
    """Latency of small requests at a fixed rate beside uploads at full speed, on one worker. A turn
    of an upload is what they wait for."""

    columns = [
        ("p99_us", "p99 µs with", 0),
        ("p999_us", "p99.9 µs with", 0),
        ("alone_p99_us", "p99 µs without", 0),
        ("cpu_share", "of its core", 2),
    ]
    ratio = "p99_us"
    UPLOADS = 2

    def start_backend(self, bench):
        self.backend = free_port()
        command = [bench.python, bench.here / "uploads.py", "serve", self.backend]
        bench.processes.start("app", command, bench.load_core, self.backend)

    def measure(self, bench, name):
        running = self.running[name]
        rate = bench.rate or 500
        alone = measure.steady(bench, running.port, "/", rate, bench.seconds, 16)
        command = [bench.python, bench.here / "uploads.py", "send", running.port]
        uploads = [
            bench.processes.start(f"upload-{index}", command, bench.load_core, running.port)
            for index in range(self.UPLOADS)
        ]
        cpu = cpu_nanos(running.process.pid)
        beside = measure.steady(bench, running.port, "/", rate, bench.seconds, 16)
        cpu = cpu_nanos(running.process.pid) - cpu
        for upload in uploads:
            if upload.poll() is not None:
                raise Failure(f"{name} has ended an upload")
            bench.processes.stop(upload)
        return {
            "p99_us": beside["p99_us"],
            "p999_us": beside["p999_us"],
            "alone_p99_us": alone["p99_us"],
            "cpu_share": cpu / bench.seconds / 1e9,
        }


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
