"""Gunicorn restarts, and closes its idle connections, under traffic."""

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from helpers import PINNED, KeepAlive, wait_until


@pytest.mark.parametrize("worker_class", ["sync", "gthread"])
def test_a_restart_under_traffic_loses_no_retryable_request(gunicorn, proxy, worker_class):
    app = gunicorn(worker_class, "--graceful-timeout", "5")
    sidecar = proxy(app.upstream, *PINNED)
    stop = threading.Event()
    answers = []

    def visit():
        client = KeepAlive(sidecar.port)
        count = 0
        while not stop.is_set():
            assert client("GET", "/ruok") == (200, b"imok")
            count += 1
        return count

    with ThreadPoolExecutor(6) as pool:
        visitors = [pool.submit(visit) for _ in range(6)]
        try:
            for _ in range(3):
                before = sidecar.samples().total("http_requests_total")
                wait_until(app.reload(), "all workers are new", 30)
                wait_until(
                    lambda: (
                        sidecar.samples().total("http_requests_total") > before + 200
                        or any(v.done() for v in visitors)
                    ),
                    "traffic goes on",
                    30,
                )
        finally:
            stop.set()
        answers = [v.result() for v in visitors]
    sidecar.wait_for_requests({("/ruok", "GET", "200", ""): sum(answers)})


def test_connections_that_gunicorn_closes_meanwhile_cost_no_request_and_send_none_twice(
    gunicorn, proxy
):
    """Gunicorn closes idle connections after 1 s; requests come in bursts about that far apart."""
    app = gunicorn("gthread", "--keep-alive", "1")
    sidecar = proxy(app.upstream, *PINNED)
    width, gaps = 8, [0.94 + 0.01 * n for n in range(14)]
    random.Random(1).shuffle(gaps)
    start = threading.Barrier(width)
    orders = []

    def visit(number):
        client = KeepAlive(sidecar.port)
        for round_number, gap in enumerate([0, *gaps]):
            time.sleep(gap)  # The pace of the traffic, not a wait for anything.
            start.wait(20)
            if number % 2:
                assert client("GET", "/ruok") == (200, b"imok")
            else:
                order = f"{number}-{round_number}"
                orders.append(order)
                assert client("POST", "/orders", order) == (201, b"stored"), order

    def visit_or_release_the_others(number):
        try:
            visit(number)
        except threading.BrokenBarrierError:
            return None
        except Exception as error:
            start.abort()
            return error
        return None

    with ThreadPoolExecutor(width) as pool:
        errors = [error for error in pool.map(visit_or_release_the_others, range(width)) if error]
    assert not errors, (errors, sidecar.samples().requests())
    assert sorted(app.orders()) == sorted(orders), "an order was lost or stored twice"
    samples = sidecar.wait_for_requests(
        {
            ("/ruok", "GET", "200", ""): 4 * (len(gaps) + 1),
            ("/orders", "POST", "201", ""): 4 * (len(gaps) + 1),
        }
    )
    assert samples.total("redcar_upstream_requests_reused_total") > 0, "nothing was reused"
