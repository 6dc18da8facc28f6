"""Large bodies, slow peers and floods: memory stays bounded and a good client is served."""

import contextlib
import re
import resource
import select
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import h2_frames as f
import pytest
from helpers import connect, run, tool, wait_until
from peers import OK, Backend, Ended, client

pytestmark = pytest.mark.alone
MIB = 1 << 20
GET = b"GET /good HTTP/1.1\r\nHost: app\r\n\r\n"


def is_served(port, within=5):
    """A good client gets its answer in time."""
    begun = time.monotonic()
    with client(port, timeout=within) as wire:
        wire.send(GET)
        assert wire.answer().body == b"ok"
    return time.monotonic() - begun


class Peak:
    """The most memory a sidecar had while the block ran, above what it had before."""

    def __init__(self, sidecar):
        self.sidecar = sidecar

    def __enter__(self):
        self.before = self.highest = self.sidecar.rss()
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def watch(self):
        while not self.stop.wait(0.02):
            self.highest = max(self.highest, self.sidecar.rss())

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()

    def grew(self):
        return self.highest - self.before


def downloads(size):
    """A backend that sends `size` zeros, and swallows uploads."""

    def script(wire):
        while True:
            head = wire.head()
            if head.start.startswith("GET /good"):
                wire.send(OK)
            elif head.start.startswith("GET"):
                wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
                piece = bytes(MIB)
                for _ in range(size // MIB):
                    if not wire.send(piece):
                        return
            else:
                swallow(wire, head)
                wire.send(OK)

    return Backend(script)


def swallow(wire, head):
    """Reads a body of announced length without keeping it."""
    left = int(head.get("content-length") or 0) - len(wire.pending)
    wire.pending, wire.tap = b"", None
    while left > 0:
        chunk = wire.socket.recv(min(left, MIB))
        if not chunk:
            raise Ended("fin")
        left -= len(chunk)


@pytest.mark.parametrize("protocol", ["--http1.1", "--http2-prior-knowledge"])
def test_bodies_of_two_gigabytes_pass_in_constant_memory(proxy, protocol):
    size = 2 << 30
    with downloads(size) as backend:
        sidecar = proxy(backend.upstream)
        assert is_served(sidecar.port) < 5
        curl = [
            tool("curl"),
            "-sS",
            protocol,
            "-o",
            "/dev/null",
            "-w",
            "%{size_download} %{http_code}",
        ]
        with Peak(sidecar) as peak:
            down = run([*curl, f"{sidecar.url}/down"], timeout=100)
            assert down.stdout == f"{size} 200", down
            up = run(
                [
                    "sh",
                    "-c",
                    f"head -c {size} /dev/zero | {tool('curl')} -sS {protocol} "
                    f"-T - -H 'Content-Length: {size}' -H 'Transfer-Encoding:' -H Expect: {sidecar.url}/up",
                ],
                timeout=100,
            )
            assert up.stdout == "ok", up
        assert peak.grew() < 16 * MIB
        samples = sidecar.samples()
        assert samples.total("http_response_body_bytes_total", path="/down") == size
        assert samples.total("http_request_body_bytes_total", path="/up") == size


def test_a_client_that_reads_a_kilobyte_a_second_does_not_make_us_buffer(proxy):
    with downloads(256 * MIB) as backend:
        sidecar = proxy(backend.upstream)
        with Peak(sidecar) as peak, contextlib.ExitStack() as open_sockets:
            slow = []
            for _ in range(20):
                s = socket.socket()
                s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                s.connect(("127.0.0.1", sidecar.port))
                s.sendall(b"GET /down HTTP/1.1\r\nHost: app\r\n\r\n")
                slow.append(open_sockets.enter_context(s))
            for _ in range(3):
                for s in slow:
                    assert s.recv(1024)
                time.sleep(1)  # The pace of these clients.
            assert is_served(sidecar.port) < 1
            sent = sidecar.samples().total("redcar_upstream_connections", state="active")
            assert sent == 20
        # 20 clients; each may hold a buffer or two, and the kernel's are not ours.
        assert peak.grew() < 20 * MIB, peak.grew()


def test_a_thousand_slow_uploads_do_not_starve_the_rest(proxy):
    raise_limit(8192)
    with downloads(0) as backend:
        sidecar = proxy(backend.upstream)
        with Peak(sidecar) as peak, contextlib.ExitStack() as open_sockets:
            slow = [open_sockets.enter_context(connect(sidecar.port)) for _ in range(1000)]
            for s in slow:
                s.sendall(b"POST /up HTTP/1.1\r\nHost: app\r\nContent-Length: 1000\r\n\r\n")
            wait_until(lambda: sidecar.in_flight() == 1000, "all uploads run", 30)
            times = []
            for _ in range(5):
                for s in slow:
                    s.sendall(b"x")
                times.append(is_served(sidecar.port))
            assert max(times) < 1, times
            assert sidecar.in_flight() == 1000
        assert peak.grew() < 64 * MIB
        wait_until(lambda: sidecar.in_flight() == 0, "nothing is in flight", 30)


def raise_limit(count):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))


def test_9900_idle_sockets_cost_little_and_a_good_client_is_served(proxy):
    """As many as 20,000 descriptors allow, of which each request may need two."""
    count = 9_900
    raise_limit(count + 500)
    with Backend() as backend:
        sidecar = proxy(
            backend.upstream, "--max-connections", count + 100, "--header-timeout", "60s"
        )
        with Peak(sidecar) as peak, contextlib.ExitStack() as open_sockets:
            for _ in range(count):
                open_sockets.enter_context(connect(sidecar.port))
            wait_until(
                lambda: sidecar.samples().total("redcar_downstream_connections") >= count,
                "all are accepted",
                30,
            )
            assert is_served(sidecar.port) < 1
        assert peak.grew() < 128 * MIB, f"{peak.grew() / count} bytes a connection"
        wait_until(
            lambda: sidecar.samples().total("redcar_downstream_connections") == 0,
            "all are gone",
            30,
        )


SLOW = {
    "slow headers": ["-H"],
    "slow bodies": ["-B"],
    "ranges": ["-R", "-a", "10", "-b", "3000"],
    "slow reading": ["-X", "-w", "512", "-y", "1024", "-n", "5", "-z", "32", "-k", "3"],
}


def test_slowhttptest_does_not_make_the_service_unavailable(proxy):
    """All its modes at once."""

    def attack(mode):
        argv = [tool("slowhttptest"), *mode, "-c", "500", "-r", "250", "-i", "2", "-l", "6"]
        done = run([*argv, "-p", "5", "-u", f"{sidecar.url}/slow"], timeout=60)
        text = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
        return re.findall(r"service available:\s*(\w+)", text), text[-2000:]

    with downloads(4 * MIB) as backend:
        sidecar = proxy(backend.upstream)
        with Peak(sidecar) as peak, ThreadPoolExecutor(len(SLOW)) as pool:
            attacks = {name: pool.submit(attack, mode) for name, mode in SLOW.items()}
        for name, (available, text) in ((name, a.result()) for name, a in attacks.items()):
            assert available and set(available) == {"YES"}, f"{name}: {text}"
        assert is_served(sidecar.port) < 1
        assert peak.grew() < 64 * MIB
    wait_until(lambda: sidecar.in_flight() == 0, "nothing is in flight", 20)


# --- floods of HTTP/2 -----------------------------------------------------------------------------


def rapid_reset(c, n):
    stream = 1 + 2 * n
    c.send(f.frame(f.HEADERS, 0x5, stream, f.block(c.fields())) + f.rst_stream(stream))


def settings(c, n):
    c.send(f.frame(f.SETTINGS, payload=f.setting((f.MAX_STREAMS, 100))) * 50)


def pings(c, n):
    c.send(f.frame(f.PING, payload=bytes(8)) * 50)


def continuations(c, n):
    if n == 0:
        c.send(f.frame(f.HEADERS, f.END_STREAM, 1, f.block(c.fields())))
    c.send(f.frame(f.CONTINUATION, 0, 1, f.literal("x", "y" * 4000)))


def empty_continuations(c, n):
    if n == 0:
        c.send(f.frame(f.HEADERS, f.END_STREAM, 1, f.block(c.fields())))
    c.send(f.frame(f.CONTINUATION, 0, 1) * 50)


def empty_data(c, n):
    if n == 0:
        c.request(1, c.fields("POST"), f.END_HEADERS)
    c.send(f.frame(f.DATA, 0, 1) * 50)


def priorities(c, n):
    c.send(b"".join(f.priority(2 * i + 1) for i in range(n * 50, n * 50 + 50)))


def window_updates(c, n):
    c.send(f.window_update(0, 1) * 50)


def bad_streams(c, n):
    """MadeYouReset: requests that make the server reset them."""
    stream = 1 + 2 * n
    c.send(f.frame(f.HEADERS, 0x4, stream, f.block(c.fields("POST"))) + f.window_update(stream, 0))


FLOODS = [
    rapid_reset,
    settings,
    pings,
    continuations,
    empty_continuations,
    empty_data,
    priorities,
    window_updates,
    bad_streams,
]


@pytest.mark.parametrize("flood", FLOODS, ids=lambda flood: flood.__name__)
def test_a_flood_is_bounded_and_a_good_client_is_served(proxy, flood):
    with Backend() as backend:
        sidecar = proxy(backend.upstream)
        is_served(sidecar.port)
        with Peak(sidecar) as peak:
            attackers = [
                threading.Thread(target=attack, args=(sidecar.port, flood)) for _ in range(4)
            ]
            for attacker in attackers:
                attacker.start()
            times = [is_served(sidecar.port) for _ in range(10)]
            for attacker in attackers:
                attacker.join()
        assert max(times) < 3, times
        assert peak.grew() < 48 * MIB
        wait_until(lambda: sidecar.in_flight() == 0, "nothing is in flight", 20)
        assert len(backend.open) < 1000


def attack(port, flood):
    """Floods for two seconds, or until the server has had enough; does not read."""
    c = f.Connection(port)
    c.socket.settimeout(1)
    ends = time.monotonic() + 2
    for n in range(100_000):
        if time.monotonic() > ends:
            break
        before = len(c.sent)
        flood(c, n)
        del c.sent[: max(0, before - 10)]
        if is_over(c):
            break
    c.socket.close()


def is_over(c):
    """The server has closed, or reset the connection; what it said before was not read."""
    poll = select.poll()
    poll.register(c.socket, select.POLLRDHUP)
    return bool(poll.poll(0))


def test_a_client_with_zero_windows_does_not_make_us_buffer(proxy):
    with downloads(64 * MIB) as backend:
        sidecar = proxy(backend.upstream)
        with Peak(sidecar) as peak:
            attackers = []
            for _ in range(4):
                c = f.Connection(sidecar.port, settings=((f.INITIAL_WINDOW, 0),))
                for n in range(50):
                    c.request(1 + 2 * n, c.fields(path="/down"))
                attackers.append(c)
            wait_until(lambda: sidecar.in_flight() >= 150, "the streams hang", 20)
            for _ in range(5):
                assert is_served(sidecar.port) < 3
                time.sleep(0.2)  # Time to buffer, if it did.
            for c in attackers:
                c.socket.close()
        assert peak.grew() < 200 * (1 << 17) + 16 * MIB, peak.grew()
        wait_until(lambda: sidecar.in_flight() == 0, "nothing is in flight", 20)


def test_requests_that_are_reset_at_once_are_hardly_any_work_for_the_app(proxy):
    """Rapid reset. An app that does not notice the end of a connection works on, for nobody."""

    def deaf(wire):
        if wire.head().start.startswith("GET /good"):
            wire.send(OK)
        time.sleep(3)  # Works on, whoever left.

    with Backend(deaf) as backend:
        sidecar = proxy(backend.upstream)
        with f.Connection(sidecar.port) as c:
            limit = c.settings.get(f.MAX_STREAMS)
            for n in range(1000):
                rapid_reset(c, n)
                if is_over(c):
                    break
        wait_until(lambda: sidecar.in_flight() == 0, "nothing is in flight", 20)
        worked = sum(bool(s) for s in backend.streams)
        assert limit and worked <= 2 * limit
        assert is_served(sidecar.port) < 3
