"""Connections to the app that die without a word, and addresses that do not answer.

The app is on another machine, a network namespace; packets are dropped there, not refused.
"""

import stat
import threading
import time

import helpers
import pytest
import requests
from h2_backend import H2Backend
from helpers import wait_until
from namespace import Machine
from peers import Backend

# The kernel gives up what is not acknowledged after 5 s, and a peer that says nothing after 10 s.
UNANSWERED, SILENT = 5, 10
# Within which a kernel acknowledges what it got.
ACKNOWLEDGED = 0.5
# How much later a busy machine may be.
SLACK = 4


@pytest.fixture
def machine():
    with Machine() as machine:
        yield machine


class Slow:
    """One request in a thread of its own; how it ended, and after how long."""

    def __init__(self, sidecar, path, method="GET"):
        self.arguments = method, sidecar.url + path
        self.begun = time.monotonic()
        self.thread = threading.Thread(target=self._ask, daemon=True)
        self.thread.start()

    def _ask(self):
        self.status = requests.request(*self.arguments, timeout=90).status_code
        self.seconds = time.monotonic() - self.begun

    def ends(self, status, seconds):
        """It ends so, not before this time and not much later."""
        self.thread.join()
        assert self.status == status
        assert seconds - 0.5 <= self.seconds <= seconds + SLACK, f"after {self.seconds:.1f} s"


def ask(sidecar, path, method="GET"):
    begun = time.monotonic()
    answer = requests.request(method, sidecar.url + path, timeout=30)
    return answer.status_code, time.monotonic() - begun


def passes(seconds):
    """Waits for nothing but time, which is what these connections do."""
    end = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= end, "time passes", seconds + 1)


def ports(connections):
    return [connection.getpeername()[1] for connection in connections]


def retries(sidecar):
    return sidecar.samples().total("redcar_upstream_retries_total")


def h2_app(machine, answer=None):
    far = type("Far", (H2Backend,), {"host": machine.address})
    return machine.run(lambda: far(answer))


def h1_app(machine, script=None):
    far = type("Far", (Backend,), {"host": machine.address})
    return machine.run(lambda: far(script) if script else far())


# The connection is kept for longer than the tests take, so that it is this that dies.
KEPT = ("--upstream-idle-timeout", "60s", "--threads", "1")


def test_a_dead_http2_connection_takes_no_new_request_with_it(machine, proxy):
    with h2_app(machine) as app:
        sidecar = proxy(app.upstream, "--upstream-protocol", "http2", *KEPT)
        assert ask(sidecar, "/first")[0] == 200
        machine.drop(ports(connection.socket for connection in app.connections))
        # A byte came within half a second: nobody can know yet.
        lost = Slow(sidecar, "/lost")
        passes(1.5)
        for number in range(15):
            method = "GET" if number % 2 else "POST"
            status, seconds = ask(sidecar, "/new", method)
            assert status == 200 and seconds < 1, (
                f"request {number}: {status} after {seconds:.2f} s"
            )
        lost.ends(200, UNANSWERED)
        assert len(app.of("/lost")) == 1 and retries(sidecar) == 1
        # One for each of the two lives.
        assert len(app.connections) == 2


def test_requests_that_wait_on_an_http2_connection_that_dies_are_sent_again(machine, proxy):
    waiting = []

    def answer(connection, stream, request):
        if request[":path"] == "/wait" and not waiting:
            waiting.append(stream)
        else:
            connection.reply(stream, 200, b"ok")

    with h2_app(machine, answer) as app:
        sidecar = proxy(app.upstream, "--upstream-protocol", "http2", *KEPT)
        assert ask(sidecar, "/first")[0] == 200
        slow = Slow(sidecar, "/wait")
        wait_until(lambda: waiting, "the request is at the app")
        passes(ACKNOWLEDGED)
        machine.drop(ports(connection.socket for connection in app.connections))
        slow.ends(200, SILENT)
        assert len(app.of("/wait")) == 2 and retries(sidecar) == 1


def test_a_dead_http1_connection_holds_one_request_for_a_while_and_no_other(machine, proxy):
    with h1_app(machine) as app:
        sidecar = proxy(app.upstream, *KEPT)
        assert ask(sidecar, "/first")[0] == 200
        machine.drop(ports(app.open))
        # A request that can be sent again takes the idle connection, and is.
        lost = Slow(sidecar, "/lost")
        wait_until(lambda: sidecar.in_flight() == 1, "it is on its way")
        for number in range(15):
            method = "GET" if number % 2 else "POST"
            status, seconds = ask(sidecar, "/new", method)
            assert status == 200 and seconds < 1, (
                f"request {number}: {status} after {seconds:.2f} s"
            )
        lost.ends(200, UNANSWERED)
        assert retries(sidecar) == 1


def test_a_request_that_waits_on_an_http1_connection_that_dies_does_not_wait_for_ever(
    machine, proxy
):
    heads = []

    def script(wire):
        while True:
            heads.append(wire.request().head)
            if b"/wait" not in heads[-1]:
                wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    with h1_app(machine, script) as app:
        sidecar = proxy(app.upstream, *KEPT)
        slow = Slow(sidecar, "/wait")
        wait_until(lambda: any(b"/wait" in head for head in heads), "the request is at the app")
        passes(ACKNOWLEDGED)
        machine.drop(ports(app.open))
        # The first of its connection: it is not known to have been idle, so it is not sent again.
        slow.ends(502, SILENT)


@pytest.fixture
def hosts(tmp_path, monkeypatch):
    """What the sidecar takes for /etc/hosts."""
    hosts, wrapper = tmp_path / "hosts", tmp_path / "proxy"
    hosts.write_text("")
    wrapper.write_text(
        "#!/bin/sh\nexec unshare --mount sh -c "
        f"""'mount --bind {hosts} /etc/hosts && exec {helpers.PROXY} "$@"' proxy "$@"\n"""
    )
    wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(helpers, "PROXY", wrapper)
    return hosts


def closing(wire):
    wire.request()
    wire.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")


def test_a_name_that_moves_away_from_an_address_that_falls_silent_is_followed(
    machine, hosts, proxy
):
    other = machine.second_address()
    everywhere = type("Everywhere", (Backend,), {"host": "0.0.0.0"})
    with machine.run(lambda: everywhere(closing)) as app:
        hosts.write_text(f"{machine.address} app.test\n")
        sidecar = proxy(f"app.test:{app.port}", "--threads", "1")
        assert ask(sidecar, "/")[0] == 200
        # As when a pod is deleted and comes back elsewhere.
        machine.drop(address=machine.address)
        hosts.write_text(f"{other} app.test\n")
        for number in range(10):
            status, seconds = ask(sidecar, "/")
            assert status == 200 and seconds < 1, (
                f"request {number}: {status} after {seconds:.2f} s"
            )
        assert sidecar.samples().total("redcar_upstream_up") == 1


def test_the_second_address_is_used_when_the_first_is_silent(machine, hosts, proxy):
    other = machine.second_address()
    everywhere = type("Everywhere", (Backend,), {"host": "0.0.0.0"})
    with machine.run(lambda: everywhere(closing)) as app:
        machine.drop(address=machine.address)
        hosts.write_text(f"{machine.address} app.test\n{other} app.test\n")
        sidecar = proxy(f"app.test:{app.port}", "--threads", "1")
        times = [ask(sidecar, "/") for _ in range(5)]
        assert all(status == 200 and seconds < 1 for status, seconds in times), times


def test_an_app_that_falls_silent_shows_as_down_though_every_client_gives_up_first(machine, proxy):
    with h1_app(machine, closing) as app:
        sidecar = proxy(app.upstream)
        up = lambda: sidecar.samples().total("redcar_upstream_up")
        assert ask(sidecar, "/")[0] == 200 and up() == 1
        machine.drop(address=machine.address)
        # Sooner than --connect-timeout.
        with pytest.raises(requests.exceptions.ReadTimeout):
            requests.get(sidecar.url, timeout=0.5)
        wait_until(lambda: up() == 0, "the sidecar looks for itself")
        ready = requests.get(f"{sidecar.metrics_url}/readyz?upstream=1", timeout=5)
        assert ready.status_code == 503
        machine.appear()
        wait_until(lambda: up() == 1, "it has seen that the app is back")
