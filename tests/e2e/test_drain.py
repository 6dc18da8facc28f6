"""The sidecar ends as an orchestrator expects it to."""

import http.client
import itertools
import json
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from helpers import (
    PINNED,
    SCRAPER,
    KeepAlive,
    can_connect,
    connect,
    exchange,
    read_all,
    run,
    tool,
    wait_until,
)

# Outside Kubernetes it is waited for only if asked for.
LAST_SCRAPE = ("--last-scrape", "on")


def test_sigterm_finishes_requests_and_lets_prometheus_see_the_last_one(
    gunicorn, proxy, prometheus
):
    app = gunicorn("gthread")
    sidecar = proxy(app.upstream, *PINNED, *LAST_SCRAPE)
    server = prometheus(sidecar.metrics_port)
    assert sidecar.readyz() == 200
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(
            exchange, sidecar.port, b"GET /slow?seconds=3 HTTP/1.1\r\nHost: app\r\n\r\n"
        )
        wait_until(app.slow_workers, "the slow request reaches a worker")
        sidecar.signal()
        wait_until(lambda: sidecar.readyz() == 503, "/readyz says 503")
        wait_until(lambda: not can_connect(sidecar.port), "new connections are refused")
        assert not slow.done(), "the slow request ended before the drain was seen"
        assert requests.get(f"{sidecar.metrics_url}/livez", timeout=5).status_code == 200
        answer = slow.result(20)
    assert answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"done")
    assert b"connection: close" in answer.lower()
    assert sidecar.wait_for_exit() == 0
    # The target is gone, so look back.
    wait_until(
        lambda: (
            server.requests("max_over_time(http_requests_total[1m])")
            == {("/slow", "GET", "200", ""): 1}
        ),
        "Prometheus has seen the last request",
    )
    assert server.value("max_over_time(redcar_draining[1m])") == 1


def test_the_last_scrape_of_a_big_page_arrives_whole(nginx, proxy):
    """A scraper that reads slowly must not lose the end of the page to the exit."""
    sidecar = proxy(nginx.upstream, "--paths", "raw", *LAST_SCRAPE)
    client = KeepAlive(sidecar.port)
    letters = "abcdefghijklmnopqrst"
    for n in range(400):
        path = "/" + "".join(letters[n // 20**i % 20] for i in range(3))
        for method in ("GET", "PUT", "PATCH", "DELETE"):
            assert client(method, path)[0] == 200
    size = len(sidecar.page().content)
    assert size > 1_000_000
    sidecar.signal()
    wait_until(
        lambda: any("last scrape" in line["message"] for line in sidecar.log()),
        "the sidecar waits for a last scrape",
    )
    with connect(sidecar.metrics_port) as s:
        s.sendall(f"GET /metrics HTTP/1.0\r\nUser-Agent: {SCRAPER}\r\n\r\n".encode())
        page = s.recv(1000)
        time.sleep(1)  # The slowness of this reader.
        page += read_all(s)
    assert len(page) > size and page.endswith(b"\n"), f"{len(page)} bytes of about {size}"
    assert b"redcar_build_info{" in page and page.rstrip().rsplit(b"\n", 1)[1].count(b" ") >= 1
    assert sidecar.wait_for_exit() == 0


def test_a_pair_of_scrapers_does_not_cost_the_last_scrape(gunicorn, proxy):
    """Two servers scrape at the same interval, one right after the other."""
    sidecar = proxy(gunicorn("gthread").upstream, *PINNED, *LAST_SCRAPE)
    for pause in (0.2, 3.8, 0.2, 0.2):
        sidecar.page()
        time.sleep(pause)  # The pace of the scrapers.
    assert KeepAlive(sidecar.port)("GET", "/ruok") == (200, b"imok")
    sidecar.signal()
    time.sleep(3.6)  # Again: the next scrape comes when it always comes.
    assert sidecar.process.poll() is None, "the next scrape was due and finds nobody"
    assert sidecar.samples().requests() == {("/ruok", "GET", "200", ""): 1}
    assert sidecar.wait_for_exit() == 0


@pytest.mark.parametrize("where", ["on a machine", "in Kubernetes"])
def test_only_in_kubernetes_a_last_scrape_is_waited_for_by_itself(gunicorn, proxy, where):
    env = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"} if where == "in Kubernetes" else {}
    sidecar = proxy(gunicorn("sync").upstream, *PINNED, env=env)
    sidecar.page()
    sidecar.page()
    sidecar.signal()
    assert sidecar.wait_for_exit() == 0
    waited = any("last scrape" in line["message"] for line in sidecar.log())
    assert waited == (where == "in Kubernetes")


def test_curl_is_not_waited_for(gunicorn, proxy):
    sidecar = proxy(gunicorn("sync").upstream, *PINNED, *LAST_SCRAPE)
    assert run([tool("curl"), "-sS", f"{sidecar.metrics_url}/metrics"]).returncode == 0
    sidecar.signal()
    assert sidecar.wait_for_exit() == 0
    assert not any("last scrape" in line["message"] for line in sidecar.log())


def test_sigterm_under_traffic_breaks_no_answer(gunicorn, proxy):
    sidecar = proxy(gunicorn("gthread").upstream, *PINNED, "--access-log", "common")

    def visit():
        """Sends requests until told to close; any error fails the test."""
        client = http.client.HTTPConnection("127.0.0.1", sidecar.port, timeout=10)
        for count in itertools.count(1):
            client.request("GET", "/ruok")
            answer = client.getresponse()
            assert (answer.status, answer.read()) == (200, b"imok")
            if answer.headers.get("Connection", "").lower() == "close":
                return count

    with ThreadPoolExecutor(16) as pool:
        visitors = [pool.submit(visit) for _ in range(16)]
        wait_until(
            lambda: (
                sidecar.samples().total("http_requests_total") > 500
                or any(v.done() for v in visitors)
            ),
            "traffic flows",
        )
        assert not any(v.done() for v in visitors)
        sidecar.signal()
        counts = [v.result(20) for v in visitors]
    assert sidecar.wait_for_exit() == 0
    lines = sidecar.access_log()
    assert len(lines) == sum(counts) and all('" 200 4' in line for line in lines)


def test_a_request_that_follows_an_answer_begun_before_sigterm_is_served(gunicorn, proxy):
    """That answer's head could not say `Connection: close`, so the client cannot know."""
    sidecar = proxy(gunicorn("gthread").upstream, *PINNED)
    client = http.client.HTTPConnection("127.0.0.1", sidecar.port, timeout=10)
    client.request("GET", "/stream?chunks=10&pause=0.1")
    answer = client.getresponse()
    assert answer.read(20) and "Connection" not in answer.headers
    sidecar.signal()
    wait_until(lambda: sidecar.readyz() == 503, "/readyz says 503")
    assert len(answer.read()) == 90
    client.auto_open = False
    client.request("GET", "/ruok")
    answer = client.getresponse()
    assert (answer.status, answer.headers["Connection"], answer.read()) == (200, "close", b"imok")
    assert sidecar.wait_for_exit() == 0


def test_without_a_scraper_and_with_idle_clients_the_exit_is_prompt(gunicorn, proxy):
    sidecar = proxy(gunicorn("gthread").upstream, *PINNED)
    clients = [KeepAlive(sidecar.port) for _ in range(4)]
    for client in clients:
        assert client("GET", "/ruok") == (200, b"imok")
    sidecar.signal()
    assert sidecar.wait_for_exit(timeout=4) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_exits_at_once(gunicorn, proxy, number):
    app = gunicorn("gthread")
    sidecar = proxy(app.upstream, *PINNED)
    with connect(sidecar.port) as s:
        s.sendall(b"GET /slow?seconds=60 HTTP/1.1\r\nHost: app\r\n\r\n")
        wait_until(app.slow_workers, "the slow request reaches a worker")
        sidecar.signal(number)
        wait_until(lambda: sidecar.readyz() == 503, "/readyz says 503")
        assert sidecar.process.poll() is None
        sidecar.signal(number)
        assert sidecar.wait_for_exit(timeout=1) == 1


def test_the_shutdown_timeout_cuts_off_and_says_so(gunicorn, proxy):
    app = gunicorn("gthread")
    sidecar = proxy(app.upstream, *PINNED, "--shutdown-timeout", "1s", "--access-log", "json")
    with connect(sidecar.port) as s:
        s.sendall(b"GET /slow?seconds=60 HTTP/1.1\r\nHost: app\r\n\r\n")
        wait_until(app.slow_workers, "the slow request reaches a worker")
        began = time.monotonic()
        sidecar.signal()
        assert sidecar.wait_for_exit(timeout=5) == 0
        assert 0.9 < time.monotonic() - began < 3
    (line,) = map(json.loads, sidecar.access_log())
    assert (line["route"], line["status"], line["error"]) == ("/slow", 503, "draining")


def test_the_shutdown_delay_serves_new_connections_while_not_ready(gunicorn, proxy):
    sidecar = proxy(gunicorn("gthread").upstream, *PINNED, "--shutdown-delay", "1500ms")
    sidecar.signal()
    wait_until(lambda: sidecar.readyz() == 503, "/readyz says 503")
    for _ in range(5):
        assert KeepAlive(sidecar.port)("GET", "/ruok") == (200, b"imok")
    wait_until(lambda: not can_connect(sidecar.port), "new connections are refused")
    assert sidecar.wait_for_exit() == 0
