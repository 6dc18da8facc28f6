"""Logs that nobody takes, and peers that would fill them: no line fails a request or the exit."""

import contextlib
import fcntl
import os
import signal
import ssl
import time
from concurrent.futures import ThreadPoolExecutor

import h2_frames as f
import pytest
import requests
from apps import App, uvicorn
from helpers import PROXY, Proxy, can_connect, exchange, free_port, wait_until
from peers import Backend, Stopwatch, client

MANY = 300
FEW = 20


@contextlib.contextmanager
def full_pipe(blocking):
    """The end to write to of a pipe that is full, and that nobody reads."""
    reader, writer = os.pipe()
    try:
        fcntl.fcntl(writer, fcntl.F_SETFL, os.O_NONBLOCK)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writer, bytes(1 << 12))
        if blocking:
            fcntl.fcntl(writer, fcntl.F_SETFL, 0)
        yield writer
    finally:
        os.close(reader)
        os.close(writer)


class Mute(Proxy):
    """A sidecar whose log cannot say where it listens."""

    def __init__(self, processes, upstream, *flags, before=(), **streams):
        self.port, self.metrics_port = free_port(), free_port()
        argv = [*before, PROXY, "--upstream", upstream, "--listen", f"127.0.0.1:{self.port}"]
        argv += ["--metrics", f"127.0.0.1:{self.metrics_port}", *flags]
        self.process = processes.spawn("proxy", argv, **streams)
        self.url = f"http://127.0.0.1:{self.port}"
        self.metrics_url = f"http://127.0.0.1:{self.metrics_port}"
        wait_until(self._listens, "the proxy listens")

    def _listens(self):
        assert self.process.poll() is None, f"it ended with {self.process.returncode}"
        return can_connect(self.port)


@contextlib.contextmanager
def broken_pipe():
    reader, writer = os.pipe()
    os.close(reader)
    try:
        yield writer
    finally:
        os.close(writer)


NOBODY = {
    "full device": lambda: open("/dev/full", "wb"),
    "broken pipe": broken_pipe,
    "full pipe": lambda: full_pipe(blocking=True),
    "full pipe that does not block": lambda: full_pipe(blocking=False),
}


@pytest.fixture(params=["closed", *NOBODY])
def without_log(request, processes):
    """Starts a sidecar whose standard error takes nothing."""
    if request.param == "closed":
        shell = ["sh", "-c", 'exec "$@" 2>&-', "sh"]
        yield lambda upstream, *flags: Mute(processes, upstream, *flags, before=shell)
    else:
        with NOBODY[request.param]() as stderr:
            yield lambda upstream, *flags: Mute(processes, upstream, *flags, stderr=stderr)


def test_a_log_that_nobody_takes_costs_no_request_and_no_exit(without_log, processes):
    """The app is down, comes, and goes; each is worth a line. The end has a request in work."""
    port = free_port()
    sidecar = without_log(f"127.0.0.1:{port}")
    post = lambda path: requests.post(sidecar.url + path, data=b"four", timeout=5)
    assert post("/upload").status_code == 502
    app = App(processes, uvicorn, port=port)
    assert [post("/upload").text for _ in range(3)] == ["4"] * 3
    processes.kill(app.process)
    assert post("/upload").status_code == 502
    App(processes, uvicorn, port=port)
    assert post("/upload").text == "4"
    with ThreadPoolExecutor() as pool:
        last = pool.submit(post, "/upload?seconds=0.7")
        time.sleep(0.3)  # So that it is in work; a scrape would hold the exit back.
        sidecar.signal()
        assert last.result().text == "4"
    assert sidecar.wait_for_exit(5) == 0


def test_an_access_log_that_nobody_reads_does_not_hold_the_exit(processes, nginx):
    with full_pipe(blocking=True) as pipe:
        flags = ["--access-log", "json", "--shutdown-timeout", "2s"]
        sidecar = Mute(processes, nginx.upstream, *flags, stdout=pipe)
        for _ in range(10):
            assert requests.get(sidecar.url, timeout=5).status_code == 200
        took = Stopwatch()
        sidecar.signal()
        assert sidecar.wait_for_exit(10) == 0
        assert took.seconds() < 4


def test_a_second_signal_ends_also_a_sidecar_whose_access_log_nobody_reads(processes, nginx):
    with full_pipe(blocking=True) as pipe:
        sidecar = Mute(processes, nginx.upstream, "--access-log", "json", stdout=pipe)
        for _ in range(10):
            assert requests.get(sidecar.url, timeout=5).status_code == 200
        sidecar.signal()
        wait_until(lambda: not can_connect(sidecar.port), "it drains")
        sidecar.signal(signal.SIGINT)
        sidecar.wait_for_exit(2)


# --- peers that would fill it ---------------------------------------------------------------------


def acknowledges_pings(sidecar):
    """None of them was sent."""
    with f.Connection(sidecar.port) as c:
        c.send(f.frame(f.PING, f.ACK, 0, bytes(8)) * 20_000)
        c.send(f.frame(f.PING, 0, 0, bytes(8)))
        with contextlib.suppress(TimeoutError):
            while c.next(1):
                pass


def breaks_http1(sidecar):
    for _ in range(MANY):
        exchange(sidecar.port, b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n")


def breaks_http2(sidecar):
    for _ in range(MANY):
        with f.Connection(sidecar.port) as c:
            c.request(1, [*c.fields(), ("Upper", "case")])
            with contextlib.suppress(TimeoutError):
                c.next(1)


def breaks_the_preface(sidecar):
    for _ in range(MANY):
        exchange(sidecar.port, f.PREFACE + b"\xff" * 100)


def vanishes(sidecar):
    for _ in range(MANY):
        with client(sidecar.port) as wire:
            wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf")


@pytest.mark.parametrize(
    "peer", [acknowledges_pings, breaks_http1, breaks_http2, breaks_the_preface, vanishes]
)
def test_a_client_does_not_fill_the_log(proxy, nginx, peer):
    sidecar = proxy(nginx.upstream)
    peer(sidecar)
    assert requests.get(sidecar.url, timeout=5).status_code == 200
    assert len(sidecar.log()) < FEW, f"{len(sidecar.log())} lines, such as {sidecar.log()[-1]}"


def test_a_client_does_not_fill_the_log_with_handshakes(proxy, nginx, pair):
    cert, key = pair
    sidecar = proxy(nginx.upstream, "--tls-cert", cert, "--tls-key", key)
    stranger = ssl.create_default_context()
    for _ in range(MANY):
        exchange(sidecar.port, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        with client(sidecar.port) as wire, contextlib.suppress(ssl.SSLError):
            stranger.wrap_socket(wire.socket, server_hostname="localhost")
    assert len(sidecar.log()) < FEW, f"{len(sidecar.log())} lines, such as {sidecar.log()[-1]}"


@pytest.mark.parametrize(
    "answer",
    [b"no http\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", b""],
    ids=["no http", "half an answer", "nothing"],
)
def test_an_app_does_not_fill_the_log(proxy, answer):
    with Backend(lambda wire: (wire.request(), wire.send(answer))) as app:
        sidecar = proxy(app.upstream)
        for _ in range(MANY):
            exchange(sidecar.port, b"POST / HTTP/1.0\r\nContent-Length: 0\r\n\r\n")
        assert len(sidecar.log()) < FEW, f"{len(sidecar.log())} lines, such as {sidecar.log()[-1]}"
