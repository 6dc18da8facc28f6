"""The app's accept queue, seen from outside, beside what `ss` says."""

import threading

import pytest
import requests
from helpers import PROXY, free_port, run, tool, wait_until

QUEUE = "redcar_upstream_accept_queue"
FAMILIES = (QUEUE, f"{QUEUE}_limit", f"{QUEUE}_peak", "redcar_upstream_listen_drops_total")
BUSY = 4


def told_by_ss(app):
    """(waiting, limit) of the socket that listens there."""
    if app.address.startswith("unix:"):
        kind, place = "-x", app.address.removeprefix("unix:")
    else:
        kind, place = "-t", app.upstream
    lines = run([tool("ss"), "--listening", "--no-header", "-n", kind]).stdout.splitlines()
    [line] = [line.split() for line in lines if place in line.split()]
    at = 2 if kind == "-x" else 1
    return int(line[at]), int(line[at + 1])


def ask(sidecar, target, answers):
    def get():
        answers.append(requests.get(sidecar.url + target, timeout=30).status_code)

    threading.Thread(target=get, daemon=True).start()


@pytest.mark.parametrize("bind", ["127.0.0.1:0", "0.0.0.0:0", "unix"])
def test_who_waits_for_two_busy_workers_is_seen_as_ss_sees_it(gunicorn, proxy, tmp_path, bind):
    bind = f"unix:{tmp_path}/app.sock" if bind == "unix" else bind
    app = gunicorn("sync", "--backlog", "77", workers=2, bind=bind)
    upstream = app.upstream.replace("0.0.0.0", "127.0.0.1")
    sidecar = proxy(upstream)

    def seen():
        samples = sidecar.samples()
        return samples.has(QUEUE) and (samples.total(QUEUE), samples.total(f"{QUEUE}_limit"))

    # The sidecar tries the app at its start.
    wait_until(lambda: seen() == told_by_ss(app) == (0, 77), "nobody waits")

    answers = []
    for _ in range(2):
        ask(sidecar, f"/slow?seconds={BUSY}", answers)
    wait_until(lambda: len(app.slow_workers()) == 2, "both workers are busy")
    for _ in range(5):
        ask(sidecar, "/ruok", answers)
    wait_until(lambda: told_by_ss(app) == (5, 77), "five wait, as ss has it")
    wait_until(lambda: seen() == (5, 77), "five wait, as the sidecar has it")
    assert told_by_ss(app) == (5, 77), "still the same"

    wait_until(lambda: len(answers) == 7, "all are answered", 20)
    assert answers == [200] * 7
    wait_until(lambda: seen() == (0, 77), "nobody waits")
    samples = sidecar.samples()
    assert samples.total(f"{QUEUE}_peak") == 5, "the peak is kept for a minute"
    assert samples.has(FAMILIES[3]) == (not bind.startswith("unix"))
    checked = run([PROXY, "check", "--upstream", upstream, "--listen", "127.0.0.1:0"])
    assert f"the accept queue of {upstream} has 0 of 77 connections" in checked.stdout


def test_without_an_app_there_is_no_queue_and_with_it_again(gunicorn, proxy):
    app = gunicorn("gthread")
    sidecar = proxy(app.upstream)
    wait_until(lambda: sidecar.samples().has(QUEUE), "the queue is seen")
    app.stop()
    wait_until(lambda: not sidecar.samples().has(QUEUE), "no app, no queue")
    samples = sidecar.samples()
    assert not any(samples.has(name) for name in FAMILIES)
    app.start()
    wait_until(lambda: sidecar.samples().has(QUEUE), "the queue is seen again")


def test_what_is_not_seen_is_absent_and_check_says_why(nginx, proxy):
    elsewhere = proxy("192.0.2.1:80")
    here = proxy(nginx.upstream)
    wait_until(lambda: here.samples().has(QUEUE), "the other sidecar sees its queue")
    assert not any(elsewhere.samples().has(name) for name in FAMILIES)
    flags = ("--listen", "127.0.0.1:0", "--connect-timeout", "100ms")
    for upstream, reason in [
        ("192.0.2.1:80", "192.0.2.1 is on another host"),
        (f"127.0.0.1:{free_port()}", "no socket listens there"),
        ("no-such-host.invalid:80", "its name did not resolve"),
    ]:
        said = run([PROXY, "check", "--upstream", upstream, *flags]).stdout
        assert f"the accept queue of {upstream} is not seen: {reason}" in said
