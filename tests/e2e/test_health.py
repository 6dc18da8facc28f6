"""The app's health is the app's: busy is not down, what was down is found to be up again, and what
speaks no HTTP/2 is not asked in HTTP/1.1 where HTTP/2 is demanded."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from apps import App, curl, hypercorn, uvicorn
from helpers import KeepAlive, Nginx, free_port, wait_until
from peers import Backend, Stopwatch, counts

UP = "redcar_upstream_up"


def healthy(sidecar):
    """What the page and the probe say of the app."""
    probe = requests.get(f"{sidecar.metrics_url}/readyz?upstream=1", timeout=5).status_code
    return sidecar.samples().total(UP), probe


def test_a_busy_app_is_not_down(gunicorn, proxy):
    """One worker, busy for longer than connecting may take; every client waits for it."""
    app = gunicorn("sync", workers=1)
    sidecar = proxy(app.upstream, "--connect-timeout", "1s")
    with ThreadPoolExecutor() as pool:
        directly = KeepAlive(int(app.upstream.rsplit(":")[1]))
        busy = pool.submit(directly, "GET", "/slow?seconds=3")
        wait_until(app.slow_workers, "the worker is busy")
        asked = {
            flag: pool.submit(curl, sidecar.port, "/ruok", flag)
            for flag in ("--http1.1", "--http2-prior-knowledge")
        }
        seen = set()
        while not all(answer.done() for answer in asked.values()):
            seen.add(healthy(sidecar))
        assert busy.result() == (200, b"done")
        for flag, answer in asked.items():
            out = answer.result().stdout
            assert (
                out.startswith("HTTP") and " 200" in out.split("\n")[0] and out.endswith("imok")
            ), (flag, out)
    assert seen == {(1, 200)}
    counts(sidecar, {("GET", "200", ""): 2})


def test_an_app_that_starts_after_its_sidecar_is_up_without_any_traffic(processes, proxy):
    port = free_port()
    sidecar = proxy(f"127.0.0.1:{port}")
    assert healthy(sidecar) == (0, 503)
    app = Nginx(processes, port)
    took = Stopwatch()
    wait_until(lambda: sidecar.samples().total(UP) == 1, "the sidecar knows", 2)
    wait_until(lambda: healthy(sidecar) == (1, 200), "the probe says so", 2 - took.seconds())
    assert sidecar.samples().total("http_requests_total") == 0
    app.process.terminate()
    app.process.wait()
    # A request finds out that it is gone, none that it is back.
    assert requests.get(sidecar.url, timeout=5).status_code == 502
    assert sidecar.samples().total(UP) == 0
    Nginx(processes, port)
    wait_until(lambda: sidecar.samples().total(UP) == 1, "the sidecar knows again", 2)
    counts(sidecar, {("GET", "502", "connection_refused"): 1})


def https(proxy, app, cert, *flags):
    return proxy(f"https://localhost:{app.port}", "--upstream-ca", cert, *flags)


def test_an_app_that_is_down_is_not_asked_more_than_once_a_second(proxy, pair):
    """It listens, but not in TLS, so that it sees who asks."""
    with Backend(lambda wire: wire.fill()) as app:
        sidecar = https(proxy, app, pair[0])
        took = Stopwatch()
        wait_until(lambda: len(app.streams) >= 4, "it is tried again and again", 8)
        assert took.seconds() > 1.8
        assert sidecar.samples().total(UP) == 0


@pytest.mark.parametrize("client", ["--http1.1", "--http2-prior-knowledge"])
def test_http2_is_not_replaced_where_it_is_demanded(processes, proxy, pair, client):
    """uvicorn speaks TLS, and no HTTP/2."""
    cert, key = pair
    app = App(
        processes, uvicorn, "--ssl-certfile", cert, "--ssl-keyfile", key, "--log-level", "info"
    )
    sidecar = https(proxy, app, cert, "--upstream-protocol", "http2")
    for _ in range(3):
        assert " 502" in curl(sidecar.port, "/openapi.json", client).stdout.split("\n")[0]
    counts(sidecar, {("GET", "502", "http_protocol_error"): 3})
    assert "/openapi" not in app.process.out.read_text(), "the app was asked over HTTP/1.1"
    # The app is there, it only is not what was demanded.
    assert len(sidecar.log()) < 8


@pytest.mark.parametrize("server", [uvicorn, hypercorn])
def test_the_protocol_of_an_https_app_is_found_out_with_one_connection(
    processes, proxy, pair, server
):
    """The handshake says whether it is HTTP/2; the connection serves then, whatever it is."""
    cert, key = pair
    names = (
        ("--ssl-certfile", "--ssl-keyfile") if server is uvicorn else ("--certfile", "--keyfile")
    )
    app = App(processes, server, names[0], cert, names[1], key)
    sidecar = https(proxy, app, cert, "--threads", "1")
    wait_until(lambda: sidecar.samples().total(UP) == 1, "the app is up")
    connects = lambda: sidecar.samples().total("redcar_upstream_connects_total", result="ok")
    before = connects()
    for _ in range(3):
        answer = curl(sidecar.port, "/openapi.json", "--http2-prior-knowledge").stdout
        assert answer.startswith("HTTP/2 200"), answer
    assert connects() - before == 1
