"""SIGTERM under load, for every protocol: nothing fails but new connections after the listener
closed."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import h2_frames as f
from helpers import wait_until
from peers import OK, Backend, Ended, answering, client, outcomes
from test_websocket import dial, python_server

VISITORS = 8


def visit_http1(port, stop):
    """Requests on one connection until the sidecar says close; how many were answered."""
    count = 0
    with client(port) as wire:
        while not stop.is_set():
            wire.send(b"POST /load HTTP/1.1\r\nHost: app\r\nContent-Length: 5\r\n\r\nhello")
            answer = wire.answer()
            assert (answer.status, answer.body) == (200, b"ok")
            count += 1
            if (answer.get("connection") or "").lower() == "close":
                break
    return count


def visit_http2(port, stop):
    """Requests on one connection until GOAWAY; each stream up to its last is answered."""
    count, stream = 0, 1
    with f.Connection(port) as c:
        while not any(x.kind == f.GOAWAY for x in c.seen):
            c.request(stream, c.fields(path="/load"))
            ended = c.wait_for(
                lambda x, s=stream: (x.stream == s and x.ends_stream()) or x.kind == f.GOAWAY,
                "an answer or GOAWAY",
            )
            if ended.kind == f.GOAWAY:
                break
            count, stream = count + 1, stream + 2
        last = c.seen[-1]
        return count + finish(c, stream, int.from_bytes(last.payload[:4], "big") & 0x7FFFFFFF)


def finish(c, stream, last):
    """The stream that was open when GOAWAY came is answered, unless it is above the last one."""
    done = any(x.stream == stream and x.ends_stream() for x in c.seen)
    if done:
        return 1
    while True:
        found = c.next()
        if found is None:
            goaways = [x for x in c.seen if x.kind == f.GOAWAY]
            final = int.from_bytes(goaways[-1].payload[:4], "big")
            assert stream > final, f"stream {stream} was lost{c.story()}"
            return 0
        if found.stream == stream and found.ends_stream():
            return 1


def drain_under(visit, proxy):
    """Runs visitors, drains in the middle; the sum of what they saw answered is what is counted."""
    with Backend(answering(OK)) as backend:
        sidecar = proxy(backend.upstream, "--last-scrape", "on")
        stop = threading.Event()
        with ThreadPoolExecutor(VISITORS) as pool:
            visitors = [pool.submit(visit, sidecar.port, stop) for _ in range(VISITORS)]
            wait_until(
                lambda: (
                    sidecar.samples().total("http_requests_total") > 300
                    or any(v.done() for v in visitors)
                ),
                "traffic flows",
            )
            sidecar.signal()
            # A scrape holds the exit back for a moment; it is the last one.
            counts = [v.result(20) for v in visitors]
        samples = sidecar.samples()
        assert sidecar.wait_for_exit() == 0
        return sum(counts), samples, backend


def test_http1_under_load_drains_without_a_failed_request(proxy):
    seen, samples, backend = drain_under(visit_http1, proxy)
    assert outcomes(samples) == {("POST", "200", ""): seen}
    assert len(backend.requests) == seen


def test_http2_under_load_drains_without_a_failed_request(proxy):
    seen, samples, backend = drain_under(visit_http2, proxy)
    assert outcomes(samples) == {("GET", "200", ""): seen}
    assert len(backend.requests) == seen


def test_tunnels_under_load_are_held_until_they_end(proxy):
    with python_server() as server:
        sidecar = proxy(f"127.0.0.1:{server}", "--shutdown-timeout", "20s", "--last-scrape", "on")
        sockets = [dial(sidecar.port) for _ in range(VISITORS)]
        sidecar.signal()
        wait_until(lambda: sidecar.readyz() == 503, "/readyz says 503")
        for n in range(20):
            for socket in sockets:
                socket.send(f"message {n}")
                assert socket.recv(timeout=10) == f"message {n}"
        assert sidecar.samples().total("http_upgraded_connections_active") == VISITORS
        for socket in sockets:
            socket.close()
        # The scrape above makes it wait for another one.
        wait_until(
            lambda: any("last scrape" in line["message"] for line in sidecar.log()),
            "the sidecar waits for a last scrape",
        )
        assert sidecar.samples().total("http_upgraded_connections_active") == 0
        assert sidecar.wait_for_exit() == 0


def test_a_connection_that_is_idle_when_the_drain_begins_is_closed(proxy):
    with Backend() as backend:
        sidecar = proxy(backend.upstream)
        with client(sidecar.port) as wire:
            wire.send(b"GET / HTTP/1.1\r\nHost: app\r\n\r\n")
            wire.answer()
            sidecar.signal()
            begun = time.monotonic()
            try:
                wire.head()
                raise AssertionError("an answer that nobody asked for")
            except Ended as end:
                assert end.how == "fin" and time.monotonic() - begun < 5
        assert sidecar.wait_for_exit() == 0
