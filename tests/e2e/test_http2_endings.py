"""HTTP/2 clients that do not play along: none of them holds a connection or a request for ever."""

import socket
import struct
import time
from pathlib import Path

import pytest
from h2_backend import H2Backend
from h2_frames import *  # noqa: F403
from helpers import wait_until
from peers import OK, Backend, answering, counts

BIG = b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n" + bytes(3_000_000)


def silent(port):
    """A client that has had one answer, and acknowledges nothing from then on."""
    c = Connection(port)
    c.request(1)
    c.gets_answer(1, 200)
    c.gets_body(1)
    c.react = lambda _frame: None
    return c


def test_an_idle_client_that_does_not_acknowledge_goaway_is_closed(proxy):
    with Backend(answering(OK)) as backend:
        sidecar = proxy(backend.upstream, "--idle-timeout", "300ms")
        with silent(sidecar.port) as c:
            c.is_closed()
        goaways = [f for f in c.seen if f.kind == GOAWAY]
        assert [f.code() for f in goaways] == [NO_ERROR, NO_ERROR]
        assert struct.unpack(">I", goaways[-1].payload[:4]) == (1,), "the last stream that counts"
        wait_until(
            lambda: sidecar.samples().total("redcar_downstream_connections") == 0,
            "no connection is counted",
        )


def test_the_drain_does_not_wait_for_a_client_that_does_not_acknowledge(proxy):
    with Backend(answering(OK)) as backend:
        sidecar = proxy(backend.upstream)
        with silent(sidecar.port) as c:
            begun = time.monotonic()
            sidecar.signal()
            c.is_closed()
            assert sidecar.wait_for_exit() == 0
        # A second for the GOAWAY, and a lingering close of 5 s.
        assert time.monotonic() - begun < 10, "the shutdown would wait for 30 s"


def test_a_client_that_reads_nothing_at_all_is_closed(proxy):
    with Backend(answering(OK)) as backend:
        sidecar = proxy(backend.upstream, "--idle-timeout", "300ms")
        with Connection(sidecar.port) as c:
            c.socket.settimeout(0.5)
            pings = frame(PING, payload=bytes(8)) * 4096
            try:
                while True:
                    c.socket.sendall(pings)
            except OSError:
                pass  # Neither side can write any more, or the connection has ended.
            gauge = "redcar_downstream_connections"
            wait_until(lambda: sidecar.samples().total(gauge) == 0, "it is closed")


@pytest.mark.parametrize("http2", [False, True], ids=["http/1", "http/2"])
def test_a_window_that_stays_closed_is_not_waited_for_longer_than_an_idle_client(proxy, http2):
    def reply(connection, stream, request):
        connection.reply(stream, 200, bytes(3_000_000))

    with H2Backend(reply) if http2 else Backend(answering(BIG)) as backend:
        sidecar = proxy(backend.upstream, "--idle-timeout", "300ms")
        with Connection(sidecar.port, settings=((INITIAL_WINDOW, 0),)) as c:
            for n in range(10):
                c.request(1 + 2 * n)
            for _ in range(10):
                c.wait_for(lambda f: f.kind == RST_STREAM, "RST_STREAM")
            counts(sidecar, {("GET", "200", "downstream_timeout"): 10})
            assert sidecar.in_flight() == 0
            if not http2:
                wait_until(lambda: not backend.open, "the backend is let go")


def test_a_call_in_which_nobody_speaks_is_not_ended_by_the_idle_timeout(proxy):
    waiting = []

    with H2Backend(lambda c, stream, _: waiting.append((c, stream))) as backend:
        sidecar = proxy(backend.upstream, "--idle-timeout", "300ms")
        with Connection(sidecar.port) as c:
            c.request(1)
            wait_until(lambda: waiting, "the request arrives")
            with pytest.raises(TimeoutError):
                while c.next(timeout=1.5):
                    pass
            waiting[0][0].reply(waiting[0][1], 200, b"ok")
            c.gets_answer(1, 200)


def test_the_kernel_watches_over_silent_clients(proxy):
    """A client whose machine is gone says nothing; only keep-alive probes find that out."""
    with Backend() as backend:
        sidecar = proxy(backend.upstream)
        with socket.create_connection(("127.0.0.1", sidecar.port)) as c:
            ours = f":{sidecar.port:04X} 0100007F:{c.getsockname()[1]:04X} 01"

            def timer():
                lines = Path("/proc/net/tcp").read_text().splitlines()
                return next((x.split()[5][:2] for x in lines if ours in x), None)

            wait_until(lambda: timer() == "02", "a keep-alive timer runs")
