"""What Prometheus says equals what was sent."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from helpers import PINNED, KeepAlive, wait_until

# (method, path, body, how often) → (path label, method label, status)
TRAFFIC = [
    *((("GET", f"/users/{n}", None, 1), ("/users/{id}", "GET", "200")) for n in range(1, 41)),
    *((("GET", f"/users/{n}", None, 2), ("/users/{id}", "GET", "404")) for n in range(5001, 5011)),
    (("GET", "/users/7?page=2&q=a%20b", None, 3), ("/users/{id}", "GET", "200")),
    (("GET", "/ruok", None, 60), ("/ruok", "GET", "200")),
    (("HEAD", "/ruok", None, 5), ("/ruok", "HEAD", "200")),
    (("OPTIONS", "/ruok", None, 2), ("/ruok", "OPTIONS", "200")),
    (("DELETE", "/ruok", None, 4), ("/ruok", "DELETE", "405")),
    (("BREW", "/ruok", None, 3), ("/ruok", "_OTHER", "405")),
    (("GET", "/fail", None, 7), ("/fail", "GET", "500")),
    (("POST", "/upload", b"x" * 1000, 9), ("/upload", "POST", "200")),
    (("POST", "/upload", b"y" * 3_000_000, 2), ("/upload", "POST", "200")),
    (("GET", "/upload", None, 2), ("/upload", "GET", "405")),
    (("GET", "/stream?chunks=20", None, 4), ("/stream", "GET", "200")),
    (("GET", "/stream?chunks=20&length=1", None, 4), ("/stream", "GET", "200")),
    (("GET", "/slow?seconds=0.3", None, 3), ("/slow", "GET", "200")),
]


def send(port, traffic):
    """Sends a share of the traffic on one connection and returns what came back."""
    client = KeepAlive(port)
    for (method, path, body, times), (_, _, status) in traffic:
        for _ in range(times):
            got, answer = client(method, path, body)
            assert str(got) == status, (method, path, got, answer)
            if path == "/upload" and method == "POST":
                assert answer == str(len(body)).encode()
            if path.startswith("/stream"):
                assert len(answer) == 210
    client.close()


@pytest.mark.parametrize("worker_class", ["sync", "gthread"])
def test_counts_per_path_method_and_status_equal_the_requests_sent(
    gunicorn, proxy, prometheus, worker_class
):
    sidecar = proxy(gunicorn(worker_class).upstream, *PINNED)
    server = prometheus(sidecar.metrics_port)
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(send, sidecar.port, TRAFFIC[n::4]) for n in range(4)]:
            done.result()

    expected = {}
    for (_, _, _, times), (path, method, status) in TRAFFIC:
        key = (path, method, status, "")
        expected[key] = expected.get(key, 0) + times
    total = sum(expected.values())
    wait_until(
        lambda: server.value("sum(http_requests_total)") == total, f"Prometheus sees {total}"
    )
    assert server.requests() == expected
    assert server.requests("http_request_duration_seconds_count") == expected
    assert server.requests('http_request_duration_seconds_bucket{le="+Inf"}') == expected
    wait_until(lambda: server.value("http_requests_in_flight") == 0, "nothing is in flight")
    assert server.value('http_request_body_bytes_total{path="/upload"}') == 6_009_000
    assert server.value('http_response_body_bytes_total{path="/stream"}') == 8 * 210
    assert server.value('http_response_body_bytes_total{path="/ruok"} >= 240') is not None
    # Three requests of 0.3 s, and nothing that was not that slow.
    slow = 'http_request_duration_seconds_%s{path="/slow"}'
    assert 0.9 <= server.value(slow % "sum") < 3
    assert server.value('http_request_duration_seconds_bucket{path="/slow",le="0.25"}') == 0
    assert server.value("redcar_upstream_up") == 1
    assert server.query('{__name__=~"http_.*",path=~".*[0-9].*"}') == []


def test_requests_on_a_unix_socket_are_counted_like_any_others(gunicorn, proxy, tmp_path):
    app = gunicorn("gthread", bind=f"unix:{tmp_path}/app.sock")
    sidecar = proxy(f"unix:{tmp_path}/app.sock", *PINNED)
    client = KeepAlive(sidecar.port)
    for _ in range(5):
        assert client("GET", "/ruok") == (200, b"imok")
    assert client("POST", "/upload", b"x" * 100_000) == (200, b"100000")
    sidecar.wait_for_requests({("/ruok", "GET", "200", ""): 5, ("/upload", "POST", "200", ""): 1})
    app.stop()
    # The app takes its socket file along.
    assert client("GET", "/ruok")[0] == 503
    samples = sidecar.samples()
    assert samples.total("http_requests_total", status="200") == 6
    assert samples.total("http_requests_total", status="503") == 1
    assert samples.total("http_requests_total", error="") == 6


def test_a_pinned_route_names_its_paths(gunicorn, proxy):
    sidecar = proxy(gunicorn("sync").upstream, "--route", "/{anything}/{number}")
    client = KeepAlive(sidecar.port)
    assert client("GET", "/users/12")[0] == 200
    assert client("GET", "/nothing/here")[0] == 404
    sidecar.wait_for_requests(
        {
            ("/{anything}/{number}", "GET", "200", ""): 1,
            ("/{anything}/{number}", "GET", "404", ""): 1,
        }
    )


@pytest.mark.alone
def test_starting_the_sidecar_does_not_occupy_a_sync_worker(gunicorn, proxy):
    """A sync worker that accepted a connection waits for its request and serves nobody else.

    So a connection that the sidecar opens ahead of need makes an app of one worker deaf, also to
    its own liveness probe, which does not come through the sidecar.
    """
    app = gunicorn("sync", workers=1)
    sidecar = proxy(app.upstream, *PINNED)
    wait_until(lambda: sidecar.samples().total("redcar_upstream_up") == 1, "the upstream is up")
    began = time.monotonic()
    direct = KeepAlive(int(app.upstream.rsplit(":", 1)[1]))
    assert direct("GET", "/ruok") == (200, b"imok")
    assert time.monotonic() - began < 0.5, "the app waited for the sidecar's idle connection"


@pytest.mark.alone
def test_simultaneous_requests_to_one_sync_worker_wait_only_for_each_other(gunicorn, proxy):
    sidecar = proxy(gunicorn("sync", workers=1).upstream, *PINNED)
    with ThreadPoolExecutor(16) as pool:
        answers = [pool.submit(KeepAlive(sidecar.port), "GET", "/ruok") for _ in range(64)]
        assert [a.result() for a in answers] == [(200, b"imok")] * 64
    samples = sidecar.wait_for_requests({("/ruok", "GET", "200", ""): 64})
    assert samples.total("http_request_duration_seconds_bucket", le="0.5") == 64
