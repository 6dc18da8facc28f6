"""Workers and the whole app die; the numbers and the clients say how."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
from helpers import PINNED, KeepAlive, answer_of, connect, exchange, read_all, wait_until

STREAM = b"GET /stream?chunks=100&pause=0.2%s HTTP/1.1\r\nHost: app\r\n\r\n"


@pytest.mark.parametrize("worker_class", ["sync", "gthread"])
def test_a_worker_killed_mid_request_shows_as_connection_terminated(
    gunicorn, proxy, prometheus, worker_class
):
    app = gunicorn(worker_class)
    sidecar = proxy(app.upstream, *PINNED)
    server = prometheus(sidecar.metrics_port)
    # POST: a GET on a connection that was used before may be sent again, and then succeeds.
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(KeepAlive(sidecar.port), "POST", "/slow?seconds=60")
        wait_until(app.slow_workers, "the slow request reaches a worker")
        os.kill(app.slow_workers()[0], signal.SIGKILL)
        status, _ = slow.result(10)
    assert status == 502
    expected = {("/slow", "POST", "502", "connection_terminated"): 1}
    sidecar.wait_for_requests(expected)
    wait_until(lambda: server.requests() == expected, "Prometheus sees it")
    assert len(app.slow_workers()) == 1, "a POST was sent twice"
    # The other worker, and soon the new one, go on.
    assert KeepAlive(sidecar.port)("GET", "/ruok") == (200, b"imok")


@pytest.mark.parametrize("worker_class", ["sync", "gthread"])
@pytest.mark.parametrize("framing", ["chunked", "length"])
def test_a_worker_killed_mid_body_shows_as_an_incomplete_response(
    gunicorn, proxy, worker_class, framing
):
    app = gunicorn(worker_class)
    sidecar = proxy(app.upstream, *PINNED)
    with connect(sidecar.port) as s:
        s.sendall(STREAM % (b"&length=1" if framing == "length" else b""))
        got = b""
        while got.count(b"0123456789") < 2:
            chunk = s.recv(4096)
            assert chunk, got
            got += chunk
        head, _, body = got.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        chunked = b"chunked" in head.lower()
        assert chunked == (framing == "chunked")
        pid = int(body.split(b"\r\n")[1] if chunked else body[:10])
        os.kill(pid, signal.SIGKILL)
        # The client must be able to tell: neither a last chunk nor the announced length.
        try:
            got += read_all(s)
        except ConnectionResetError:
            pass
        assert not got.endswith(b"0\r\n\r\n")
        assert len(got.partition(b"\r\n\r\n")[2]) < 1010
    sidecar.wait_for_requests({("/stream", "GET", "200", "http_response_incomplete"): 1})
    assert sidecar.in_flight() == 0


@pytest.mark.parametrize("worker_class", ["sync", "gthread"])
def test_a_stopped_app_shows_as_connection_refused_until_it_is_back(gunicorn, proxy, worker_class):
    app = gunicorn(worker_class)
    sidecar = proxy(app.upstream, *PINNED)
    client = KeepAlive(sidecar.port)
    assert client("GET", "/ruok") == (200, b"imok")
    app.stop()
    for method in ("GET", "POST", "GET"):
        status, body = client(method, "/ruok", b"x" if method == "POST" else None)
        assert status == 502 and body
    samples = sidecar.wait_for_requests(
        {
            ("/ruok", "GET", "200", ""): 1,
            ("/ruok", "GET", "502", "connection_refused"): 2,
            ("/ruok", "POST", "502", "connection_refused"): 1,
        }
    )
    assert samples.total("redcar_upstream_up") == 0
    assert samples.total("redcar_upstream_connects_total", result="connection_refused") == 3
    app.start()
    assert client("GET", "/ruok") == (200, b"imok")
    assert sidecar.samples().total("redcar_upstream_up") == 1


def test_the_whole_app_killed_mid_request_ends_every_request_once(gunicorn, proxy):
    app = gunicorn("gthread")
    sidecar = proxy(app.upstream, *PINNED)
    with ThreadPoolExecutor(6) as pool:
        slow = [pool.submit(KeepAlive(sidecar.port), "POST", "/slow?seconds=60") for _ in range(6)]
        wait_until(lambda: len(app.slow_workers()) == 6, "all slow requests reach a worker")
        assert sidecar.in_flight() == 6
        app.kill()
        assert [s.result(10)[0] for s in slow] == [502] * 6
    sidecar.wait_for_requests({("/slow", "POST", "502", "connection_terminated"): 6})
    assert sidecar.in_flight() == 0


def test_the_apps_own_errors_are_told_from_the_sidecars(gunicorn, proxy):
    sidecar = proxy(gunicorn("sync").upstream, *PINNED)
    status, body = answer_of(
        exchange(sidecar.port, b"GET /fail HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    )
    assert status == 500 and b"Internal Server Error" in body
    sidecar.wait_for_requests({("/fail", "GET", "500", ""): 1})


def test_an_upstream_that_does_not_resolve_is_a_dns_error(proxy):
    sidecar = proxy("no-such-host.invalid:8000", *PINNED, "--connect-timeout", "30s")
    status, _ = KeepAlive(sidecar.port, timeout=40)("GET", "/ruok")
    assert status == 502
    sidecar.wait_for_requests({("/ruok", "GET", "502", "dns_error"): 1})
    assert sidecar.process.poll() is None


def test_an_upstream_that_is_down_at_the_start_is_a_warning(gunicorn, proxy):
    app = gunicorn("sync")
    app.stop()
    sidecar = proxy(app.upstream, *PINNED)
    wait_until(
        lambda: any(l["level"] == "WARN" and app.upstream in str(l) for l in sidecar.log()),
        "a warning that names the upstream",
    )
    assert sidecar.process.poll() is None and sidecar.readyz() == 200
    app.start()
    assert KeepAlive(sidecar.port)("GET", "/ruok") == (200, b"imok")


def test_a_slow_answer_times_out_where_that_is_asked_for(gunicorn, proxy):
    sidecar = proxy(gunicorn("sync").upstream, *PINNED, "--response-timeout", "300ms")
    status, _ = KeepAlive(sidecar.port)("GET", "/slow?seconds=3")
    assert status == 504
    sidecar.wait_for_requests({("/slow", "GET", "504", "http_response_timeout"): 1})
