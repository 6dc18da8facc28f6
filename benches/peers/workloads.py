"""What is measured. A workload starts what it needs on fresh ports, then measures one peer at a
time; the caller interleaves the rounds. Figures of a round are numbers by name."""

import http.client
import resource
import socket
import statistics
import threading
import time

import config
import measure
from peers import Spec
from processes import Failure, cpu_nanos, free_port, rss_kib

SECOND_METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH"]


class Running:
    """A peer that was started: its process, and where it listens."""

    def __init__(self, peer, process, port, metrics):
        self.peer, self.process, self.port, self.metrics = peer, process, port, metrics
        # Before any load: only the checks have passed through it.
        self.idle_kib = rss_kib(process.pid)


class Workload:
    """The base: HTTP/1 in, HTTP/1 out, all peers together, one measurement per round."""

    h2 = False
    # (figure, heading, digits) of each column; `ratio` is the figure that peers are compared by.
    columns = [("cpu_us", "CPU µs/request", 1), ("per_second", "requests/s", 0),
               ("rss_before_kib", "RSS before KiB", 0), ("rss_peak_kib", "RSS peak KiB", 0),
               ("rss_after_kib", "RSS after KiB", 0)]
    ratio = "cpu_us"
    most_rounds = None

    def __init__(self, name, title):
        self.name, self.title = name, title
        self.running, self.cannot = {}, {}

    def set_up(self, bench):
        """Starts the backend and every peer that can do this."""
        self.start_backend(bench)
        for peer in self.chosen(bench):
            self.running[peer.name] = self.start(bench, peer)

    def chosen(self, bench):
        """The peers that can do this; the others are kept with their reason."""
        for peer in bench.peers.values():
            if self.name in peer.cannot:
                self.cannot[peer.name] = peer.cannot[self.name]
        return [peer for peer in bench.peers.values() if self.name not in peer.cannot]

    def start_backend(self, bench):
        """nginx on the load generator's core, in HTTP/1 and HTTP/2."""
        http1, h2 = free_port(), free_port()
        conf = bench.directory / "backend.conf"
        conf.write_text(config.backend(bench.directory, http1, h2))
        command = ["nginx", "-c", conf, "-e", bench.directory / "backend.err"]
        bench.processes.start("backend", command, bench.load_core, http1)
        self.backend = h2 if self.h2 else http1

    def start(self, bench, peer, **settings):
        """Starts a peer and checks that it does what it is measured for."""
        spec = Spec(bench.directory, peer.name, free_port(), free_port(), self.backend, self.h2,
                    bench.threads, **settings)
        launch = peer.launch(spec)
        process = bench.processes.start(peer.name, launch.command, bench.proxy_cores, spec.port,
                                        launch.env)
        self.check_soon(bench, peer, spec)
        return Running(peer, process, spec.port, spec.metrics)

    def check_soon(self, bench, peer, spec):
        """Checks until it holds: Traefik listens before it has read its routes."""
        deadline = time.monotonic() + 5
        while True:
            try:
                return self.check(bench, peer, spec)
            except (Failure, OSError) as error:
                if time.monotonic() > deadline:
                    raise Failure(f"{peer.name}, {self.name}: {error}") from error
                time.sleep(0.1)

    def check(self, bench, peer, spec):
        """That it forwards, and that its metrics are on."""
        measure.check(spec.port, self.h2)
        if peer.per_path:
            measure.check_series(spec.metrics)

    def names(self):
        """What one round measures, in order."""
        return list(self.running)

    def measure(self, bench, name):
        """Figures of one peer in one round."""
        running = self.running[name]
        self.load(bench, running.port, bench.warm_seconds)
        figures = measure.accounted(running.process,
                                    lambda: self.load(bench, running.port, bench.seconds))
        return figures | {"rss_before_kib": running.idle_kib}

    def load(self, bench, port, seconds):
        """Requests, and requests per second, of the load generator."""
        raise NotImplementedError


class Wrk(Workload):
    """A closed loop of 64 connections over HTTP/1."""

    def __init__(self, name, title, path, script=None, headers=()):
        super().__init__(name, title)
        self.path, self.script, self.headers = path, script, headers

    def load(self, bench, port, seconds):
        if seconds == 0:
            return 1, 0
        script = bench.write("load.lua", self.script) if self.script else None
        return measure.wrk(bench, port, self.path, seconds, script=script, headers=self.headers)


class H2(Workload):
    """Ten HTTP/2 connections with ten streams each, HTTP/2 to the backend, too."""

    h2 = True

    def load(self, bench, port, seconds):
        return (1, 0) if seconds == 0 else measure.h2load(bench, port, "/", seconds, grpc=False)


class Grpc(H2):
    """The same with unary gRPC calls to a server on grpcio."""

    def start_backend(self, bench):
        self.backend = free_port()
        command = [bench.python, bench.here / "grpc_backend.py", "serve", self.backend]
        bench.processes.start("grpc", command, bench.load_core, self.backend)

    def check(self, bench, peer, spec):
        measure.check_grpc(bench, spec.port)

    def load(self, bench, port, seconds):
        path = measure.GRPC_PATH
        return (1, 0) if seconds == 0 else measure.h2load(bench, port, path, seconds, grpc=True)


class Latency(Workload):
    """Latency at a fixed rate that all can carry who are half as fast as HAProxy."""

    columns = [("p50_us", "p50 µs", 0), ("p99_us", "p99 µs", 0), ("p999_us", "p99.9 µs", 0),
               ("added_p99_us", "added p99 µs", 0), ("carried", "carried", 2),
               ("cpu_us", "CPU µs/request", 1)]
    ratio = "p99_us"

    def set_up(self, bench):
        super().set_up(bench)
        self.rate = bench.rate or self.half_load(bench)
        self.title += f", {self.rate:.0f} requests/s"
        self.direct = {}

    def half_load(self, bench):
        """Half of what the slowest of the fast peers can carry."""
        fast = [self.running[name] for name in ["redcar", "haproxy"] if name in self.running]
        fast = fast or list(self.running.values())
        rates = [measure.wrk(bench, running.port, "/", 1)[1] for running in fast]
        return round(min(rates) / 2, -2)

    def names(self):
        return ["direct", *self.running]

    def measure(self, bench, name):
        port = self.backend if name == "direct" else self.running[name].port
        cpu = 0 if name == "direct" else cpu_nanos(self.running[name].process.pid)
        result = measure.steady(bench, port, "/", self.rate, bench.seconds)
        figures = {key: result[key] for key in ["p50_us", "p99_us", "p999_us"]}
        # Below 1, requests were not answered in time: this rate is above saturation.
        figures["carried"] = result["answered"] / (self.rate * bench.seconds)
        if name == "direct":
            self.direct = figures
        else:
            cpu = cpu_nanos(self.running[name].process.pid) - cpu
            figures["cpu_us"] = cpu / max(1, result["answered"]) / 1000
            figures["added_p99_us"] = figures["p99_us"] - self.direct["p99_us"]
        return figures


class Fairness(Workload):
    """How evenly 64 connections in a closed loop are served."""

    columns = [("least", "least ÷ mean", 3), ("most", "most ÷ mean", 3),
               ("jain", "Jain's index", 4), ("p99_us", "p99 µs", 0), ("p999_us", "p99.9 µs", 0)]
    ratio = "p999_us"

    def measure(self, bench, name):
        port = self.running[name].port
        result = measure.steady(bench, port, "/", 0, bench.seconds)
        counts = result["per_connection"]
        mean = statistics.mean(counts)
        # 1 when all are served alike, 1/n when one gets everything.
        jain = sum(counts) ** 2 / (len(counts) * sum(count * count for count in counts))
        return {"least": min(counts) / mean, "most": max(counts) / mean, "jain": jain,
                "p99_us": result["p99_us"], "p999_us": result["p999_us"]}


class SystemCalls(Workload):
    """System calls per request, counted by strace, which slows the peer but counts truly."""

    columns = [("calls", "calls/request", 2), ("socket", "socket", 2), ("wait", "waiting", 2),
               ("timer", "timers", 2), ("other", "other", 2)]
    ratio = "calls"
    most_rounds = 1
    KINDS = {"socket": ["read", "write", "readv", "writev", "recvfrom", "sendto", "recvmsg",
                        "sendmsg", "accept4", "connect", "close", "shutdown", "splice",
                        "getsockopt", "setsockopt", "socket"],
             "wait": ["epoll_wait", "epoll_pwait", "epoll_pwait2", "epoll_ctl", "futex"],
             "timer": ["timerfd_settime", "nanosleep", "clock_nanosleep", "clock_gettime"]}

    def measure(self, bench, name):
        running = self.running[name]
        calls = measure.system_calls(bench, running.process,
                                     lambda: measure.wrk(bench, running.port, "/", 1))
        figures = {"calls": sum(calls.values())}
        for kind, members in self.KINDS.items():
            figures[kind] = sum(calls.get(member, 0) for member in members)
        figures["other"] = figures["calls"] - sum(figures[kind] for kind in self.KINDS)
        # Each by itself is in the JSON.
        return figures | {f"call_{name}": count for name, count in calls.items()}


class Idle(Workload):
    """Memory of keep-alive connections that had one request each. A fresh process every round:
    a second crowd would live in what the first one left."""

    columns = [("kib_each", "KiB RSS/connection", 2), ("rss_before_kib", "RSS before KiB", 0),
               ("rss_peak_kib", "RSS with them KiB", 0), ("rss_after_kib", "RSS after KiB", 0),
               ("idle_cpu_us", "CPU µs/s while idle", 0)]
    ratio = "kib_each"
    most_rounds = 3

    def set_up(self, bench):
        self.start_backend(bench)
        self.running = {peer.name: peer for peer in self.chosen(bench)}
        self.title = self.title.format(bench.idle_connections)

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
        return {"kib_each": (during - before) / bench.idle_connections, "rss_before_kib": before,
                "rss_peak_kib": during, "rss_after_kib": after, "idle_cpu_us": cpu}

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

    columns = [("cpu_ms", "CPU ms/scrape", 2), ("first_byte_ms", "first byte ms", 2),
               ("page_kib", "sent KiB", 0), ("series", "series", 0),
               ("p99_without_us", "p99 µs without", 0), ("p99_with_us", "p99 µs with", 0),
               ("with_ratio", "with ÷ without", 2)]
    ratio = "cpu_ms"

    def chosen(self, bench):
        for peer in bench.peers.values():
            if not peer.per_path:
                self.cannot[peer.name] = "it has no series by path"
        return [peer for peer in bench.peers.values() if peer.per_path]

    def set_up(self, bench):
        super().set_up(bench)
        self.title = self.title.format(f"{bench.series:,}")

    def start(self, bench, peer, **settings):
        paths = [f"/series/{letter}{other}/list" for letter in "abcdefghij"
                 for other in "abcdefghij"]
        paths = paths[:max(1, bench.series // 50)]
        # Pinned, so that no build of redcar makes one label of several paths.
        pins = [word for path in paths for word in ("--route", path)]
        if peer.name in ["redcar", "baseline"]:
            settings["extra"] = pins
        running = super().start(bench, peer, **settings)
        client = http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)
        for path in paths:
            for method in SECOND_METHODS:
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
        return {"cpu_ms": cpu, "first_byte_ms": statistics.median(s[0] for s in scrapes) * 1000,
                "page_kib": scrapes[-1][1] / 1024, "series": series, "p99_without_us": without,
                "p99_with_us": with_scrapes, "with_ratio": with_scrapes / without}

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
    """Flask on Gunicorn with two workers: plain, with the exporter in process, and behind us.
    Everything but the load generator shares one core, so that what costs CPU costs requests."""

    columns = [("per_second", "requests/s", 0), ("cpu_us", "CPU µs/request", 1),
               ("rss_peak_kib", "RSS peak KiB", 0)]
    ratio = "per_second"

    def __init__(self, name, title, worker):
        super().__init__(name, title)
        self.worker = worker

    def set_up(self, bench):
        self.apps = {"plain app": self.gunicorn(bench, "plain", {}),
                     "exporter in the app": self.gunicorn(bench, "exporter", self.exporter(bench))}
        self.check_exporter(self.apps["exporter in the app"][1])
        self.backend = self.apps["plain app"][1]
        for peer in bench.peers.values():
            if peer.name in ["redcar", "baseline"]:
                running = self.start(bench, peer)
                # Its own name: here it stands with the app behind it.
                self.running[peer.name] = running

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

    def gunicorn(self, bench, name, env):
        port = free_port()
        command = [bench.python, "-m", "gunicorn", "--workers", "2", *self.worker,
                   "--bind", f"127.0.0.1:{port}", "--chdir", bench.here, "--log-level", "error", "--config",
                   "python:flask_app" if env else bench.write("plain.conf.py", ""),
                   "flask_app:app"]
        env = env | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(bench.here)}
        return bench.processes.start(f"flask-{name}", command, bench.proxy_cores, port, env), port

    def check(self, bench, peer, spec):
        _, response = measure.exchange(spec.port, b"GET / HTTP/1.0\r\n\r\n")
        if not response.endswith(b"hello"):
            raise Failure(f"the app does not answer through it: {response[:100]!r}")

    def names(self):
        return [*self.running, *self.apps]

    def measure(self, bench, name):
        app, port = self.apps.get(name) or self.apps["plain app"]
        if name in self.running:
            port = self.running[name].port
        return measure.accounted(app, lambda: measure.wrk(bench, port, "/", bench.seconds, 16))


def raise_open_files():
    """As many open files as the system gives; what is started inherits it. Returns how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in [max(65536, hard), hard]:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
            return wanted
        except (ValueError, OSError):
            pass  # only the privileged may go over the hard limit
    raise Failure("the limit of open files cannot be set")


def most_idle(open_files):
    """Idle connections at most: a proxy may hold two descriptors for each, and some more."""
    return min(10_000, (open_files - 1000) // 2)


UPLOAD = 'wrk.method = "POST"\nwrk.body = string.rep("x", 1048576)\n'


def catalogue():
    """Every workload by name, in the order of the report."""
    found = [
        Wrk("small", "small GET, 64 keep-alive connections", "/"),
        Wrk("10k", "10 KB down, 64 connections", "/10k"),
        Wrk("100k", "100 KB down, 64 connections", "/100k"),
        Wrk("1m", "1 MB down, 64 connections", "/1m"),
        Wrk("1m-up", "1 MB up, 64 connections", "/upload", script=UPLOAD),
        Wrk("connect", "a connection for each request, 64 at a time", "/",
            headers=["Connection: close"]),
        H2("h2c", "HTTP/2 on both sides, 10 connections of 10 streams"),
        Grpc("grpc", "unary gRPC, 10 connections of 10 streams"),
        Latency("latency", "small GET at a fixed rate"),
        Fairness("fairness", "64 connections in a closed loop"),
        SystemCalls("syscalls", "system calls, small GET, 64 connections"),
        Idle("idle", "{:,} idle keep-alive connections"),
        Scrape("scrape", "a scrape of {} series"),
        Flask("flask", "Flask on Gunicorn, two sync workers, 16 connections, one core", []),
        Flask("flask-threads", "Flask on Gunicorn, two workers of 8 threads, 16 connections,"
              " one core", ["--worker-class", "gthread", "--threads", "8"]),
    ]
    return {workload.name: workload for workload in found}
