"""An app that is busy is not down: a real Gunicorn with one sync worker, which serves one connection
at a time and answers nobody meanwhile."""

import subprocess
import threading
import time

import requests
from helpers import tool, wait_until

BUSY = 6
CURL = (tool("curl"), "--silent", "--output", "/dev/null", "--write-out", "%{http_code} %{http_version}")


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
