"""An app that is busy is not down: a real Gunicorn with one sync worker, which serves one connection
at a time and answers nobody meanwhile."""

import subprocess
import threading
import time

import requests
from helpers import tool, wait_until
from peers import Backend, client

BUSY = 6
CURL = (
    tool("curl"),
    "--silent",
    "--output",
    "/dev/null",
    "--write-out",
    "%{http_code} %{http_version}",
)


def keep_busy(gunicorn):
    def ask():
        requests.get(f"{gunicorn.address}/slow?seconds={BUSY}", timeout=30)

    before = len(gunicorn.slow_workers())
    threading.Thread(target=ask, daemon=True).start()
    wait_until(lambda: len(gunicorn.slow_workers()) > before, "the worker is busy")


def test_a_busy_app_costs_an_http2_client_no_more_than_an_http1_client(gunicorn, proxy):
    app = gunicorn("sync", workers=1)
    sidecar = proxy(app.upstream, "--threads", "1")
    keep_busy(app)
    began = time.monotonic()
    curls = [
        subprocess.Popen(
            [*CURL, version, f"{sidecar.url}/users/1"], stdout=subprocess.PIPE, text=True
        )
        for version in ("--http2-prior-knowledge", "--http1.1", "--http2-prior-knowledge")
    ]
    wait_until(lambda: sidecar.in_flight() == 3, "all wait")
    # The app cannot answer in the time that connecting may take, which is no reason for anything.
    wait_until(lambda: time.monotonic() > began + 4, "longer than --connect-timeout", 6)
    assert sidecar.samples().total("redcar_upstream_up") == 1
    ready = requests.get(f"{sidecar.metrics_url}/readyz?upstream=1", timeout=5)
    assert ready.status_code == 200
    answers = [curl.communicate(timeout=30)[0] for curl in curls]
    assert answers == ["200 2", "200 1.1", "200 2"]
    assert time.monotonic() - began < BUSY + 2
    connects = "redcar_upstream_connects_total"
    assert sidecar.samples().total(connects) == sidecar.samples().total(connects, result="ok")


def test_a_body_that_an_app_leaves_unread_for_a_while_is_no_lost_connection(proxy):
    """The kernel counts what waits for a closed window as unanswered, too."""
    pause, size = 8, 16 << 20
    read = []

    def script(wire):
        head = wire.head()
        if head.get("upgrade"):
            wire.send(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
            )
        began = time.monotonic()
        wait_until(lambda: time.monotonic() > began + pause, "a slow app", pause + 2)
        read.append(len(wire.take(size)))
        if not head.get("upgrade"):
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    with Backend(script) as app:
        sidecar = proxy(app.upstream)
        upload = b"PUT / HTTP/1.1\r\nHost: app\r\nContent-Length: %d\r\n\r\n" % size
        switch = b"GET / HTTP/1.1\r\nHost: app\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
        with client(sidecar.port, timeout=30) as one, client(sidecar.port, timeout=30) as other:
            one.send(upload)
            other.send(switch)
            assert other.head().status == 101
            senders = [
                threading.Thread(target=wire.send, args=(bytes(size),), daemon=True)
                for wire in (one, other)
            ]
            for sender in senders:
                sender.start()
            assert one.answer().status == 200
            wait_until(lambda: read == [size, size], "both were read whole")
