"""Clients that go away, or only seem to."""

import socket
import time

import pytest
from helpers import PINNED, answer_of, connect, read_all, reset, wait_until

GONE = {("/slow", "GET", "499", "downstream_aborted"): 1}


def slow_request(sidecar, app, seconds):
    """A connection whose request a worker has begun."""
    s = connect(sidecar.port)
    s.sendall(b"GET /slow?seconds=%g HTTP/1.1\r\nHost: app\r\n\r\n" % seconds)
    wait_until(app.slow_workers, "the slow request reaches a worker")
    assert sidecar.in_flight() == 1
    return s


@pytest.mark.parametrize("worker_class", ["sync", "gthread"])
def test_a_client_that_resets_mid_request_is_a_499_at_once(gunicorn, proxy, worker_class):
    app = gunicorn(worker_class)
    sidecar = proxy(app.upstream, *PINNED)
    began = time.monotonic()
    reset(slow_request(sidecar, app, 5))
    sidecar.wait_for_requests(GONE, timeout=4)
    assert time.monotonic() - began < 4.5, "it was noticed only when the answer came"
    assert sidecar.in_flight() == 0


def test_a_client_that_closes_mid_request_is_a_499_once_the_answer_finds_nobody(gunicorn, proxy):
    app = gunicorn("sync")
    sidecar = proxy(app.upstream, *PINNED)
    slow_request(sidecar, app, 1.5).close()
    sidecar.wait_for_requests(GONE)
    assert sidecar.in_flight() == 0


@pytest.mark.parametrize("framing", ["", "&length=1"], ids=["chunked", "length"])
def test_a_client_that_closes_before_an_answer_in_pieces_is_aborted(gunicorn, proxy, framing):
    """The first piece brings the reset, so it is writing the next one that fails."""
    sidecar = proxy(gunicorn("gthread").upstream, *PINNED)
    s = connect(sidecar.port)
    request = f"GET /stream?wait=1&chunks=1&pause=0.01{framing} HTTP/1.1\r\nHost: app\r\n\r\n"
    s.sendall(request.encode())
    wait_until(lambda: sidecar.in_flight() == 1, "the request is in flight")
    s.close()
    wait_until(lambda: sidecar.samples().requests(), "the request is recorded")
    assert sidecar.samples().requests() == {("/stream", "GET", "499", "downstream_aborted"): 1}
    assert sidecar.in_flight() == 0


def test_a_client_that_half_closes_gets_its_answer(gunicorn, proxy):
    app = gunicorn("sync")
    sidecar = proxy(app.upstream, *PINNED)
    with slow_request(sidecar, app, 1) as s:
        s.shutdown(socket.SHUT_WR)
        assert answer_of(read_all(s)) == (200, b"done")
    sidecar.wait_for_requests({("/slow", "GET", "200", ""): 1})
    assert sidecar.in_flight() == 0


@pytest.mark.parametrize("leave", [reset, socket.socket.close], ids=["reset", "close"])
def test_a_client_that_leaves_mid_body_is_recorded_with_the_status_it_saw(gunicorn, proxy, leave):
    app = gunicorn("sync")
    sidecar = proxy(app.upstream, *PINNED)
    s = connect(sidecar.port)
    s.sendall(b"GET /stream?chunks=50&pause=0.05 HTTP/1.1\r\nHost: app\r\n\r\n")
    got = b""
    while b"0123456789" not in got:
        got += s.recv(4096)
    leave(s)
    sidecar.wait_for_requests({("/stream", "GET", "200", "downstream_aborted"): 1})
    assert sidecar.in_flight() == 0


def test_a_client_that_leaves_mid_upload_is_a_499(gunicorn, proxy):
    app = gunicorn("sync")
    sidecar = proxy(app.upstream, *PINNED)
    s = connect(sidecar.port)
    s.sendall(
        b"POST /upload HTTP/1.1\r\nHost: app\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 5000
    )
    wait_until(lambda: sidecar.in_flight() == 1, "the upload is in flight")
    s.close()
    sidecar.wait_for_requests({("/upload", "POST", "499", "downstream_aborted"): 1})
    assert sidecar.in_flight() == 0
