"""What is measured: the rows that put one kind of load on every peer. A workload starts what it
needs on fresh ports, then measures one peer at a time; the caller interleaves the rounds. Figures
of a round are numbers by name."""

import statistics
import time

import measure
from peers import Spec
from processes import Failure, cpu_nanos, free_port, rss_kib

import config


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
    columns = [
        ("cpu_us", "CPU µs/request", 1),
        ("per_second", "requests/s", 0),
        ("rss_before_kib", "RSS before KiB", 0),
        ("rss_peak_kib", "RSS peak KiB", 0),
        ("rss_after_kib", "RSS after KiB", 0),
    ]
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
        spec = Spec(
            bench.directory,
            peer.name,
            free_port(),
            free_port(),
            self.backend,
            self.h2,
            bench.threads,
            **settings,
        )
        launch = peer.launch(spec)
        process = bench.processes.start(
            peer.name, launch.command, bench.proxy_cores, spec.port, launch.env
        )
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
        figures = measure.accounted(
            running.process, lambda: self.load(bench, running.port, bench.seconds)
        )
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

    columns = [
        ("p50_us", "p50 µs", 0),
        ("p99_us", "p99 µs", 0),
        ("p999_us", "p99.9 µs", 0),
        ("added_p99_us", "added p99 µs", 0),
        ("carried", "carried", 2),
        ("cpu_us", "CPU µs/request", 1),
    ]
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

    columns = [
        ("least", "least ÷ mean", 3),
        ("most", "most ÷ mean", 3),
        ("jain", "Jain's index", 4),
        ("p99_us", "p99 µs", 0),
        ("p999_us", "p99.9 µs", 0),
    ]
    ratio = "p999_us"

    def measure(self, bench, name):
        port = self.running[name].port
        result = measure.steady(bench, port, "/", 0, bench.seconds)
        counts = result["per_connection"]
        mean = statistics.mean(counts)
        # 1 when all are served alike, 1/n when one gets everything.
        jain = sum(counts) ** 2 / (len(counts) * sum(count * count for count in counts))
        return {
            "least": min(counts) / mean,
            "most": max(counts) / mean,
            "jain": jain,
            "p99_us": result["p99_us"],
            "p999_us": result["p999_us"],
        }


class SystemCalls(Workload):
    """System calls per request, counted by strace, which slows the peer but counts truly."""

    columns = [
        ("calls", "calls/request", 2),
        ("socket", "socket", 2),
        ("wait", "waiting", 2),
        ("timer", "timers", 2),
        ("other", "other", 2),
    ]
    ratio = "calls"
    most_rounds = 1
    KINDS = {
        "socket": [
            "read",
            "write",
            "readv",
            "writev",
            "recvfrom",
            "sendto",
            "recvmsg",
            "sendmsg",
            "accept4",
            "connect",
            "close",
            "shutdown",
            "splice",
            "getsockopt",
            "setsockopt",
            "socket",
        ],
        "wait": ["epoll_wait", "epoll_pwait", "epoll_pwait2", "epoll_ctl", "futex"],
        "timer": ["timerfd_settime", "nanosleep", "clock_nanosleep", "clock_gettime"],
    }

    def measure(self, bench, name):
        running = self.running[name]
        calls = measure.system_calls(
            bench, running.process, lambda: measure.wrk(bench, running.port, "/", 1)
        )
        figures = {"calls": sum(calls.values())}
        for kind, members in self.KINDS.items():
            figures[kind] = sum(calls.get(member, 0) for member in members)
        figures["other"] = figures["calls"] - sum(figures[kind] for kind in self.KINDS)
        # Each by itself is in the JSON.
        return figures | {f"call_{name}": count for name, count in calls.items()}
